"""Runs that do not answer, looked after by the worker that started their process.

A call into a library may keep Python's lock for minutes, and then no thread of the process runs.
One that releases it, or a strategy that catches every interruption, does not hear that it must end.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from backtests.models import BacktestResult, BacktestStatus, HeartbeatReply
from backtests.signs_of_life import TOLD_TO_END, out_of_time

SILENT_AFTER = timedelta(seconds=3)
# A process that is told to end has this long to end its run.
TOLD_SECONDS = 5.0

log = structlog.get_logger(__name__)


class RunProcess(NamedTuple):
    """A process of the worker, and the run that a request has given it."""

    request: str
    run: int
    pid: int


class HungRunWatch:
    """The watch of a worker over the runs that its processes compute.

    `under_way` returns these at the moment. A run that has another claim than the one under which
    it was first seen is another worker's.
    """

    def __init__(self, under_way: Callable[[], list[RunProcess]]) -> None:
        self.under_way = under_way
        self._is_ending = False
        self._claims: dict[str, UUID | None] = {}
        self._told: dict[str, float] = {}

    def end(self) -> None:
        """Tell the processes of all runs to end, and those of runs that begin from now on."""
        self._is_ending = True
        for process in self.under_way():
            self._tell(process)

    def look(self) -> None:
        """Send the heartbeats of silent runs, and end those that do not hear that they must."""
        try:
            processes = self.under_way()
            self._forget_all_but(processes)
            for process in processes:
                self._look_after(process, now=datetime.now(UTC))
        except (DatabaseError, InterfaceError) as error:
            log.warning("runs_not_looked_after", error=str(error))
            connection.close()
        except Exception:
            # The next look may fare better, and without any silent runs are given up for lost.
            log.exception("runs_not_looked_after")

    def _forget_all_but(self, processes: list[RunProcess]) -> None:
        requests = {process.request for process in processes}
        for kept in (self._claims, self._told):
            for gone in kept.keys() - requests:
                del kept[gone]

    def _look_after(self, process: RunProcess, *, now: datetime) -> None:
        if self._is_ending:
            self._tell(process)
        run = self._run_of(process)
        # It is stored as ended first, so that nothing comes of it if its process goes on.
        if run is not None and self._has_ended(run, process, now=now):
            self._kill(process)

    def _tell(self, process: RunProcess) -> None:
        if process.request not in self._told:
            self._told[process.request] = time.monotonic()
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)

    def _run_of(self, process: RunProcess) -> BacktestResult | None:
        held = BacktestResult.objects.filter(pk=process.run, status=BacktestStatus.RUNNING)
        run = held.for_list().first()
        if run is None or self._claims.setdefault(process.request, run.token) != run.token:
            return None
        return run

    def _has_ended(self, run: BacktestResult, process: RunProcess, *, now: datetime) -> bool:
        """End a run that has to and does not; keep one alive that is only silent."""
        runs = BacktestResult.objects
        told_at = self._told.get(process.request)
        if told_at is not None and time.monotonic() > told_at + TOLD_SECONDS:
            return runs.fail(run, TOLD_TO_END, now=now)
        if run.claimed_at is None or run.heartbeat_at is None:
            return False
        if run.heartbeat_at > now - SILENT_AFTER:
            return False
        if now > run.claimed_at + timedelta(seconds=settings.BACKTEST_SECONDS):
            return runs.fail(run, out_of_time(), now=now)
        reply = runs.heartbeat(run, progress=run.progress, doing=run.doing, now=now)
        return reply is HeartbeatReply.CANCELLED and runs.mark_cancelled(run, now=now)

    def _kill(self, process: RunProcess) -> None:
        """Kill a process at once, unless it has gone on to its next run."""
        if process not in self.under_way():
            return
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        log.warning("hung_backtest_killed", backtest=process.run, pid=process.pid)
