"""The Celery application of the workers (see `processes.worker`)."""

import gc
import os
from typing import Any

from celery import bootsteps, signals

from kalshi_insights.processes.broker import celery_app, give_sign

# Checks load all pages and the API, which no worker serves; `manage.py migrate` checks too.
os.environ.setdefault("CELERY_SKIP_CHECKS", "true")


class LoopPulse(bootsteps.StartStopStep):
    """Lets the loop of a worker give a sign of life every second."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        give_sign()
        parent.timer.call_repeatedly(1.0, give_sign)


@signals.worker_before_create_process.connect
def share_memory(**_: Any) -> None:
    """Let garbage collections of the pool's process leave alone what it shares with its parent.

    Looking at an object writes to it, and a page of memory that is written to is shared no longer:
    after one whole collection that was a third of it and more.
    """
    gc.collect()
    gc.freeze()


app = celery_app(fixups=None, current=True)
app.steps["worker"].add(LoopPulse)
# The tasks of backtests load the engines, so only their worker loads them.
app.autodiscover_tasks(["accounts", "markets"])
