"""The process of a run: the worker itself for shipped strategies, a copy of it for one's own."""

import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.context import ForkProcess

from django.conf import settings
from django.db import connections

from backtests import runner
from backtests.models import BacktestResult
from backtests.strategies import STRATEGIES
from kalshi_insights.processes.parents import ends_with_parent

# A process that its own deadline does not end is killed this many seconds later.
GRACE_SECONDS = 30
# A copy of the worker has the engines loaded and compiled, and nothing of one's own.
FORK = multiprocessing.get_context("fork")


def run(id: int) -> None:
    """Run a queued backtest, one of one's own strategies in a process that ends with it."""
    queued = BacktestResult.objects.filter(pk=id).values_list("strategy", "attempts").first()
    if queued is None:
        return
    strategy, attempts = queued
    if strategy in STRATEGIES:
        runner.run(id)
    elif problem := run_apart(id):
        now = datetime.now(UTC)
        BacktestResult.objects.fail_lost(id, problem, attempts=attempts, now=now)


def run_apart(id: int) -> str:
    """Run a queued backtest in a process of its own; return what was wrong with that process, if
    anything was."""
    # Two processes must not share a session.
    connections.close_all()
    seconds = settings.BACKTEST_SECONDS + GRACE_SECONDS
    process = FORK.Process(target=_run_here, args=(id, os.getpid()))
    with warnings.catch_warnings():
        # The threads that there may be are numpy's, which expects to be copied.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    try:
        with _passing_on(signal.SIGTERM, process):
            process.join(seconds)
        if process.exitcode is None:
            return f"Its process did not end within {seconds:,} seconds, so it was killed."
        return _problem(process.exitcode)
    finally:
        # With all that the strategy has started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        process.close()


@contextmanager
def _passing_on(number: signal.Signals, process: ForkProcess) -> Iterator[None]:
    """Pass a signal on, so that the run ends with its own words, and its process with it."""
    before = signal.signal(number, lambda *_: os.kill(process.pid or 0, number))
    try:
        yield
    finally:
        signal.signal(number, before or signal.SIG_DFL)


def _run_here(id: int, parent: int) -> None:
    os.setpgid(0, 0)
    ends_with_parent(signal.SIGKILL, parent=parent)()
    runner.run(id)


def _problem(code: int) -> str:
    if not code:
        return ""
    if code > 0:
        return f"Its process ended with code {code} before the result was stored."
    name = signal.Signals(-code).name
    memory = " It may need more memory than there is." if name == "SIGKILL" else ""
    return f"Its process was ended by {name} before the result was stored.{memory}"
