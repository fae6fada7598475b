"""Where the time of a piece of work goes: to our process, to the database's, to its statements."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from benchmarks.measure import timed


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock, and seconds of a processor: this process's and the database's.

    The two take turns, so that together they are what one core has to give. Unlike the clock
    they know nothing of what else runs on the machine.
    """

    clock: float
    python: float
    database: float

    @property
    def processor(self) -> float:
        return self.python + self.database

    @property
    def parts(self) -> str:
        return (
            f"{self.python:.2f} s Python, {self.database:.2f} s database, {self.clock:.2f} s clock"
        )

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            self.clock + other.clock, self.python + other.python, self.database + other.database
        )


NOTHING = Spent(0, 0, 0)


def spent(work: Callable[[], object]) -> Spent:
    database, python = database_seconds(), time.process_time()
    clock = timed(work)
    return Spent(clock, time.process_time() - python, database_seconds() - database)


def database_seconds() -> float:
    """What our session's server process has used so far; not a number elsewhere than on Linux."""
    connection.ensure_connection()
    used = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    return int(used.read_text().split()[0]) / 1e9 if used.exists() else float("nan")


class Stopwatch:
    """Adds up the time that statements take; for `connection.execute_wrapper`."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - began
