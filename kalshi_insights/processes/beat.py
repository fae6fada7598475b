"""Beat, by the monotonic clock: `python -m kalshi_insights.processes.beat`.

It sends tasks by their names, so it loads no task, no model and no app.

Celery's own scheduler compares instants of the wall clock: after that was set back an hour it sends
nothing for an hour. It also keeps a file of them, which none of our tasks needs, since each finds
out in the database whether it is due.
"""

import time
from argparse import ArgumentParser
from logging.config import dictConfig
from typing import Any

from celery.beat import Scheduler
from django.conf import settings

from kalshi_insights.processes.broker import sender
from kalshi_insights.processes.pulse import LOOP, LOOP_SECONDS, Pulse

# What is due rarely is sent this soon after the start, so that restarts never put it off for long.
FIRST_SECONDS = 60.0
LONGEST_PAUSE = 1.0


class SteadyScheduler(Scheduler):
    """Sends every task of the schedule at its interval, whatever the wall clock says."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._due: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    def install_default_entries(self, data: object) -> None:
        """Add nothing: there are no results to clean up."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; return the seconds until the next call."""
        Pulse(settings.PULSE_PATH, LOOP).beat(within=LOOP_SECONDS)
        now = time.monotonic()
        for name, entry in self.schedule.items():
            rhythm: Any = entry.schedule
            every = rhythm.run_every.total_seconds()
            due = self._due.setdefault(name, now + min(every, FIRST_SECONDS))
            if due <= now:
                # A slot that was missed is not made up for.
                self._due[name] = max(due + every, now)
                self.apply_entry(entry, producer=self.producer)
        next_due = min(self._due.values(), default=now + LONGEST_PAUSE)
        return min(max(next_due - time.monotonic(), 0.0), LONGEST_PAUSE)


def main() -> None:
    parser = ArgumentParser(prog="python -m kalshi_insights.processes.beat", description=__doc__)
    parser.add_argument("--loglevel", default="WARNING")
    loglevel = parser.parse_args().loglevel
    dictConfig(settings.LOGGING)
    sender.Beat(loglevel=loglevel).run()


if __name__ == "__main__":
    main()
