"""CPU time of this process and of its database session, and the time that statements take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import connection

from benchmarks.measure import timed


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Wall time, and the CPU time of this process and of its database session, in seconds.

    The two take turns, so their sum is what one core needs. Unlike wall time it does not depend on
    what else runs on the machine.
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

    def __add__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(
            self.clock + other.clock, self.python + other.python, self.database + other.database
        )


NO_TIME = CpuTime(0, 0, 0)


def measure_cpu_time(work: Callable[[], object]) -> CpuTime:
    database, python = database_seconds(), time.process_time()
    clock = timed(work)
    return CpuTime(clock, time.process_time() - python, database_seconds() - database)


def database_seconds() -> float:
    """The CPU time of our session's server process so far; NaN on systems other than Linux."""
    connection.ensure_connection()
    used = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    return int(used.read_text().split()[0]) / 1e9 if used.exists() else float("nan")


class Stopwatch:
    """A wrapper for `connection.execute_wrapper` that counts statements and adds up their time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.statements = 0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        began = time.perf_counter()
        self.statements += 1
        try:
            return execute(sql, params, many, context)
        finally:
            self.seconds += time.perf_counter() - began
