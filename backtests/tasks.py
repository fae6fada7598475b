"""Celery tasks of backtests."""

import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import structlog
from celery import shared_task, signals
from celery.worker.state import requests
from django.conf import settings
from kombu.exceptions import OperationalError

from backtests import hung_runs, processes
from backtests.analysis.warm_up import warm_up
from backtests.models import BacktestResult, Search, SearchChunk
from backtests.searches import runner as searches
from backtests.searches import universes

# A run that its own deadline does not end is killed this many seconds later.
GRACE_SECONDS = 60
# By the clocks of two machines, which may differ.
CALLED_AGAIN_SECONDS = 300
WATCH_SECONDS = 1.0

log = structlog.get_logger(__name__)


@signals.worker_init.connect
def prepare_worker(**_: Any) -> None:
    """Compile what runs need before the worker takes one; the pool's process inherits it."""
    warm_up()


@signals.worker_ready.connect
def watch_runs(**_: Any) -> None:
    """Look after the runs under way from a thread of the worker, which is not the pool's."""
    Thread(target=_watch_runs, name="watch over runs", daemon=True).start()


def _watch_runs() -> None:
    while True:
        time.sleep(WATCH_SECONDS)
        watch.look()


def _runs_under_way() -> list[hung_runs.RunProcess]:
    # From a copy, since requests come and go in another thread.
    return [
        hung_runs.RunProcess(request.id, request.args[0], request.worker_pid)
        for request in requests.copy().values()
        if request.worker_pid and request.name == run_backtest.name
    ]


watch = hung_runs.HungRunWatch(_runs_under_way)


@signals.worker_shutting_down.connect
def end_runs(**_: Any) -> None:
    """Let the pool's process end its run when the worker is told to end.

    Celery would wait for it, for longer than whoever stops the worker does.
    """
    watch.end()
    # A chunk is given back, for another worker.
    for request in requests.copy().values():
        if request.worker_pid and request.name == run_search_chunk.name:
            with suppress(ProcessLookupError):
                os.kill(request.worker_pid, signal.SIGTERM)


@shared_task(time_limit=settings.BACKTEST_SECONDS + GRACE_SECONDS)
def run_backtest(id: int) -> None:
    """Run a backtest, unless the database says that it has been claimed."""
    universes.forget()
    # The worker ends this process itself, once the task is over.
    with suppress(SystemExit):
        processes.run(id)


# A worker reads the record first, which has a deadline of its own.
@shared_task(time_limit=2 * settings.BACKTEST_SECONDS + GRACE_SECONDS)
def run_search_chunk(id: int) -> None:
    """Run the next chunk of a search, and call a worker for the one after it.

    That is called before the chunk runs, so that all workers that are idle take part. Where none
    waited then, one may at the end: what another worker has given back.
    """
    called: list[bool] = []
    with suppress(SystemExit):
        searches.run_chunk(id, on_claimed=lambda claimed: called.append(call_another(id)))
    if called == [False]:
        call_another(id)


def call_another(id: int) -> bool:
    """Call a worker for the next chunk of a search; False where none waits, or nobody hears.

    Each claimed chunk calls one, so a search has one message at a time, however many workers there
    are, and what else waits comes between two of its chunks.
    """
    if not SearchChunk.objects.waiting(id).exists():
        return False
    try:
        run_search_chunk.delay(id)
    except OperationalError as error:
        log.warning("no_worker_called", search=id, error=str(error))
        return False
    return True


@shared_task
def pick_up_backtests() -> None:
    """Call workers for runs and searches whose worker has died or whose message was lost."""
    now = datetime.now(UTC)
    # Messages may expire, since the next round sends them again.
    for id in BacktestResult.objects.requeue_lost(now=now):
        run_backtest.apply_async((id,), expires=CALLED_AGAIN_SECONDS)
    lost = SearchChunk.objects.requeue_lost(now=now)
    for id in {*lost, *Search.objects.uncalled(now=now)}:
        run_search_chunk.apply_async((id,), expires=CALLED_AGAIN_SECONDS)
