"""Celery tasks of backtests."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from celery import shared_task, signals
from celery.worker.state import requests
from django.conf import settings

from backtests import hung_runs, processes
from backtests.analysis.warm_up import warm_up
from backtests.models import BacktestResult

# A run that its own deadline does not end is killed this many seconds later.
GRACE_SECONDS = 60
# By the clocks of two machines, which may differ.
CALLED_AGAIN_SECONDS = 300
WATCH_SECONDS = 1.0


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


@shared_task(time_limit=settings.BACKTEST_SECONDS + GRACE_SECONDS)
def run_backtest(id: int) -> None:
    """Run a backtest, unless the database says that it has been claimed."""
    # The worker ends this process itself, once the task is over.
    with suppress(SystemExit):
        processes.run(id)


@shared_task
def pick_up_backtests() -> None:
    """Call a worker for runs whose worker has died or whose message was lost."""
    for id in BacktestResult.objects.requeue_lost(now=datetime.now(UTC)):
        # The message may expire, since the next round sends it again.
        run_backtest.apply_async((id,), expires=CALLED_AGAIN_SECONDS)
