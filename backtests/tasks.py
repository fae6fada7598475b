"""What Celery runs."""

from datetime import UTC, datetime

from celery import shared_task
from django.conf import settings

from backtests import runner
from backtests.models import BacktestResult

# Where even a run's own clock does not end it, its process is killed.
GRACE = 60
PICKED_UP_EVERY = 60


@shared_task(time_limit=settings.BACKTEST_SECONDS + GRACE)
def run_backtest(id: int) -> None:
    """Whether it is still to be run, the database decides."""
    runner.run(id)


@shared_task
def pick_up_backtests() -> None:
    """Call for runs whose worker has died or whose message was lost."""
    for id in BacktestResult.objects.pick_up_lost(now=datetime.now(UTC)):
        # The next round calls for it again.
        run_backtest.apply_async((id,), expires=PICKED_UP_EVERY)
