"""The process of a run: the worker itself for shipped strategies, a copy of it for one's own."""

import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import NoReturn
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections

from backtests import runner
from backtests.models import BacktestResult
from backtests.strategies import STRATEGIES
from kalshi_insights.processes.parents import ends_with_parent

# A process that its own deadline does not end is killed this many seconds later.
GRACE_SECONDS = 30
LOOK_SECONDS = 1.0
TOKEN_BYTES = 16
# The beginnings of the names that a run's environment keeps: none of the site's.
LEFT_IN_ENVIRONMENT = (
    "PATH", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "PG", "SSL_", "LD_", "PYTHON", "NUMBA_", "OMP_",
    "OPENBLAS_", "MKL_",
)  # fmt: skip

log = structlog.get_logger(__name__)


def run(id: int) -> None:
    """Run a queued backtest, one of one's own strategies in a process that ends with it."""
    strategy = BacktestResult.objects.filter(pk=id).values_list("strategy", flat=True).first()
    if strategy in STRATEGIES:
        runner.run(id)
    elif strategy is not None:
        _run_apart(id)


def _run_apart(id: int) -> None:
    """Run a queued backtest in a process of its own, and fail it where that ends without a word.

    The process is a copy of this one, which has the engines loaded and compiled, and nothing of
    one's own. A run that it has not claimed is left to the next worker.
    """
    with _pipe() as (reader, writer):
        say = partial(_say_token, writer)
        problem = run_apart(lambda: runner.run(id, on_claimed=say))
        token = _token(reader)
    if not problem:
        return
    if token is None:
        log.warning("backtest_not_begun", backtest=id, problem=problem)
        return
    BacktestResult.objects.fail_lost(id, token, problem, now=datetime.now(UTC))


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """The pipe by which the process of a run says under which token it has claimed it."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _token(reader: int) -> UUID | None:
    # What the strategy has started may hold the other end.
    os.set_blocking(reader, False)
    try:
        return UUID(bytes=os.read(reader, TOKEN_BYTES))
    except BlockingIOError:
        return None


def _say_token(writer: int, held: BacktestResult) -> None:
    os.write(writer, held.token.bytes if held.token else b"")


def ignore_signal(number: signal.Signals) -> None:
    """The callback of a caller who need not hear the signals that end the work."""


def never() -> bool:
    """Answer for a caller who looks after the process otherwise."""
    return False


def run_apart(
    work: Callable[[], None],
    *,
    on_signal: Callable[[signal.Signals], None] = ignore_signal,
    must_end: Callable[[], bool] = never,
) -> str:
    """Do some work in a process of its own; return what was wrong with that, if anything was.

    It has the signals that tell this process to end, and `on_signal` hears them. It is killed once
    `must_end`, which is asked every second, says so.
    """
    seconds = settings.BACKTEST_SECONDS + GRACE_SECONDS
    process = _fork(work)
    try:
        with _passing_on((signal.SIGTERM, signal.SIGINT), process, on_signal):
            is_over = _wait(process, seconds, must_end)
    finally:
        # With all that the strategy has started.
        for kill in (os.kill, os.killpg):
            with suppress(ProcessLookupError):
                kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    if not is_over:
        return f"Its process did not end within {seconds:,} seconds, so it was killed."
    return _problem(os.waitstatus_to_exitcode(status))


def _fork(work: Callable[[], None]) -> int:
    """Begin the process of some work, and return its number."""
    parent = os.getpid()
    # Two processes must not share a session, nor write twice what waits to be written.
    connections.close_all()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # The threads that there may be are numpy's, which expects to be copied.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if not process:
        _run_here(work, parent)
    return process


def _run_here(work: Callable[[], None], parent: int) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        ends_with_parent(signal.SIGKILL, parent=parent)()
        _forget_environment()
        # One that is told to end before it has claimed the run leaves it to the next worker.
        with suppress(SystemExit, KeyboardInterrupt):
            work()
        code = 0
    finally:
        # Nothing that the worker does at its end is this process's to do, whatever the strategy
        # has left of the standard streams.
        try:
            error = sys.exception()
            if isinstance(error, Exception):
                sys.excepthook(type(error), error, error.__traceback__)
            sys.stdout.flush()
        finally:
            os._exit(code)


def _forget_environment() -> None:
    """Take out of the environment what a strategy, and the words of its errors, need not have.

    The settings have been read, and so has the address of the database; its password may be in
    the environment alone, and is kept for the connections to come.
    """
    if password := os.environ.pop("PGPASSWORD", ""):
        for database in connections.settings.values():
            database["PASSWORD"] = database["PASSWORD"] or password
    for name in list(os.environ):
        if not name.startswith(LEFT_IN_ENVIRONMENT):
            os.environ.pop(name)


def _wait(process: int, seconds: float, must_end: Callable[[], bool]) -> bool:
    """Wait until a process is over; False where it takes longer, or must end before."""
    until = time.monotonic() + seconds
    ended = os.pidfd_open(process)
    try:
        while (left := until - time.monotonic()) > 0:
            if select.select([ended], [], [], min(left, LOOK_SECONDS))[0]:
                return True
            if must_end():
                return False
        return False
    finally:
        os.close(ended)


@contextmanager
def _passing_on(
    numbers: Sequence[signal.Signals], process: int, on_signal: Callable[[signal.Signals], None]
) -> Iterator[None]:
    """Pass signals on, so that the run ends with its own words, and its process with it."""

    def hear(number: int, frame: FrameType | None) -> None:
        os.kill(process, number)
        on_signal(signal.Signals(number))

    before = {number: signal.getsignal(number) for number in numbers}
    # What is ignored stays so.
    heard = {number: each for number, each in before.items() if each is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, each in heard.items():
            signal.signal(number, each or signal.SIG_DFL)


def _problem(code: int) -> str:
    if not code:
        return ""
    if code > 0:
        return f"Its process ended with code {code} before the result was stored."
    name = signal.Signals(-code).name
    memory = " It may need more memory than there is." if name == "SIGKILL" else ""
    return f"Its process was ended by {name} before the result was stored.{memory}"
