"""Signs of life: each promises the next one by an instant, and whoever watches holds it to that.

A sign is a small file: the process's id, and when the next one is due on the monotonic clock. All
processes of a machine share that clock, and nobody can set it.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

# The loop of a process that only waits for work gives a sign every second.
LOOP, LOOP_SECONDS = "loop", 12.5
# A run of the recorder that is under way, an attempt at one, and one that recorded all quotes.
RUN, ATTEMPT, GOOD_RUN = "run", "attempt", "good-run"


class Pulse:
    """The signs of one name in a folder; without a folder they go nowhere."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder = folder
        self._name = name

    def beat(self, *, within: float) -> None:
        """Give a sign that holds for `within` seconds."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        # Others never read half a sign.
        unfinished = self._folder / f".{self._name}.{os.getpid()}"
        unfinished.write_text(f"{os.getpid()} {time.monotonic() + within:.3f}")
        unfinished.replace(self._folder / self._name)

    def end(self) -> None:
        """Withdraw the promise: no further sign is due."""
        if self._folder is not None:
            (self._folder / self._name).unlink(missing_ok=True)


class Sign(NamedTuple):
    name: str
    pid: int
    due: float

    @property
    def overdue(self) -> float:
        """Seconds since the next sign was due; negative before that."""
        return time.monotonic() - self.due


def signs(folder: Path) -> dict[str, Sign]:
    """The newest sign of each name."""
    found = {}
    for path in folder.glob("[!.]*"):
        try:
            pid, due = path.read_text().split()
        except FileNotFoundError:  # withdrawn meanwhile
            continue
        found[path.name] = Sign(path.name, int(pid), float(due))
    return found


def forget(folder: Path) -> None:
    """Remove the signs of processes that have ended."""
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
