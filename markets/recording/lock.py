"""The lock that makes a process the only recorder, and the watch over a run that holds it.

A run may be stopped or cut off from the database at any moment, without a word to anybody. Then
the server ends its sessions, and with them its locks, and whoever supervises its process kills it,
so that the next run finds its way free (see docs/recording.md, Operations).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from kalshi_insights.processes.pulse import RUN, Pulse
from kalshi_insights.processes.session_limits import SessionLimits

log = structlog.get_logger(__name__)

# The key of the advisory lock: any number that no other lock in this database uses.
RECORDER_LOCK = 7_204_116
# The last request that a run begins may take so long beyond the time for fetching.
REQUEST_SECONDS = 10.0
# Signs of life and renewals of the lock come no closer together.
RENEWED_EVERY = 1.0
REPORTED_EVERY = 60.0
HOLDER = """
    SELECT activity.pid, activity.client_addr::text, activity.backend_start, activity.state,
        activity.state_change
    FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %s
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def statement_seconds(interval: float) -> float:
    """The longest that a statement of a run may take."""
    return min(max(2 * interval, 10.0), 60.0)


def stalled_seconds(interval: float) -> float:
    """The longest that a run may take from one statement, or from its start, to the next."""
    return max(statement_seconds(interval) + 2.5, interval + REQUEST_SECONDS)


def run_limits(interval: float) -> SessionLimits:
    """The limits of the session in which a run reads and writes."""
    longest = statement_seconds(interval)
    return SessionLimits(longest, 0.8 * longest, longest)


class LockLost(Exception):
    """Another recorder may be running by now."""


class RecorderLock:
    """An advisory lock on a session of its own, which ends once it is not renewed any more.

    A session lock is re-entrant and would leak through a pooled or shared connection.
    """

    def __init__(self, *, renewed_within: float) -> None:
        self._session = connection.copy()
        self._renewed_within = renewed_within

    def acquire(self) -> bool:
        with self._session.cursor() as cursor:
            idle = f"{int(self._renewed_within * 1000)}ms"
            cursor.execute("SELECT set_config('idle_session_timeout', %s, false)", [idle])
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [RECORDER_LOCK])
            acquired: bool = cursor.fetchone()[0]
        return acquired

    def renew(self) -> None:
        """Raises LockLost where the server has ended the session."""
        try:
            with self._session.cursor() as cursor:
                cursor.execute("SELECT 1")
        except DatabaseError as fault:
            raise LockLost(f"the session of the recorder's lock has ended: {fault}") from None

    def release(self) -> None:
        """Let go explicitly, because the server notices a closed connection only after a while."""
        # A session that has ended in the meantime has already released the lock.
        with suppress(DatabaseError), self._session.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [RECORDER_LOCK])

    def close(self) -> None:
        self._session.close()


@contextmanager
def recorder_lock(interval: float) -> Iterator[RecorderLock | None]:
    """Try to become the only recorder while the block runs; yield None if there is another one."""
    lock = RecorderLock(renewed_within=stalled_seconds(interval) + 2.5)
    try:
        if lock.acquire():
            missed.forget()
            yield lock
            lock.release()
        else:
            missed.report()
            yield None
    finally:
        lock.close()


class MissedLocks:
    """Logs who holds the lock that this process does not get, at first and then once a minute."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._count = 0
        self._reported_at = float("-inf")

    def report(self) -> None:
        self._count += 1
        if time.monotonic() - self._reported_at < REPORTED_EVERY:
            return
        self._reported_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(HOLDER, [RECORDER_LOCK])
            holder = cursor.fetchone()
        names = ("session", "address", "since", "state", "in_this_state_since")
        held_by = dict(zip(names, map(str, holder or ()), strict=False))
        log.warning("another recorder holds the lock", runs_missed=self._count, **held_by)


missed = MissedLocks()


class RunWatch:
    """Renews the lock of a run, and gives signs of life, with every statement of the run.

    To be used as an execute wrapper of the run's connection.
    """

    def __init__(self, lock: RecorderLock, *, interval: float) -> None:
        self._lock = lock
        self._within = stalled_seconds(interval)
        self._pulse = Pulse(settings.PULSE_PATH, RUN)
        self._next = time.monotonic() + RENEWED_EVERY

    def __enter__(self) -> Self:
        self._pulse.beat(within=self._within)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pulse.end()

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        now = time.monotonic()
        if now >= self._next:
            # A run that has lost its lock is still recorded as one that failed.
            self._next = float("inf")
            self._pulse.beat(within=self._within)
            self._lock.renew()
            self._next = now + RENEWED_EVERY
        return execute(sql, params, many, context)
