"""Signs of life of a run, and all that ends it from outside, by the clock.

A strategy may compute for minutes without a word, and compiled code hears no signals. So heartbeats
come from a thread of their own, which also interrupts the run: by a flag where the kernel runs, by
a signal where Python does. Where a call into a library keeps Python's lock to itself, the worker
looks after the run, as it does where one does not hear that it must end (see `hung_runs`).
"""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from types import FrameType
from typing import Any, ClassVar, Self

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from backtests.analysis.evaluation import OnProgress
from backtests.engine.interruption import Interrupted, stop_flag
from backtests.models import BacktestResult, HeartbeatReply, SearchChunk

HEARTBEAT_SECONDS = 0.5
# A strategy may catch an interruption, so another one follows.
INTERRUPT_AGAIN_SECONDS = 1.0
# A run that goes on for longer than this gives no more signs of life, so that its worker ends it.
HEARD_WITHIN_SECONDS = 2.0
COMPILERS = ("numba", "llvmlite")
# A thread that waits for a database which is away is left to itself.
JOIN_SECONDS = 2.0

log = structlog.get_logger(__name__)


class EndedBy(StrEnum):
    """The causes that end a run from outside."""

    CANCELLATION = "cancellation"  # or another worker has it
    DEADLINE = "deadline"
    TERMINATION = "termination"
    KEYBOARD = "keyboard"


TOLD_TO_END = "Its worker was told to end while it ran, as for a restart. Run it again."


def out_of_time() -> str:
    """Say in words for the user that a run took too long."""
    return (
        f"It took longer than {settings.BACKTEST_SECONDS:,} seconds. Choose fewer markets"
        " or a shorter time, or raise BACKTEST_SECONDS."
    )


class RunSignals:
    """The signals that end a run while it computes, and that wait while it is stored.

    SIGALRM comes from the run's own signs of life, the others from outside. Only the main thread
    hears them; in another one a run ends at its next report, and the kernel by its flag.
    """

    ENDINGS: ClassVar = {signal.SIGTERM: EndedBy.TERMINATION, signal.SIGINT: EndedBy.KEYBOARD}

    def __init__(self) -> None:
        self.ended_by: EndedBy | None = None
        self._may_interrupt = False
        self._is_due = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGALRM, *self.ENDINGS):
                before = signal.getsignal(number)
                # What is ignored stays so, and what Python did not install it cannot restore.
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the handlers; end the process as the signal asked, now that all is stored."""
        for number, before in self._before.items():
            signal.signal(number, before)
        if self.ended_by is EndedBy.KEYBOARD:
            raise KeyboardInterrupt
        if self.ended_by is EndedBy.TERMINATION:
            raise SystemExit(128 + signal.SIGTERM)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM and not self._is_due:
            return  # a clock of the strategy's
        self.note(signal.Signals(number))
        if self._may_interrupt and not _is_compiling(frame):
            raise Interrupted

    def note(self, number: signal.Signals) -> None:
        """Note a signal that another handler has heard."""
        self.ended_by = self.ended_by or self.ENDINGS.get(number)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let signals interrupt a block."""
        self._may_interrupt = True
        try:
            if self.ended_by:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False

    def interrupt(self) -> None:
        """Interrupt the main thread, also from another one, unless the strategy has the signal."""
        self._is_due = True
        if signal.getsignal(signal.SIGALRM) == self._hear:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)


def _is_compiling(frame: FrameType | None) -> bool:
    """Return whether code is being compiled or loaded, which would crash if it were interrupted."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in COMPILERS:
            return True
        frame = frame.f_back
    return False


class SignsOfLife:
    """Heartbeats of a run, or of a chunk of a search, while a block computes it.

    They come from a thread with a session of its own.

    The thread ends the run once it is cancelled, taken over, or too slow; `ended_by` then says so.
    `cut_off_by` is the cause for which the block was left by an error, if there was one.
    """

    def __init__(
        self, held: BacktestResult | SearchChunk, signals: RunSignals, on_progress: OnProgress
    ) -> None:
        self.held = held
        self.signals = signals
        self.on_progress = on_progress
        self.stop = stop_flag()
        self.deadline = time.monotonic() + settings.BACKTEST_SECONDS
        self.cut_off_by: EndedBy | None = None
        self._cause: EndedBy | None = None
        self._newest = (0.0, "")
        self._is_over = threading.Event()
        # Nothing is interrupted any more once the block is left.
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name="signs of life", daemon=True)

    @property
    def ended_by(self) -> EndedBy | None:
        return self.signals.ended_by or self._cause

    def report(self, progress: float, doing: str) -> None:
        """Note the progress for the next heartbeat. Raises Interrupted."""
        self._newest = progress, doing
        self._look_at_the_clock()
        if self.ended_by:
            raise Interrupted
        self.on_progress(progress, doing)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # What comes later is not the cause.
        self.cut_off_by = self.ended_by if kind else None
        with self._lock:
            self._is_over.set()
        self._thread.join(JOIN_SECONDS)

    def _beat(self) -> None:
        wait, silent_at = HEARTBEAT_SECONDS, math.inf
        while not self._is_over.wait(wait):
            self._look_at_the_clock()
            if time.monotonic() < silent_at:
                self._send_heartbeat()
            if self.ended_by:
                wait = INTERRUPT_AGAIN_SECONDS
                silent_at = min(silent_at, time.monotonic() + HEARD_WITHIN_SECONDS)
                self._interrupt()
        connection.close()

    def _look_at_the_clock(self) -> None:
        if time.monotonic() > self.deadline:
            self._cause = self._cause or EndedBy.DEADLINE

    def _send_heartbeat(self) -> None:
        progress, doing = self._newest
        try:
            reply = self.held.heartbeat(progress=progress, doing=doing, now=datetime.now(UTC))
        except (DatabaseError, InterfaceError) as error:
            log.warning("heartbeat_failed", held=str(self.held), error=str(error))
            connection.close()
            return
        if reply is not HeartbeatReply.GO_ON:
            self._cause = self._cause or EndedBy.CANCELLATION

    def _interrupt(self) -> None:
        self.stop[0] = 1
        with self._lock:
            if not self._is_over.is_set():
                self.signals.interrupt()
