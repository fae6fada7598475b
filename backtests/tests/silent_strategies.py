"""Strategies that compute without a word, for as long as nobody ends them.

`python -m backtests.tests.silent_strategies backtester` is a worker that knows them.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

from backtests import strategies
from backtests.data.universe import Ints, QuoteHistory
from backtests.strategies.base import Signal, Strategy
from kalshi_insights.arrays import np
from kalshi_insights.processes import worker

# A test that would wait for longer has failed.
LONGEST_SECONDS = 60.0
# Work that came to its end by itself, as nobody ended it.
ENDED_BY_ITSELF: list[str] = []


def compute_in_silence() -> None:
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        sum(range(1_000))
    ENDED_BY_ITSELF.append("the computation")


class SilentSignal(Signal):
    name, version, summary = "silent-signal", "1", "Computes its targets in silence."

    def targets(self, history: QuoteHistory) -> Ints:
        compute_in_silence()
        return np.zeros(len(history), np.int64)


class SilentStrategy(Strategy):
    name, version, summary = "silent-strategy", "1", "Computes its step in silence."

    def next(self) -> None:
        compute_in_silence()


class StubbornSignal(Signal):
    """It takes an interruption for an error of its own, and goes on to the kernel."""

    name, version, summary = "stubborn", "1", "Catches whatever it can."

    def targets(self, history: QuoteHistory) -> Ints:
        with suppress(BaseException):
            compute_in_silence()
        return np.zeros(len(history), np.int64)


class DeafSignal(Signal):
    """It keeps Python's lock, so that no thread of its process runs."""

    name, version, summary = "deaf", "1", "Computes in one call that holds the lock."

    def targets(self, history: QuoteHistory) -> Ints:
        return np.full(len(history), sum(range(10**11)))


class CompiledSignal(Signal):
    """It releases Python's lock, but its process hears no signal before the call returns."""

    name, version, summary = "compiled", "1", "Computes in one call that releases the lock."

    def targets(self, history: QuoteHistory) -> Ints:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)
        return np.zeros(len(history), np.int64)


class Does(Signal):
    """Does something while it computes its targets."""

    name, version, summary = "does", "1", "Does something."
    work: ClassVar[Callable[[], Any]] = compute_in_silence

    def targets(self, history: QuoteHistory) -> Ints:
        type(self).work()
        return np.full(len(history), 10)


KNOWN = (SilentSignal, SilentStrategy, DeafSignal, StubbornSignal, CompiledSignal, Does)


if __name__ == "__main__":
    strategies.STRATEGIES |= {strategy.name: strategy for strategy in KNOWN}
    worker.main()
