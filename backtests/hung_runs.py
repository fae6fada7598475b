"""Runs whose process gives no sign of life, looked after by the worker that started it.

A call into a library may keep Python's lock for minutes, and then no thread of the process runs.
"""

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from backtests.models import BacktestResult, BacktestStatus, HeartbeatReply
from backtests.signs_of_life import out_of_time

SILENT_AFTER = timedelta(seconds=3)

log = structlog.get_logger(__name__)


def look_after(id: int, pid: int) -> None:
    """Send the heartbeat of a silent run, or end its process where it does not hear that it must.

    The run is stored as ended first, so that nothing comes of it if its process goes on.
    """
    try:
        is_over = _look_after(id, now=datetime.now(UTC))
    except (DatabaseError, InterfaceError) as error:
        log.warning("runs_not_looked_after", error=str(error))
        connection.close()
        return
    if is_over:
        log.warning("hung_backtest_killed", backtest=id, pid=pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _look_after(id: int, *, now: datetime) -> bool:
    """Return whether a silent run has been ended."""
    runs = BacktestResult.objects
    held = runs.filter(pk=id, status=BacktestStatus.RUNNING, heartbeat_at__lt=now - SILENT_AFTER)
    silent = held.for_list().first()
    if silent is None or silent.claimed_at is None:
        return False
    if now > silent.claimed_at + timedelta(seconds=settings.BACKTEST_SECONDS):
        return runs.fail(silent, out_of_time(), now=now)
    reply = runs.heartbeat(silent, progress=silent.progress, doing=silent.doing, now=now)
    return reply is HeartbeatReply.CANCELLED and runs.mark_cancelled(silent, now=now)
