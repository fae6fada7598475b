"""A run that was asked for goes into the queue, if its user has room there."""

from datetime import datetime

from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from backtests.choosing import Selection
from backtests.models import BacktestResult, Status
from backtests.requests import Asked
from kalshi_insights.celery import app
from markets.models import MarketSnapshot

# By its name: the engines that it imports are heavy, and no concern of a web process.
RUN = "backtests.tasks.run_backtest"
MOST_UNFINISHED = 5
UNFINISHED = (Status.QUEUED, Status.RUNNING)


class TooMany(Exception):
    """The user's other runs have to end first."""

    def __init__(self) -> None:
        super().__init__(
            f"{MOST_UNFINISHED} of your backtests have not ended. Wait, or cancel one."
        )


def submit(asked: Asked, *, user: User, now: datetime) -> BacktestResult:
    """Queue a run and call a worker for it. Raises `BadInput` and `TooMany`."""
    columns = asked.checked(now=now)
    check_recorded(asked.selection)
    with transaction.atomic():
        # One at a time of each user, so that the count holds.
        User.objects.select_for_update().get(pk=user.pk)
        waiting = BacktestResult.objects.of_user(user).in_stage(UNFINISHED).count()
        if waiting >= MOST_UNFINISHED:
            raise TooMany
        result = BacktestResult.objects.queue(columns, user=user, now=now)
        # Without the broker it waits for maintenance, which looks for runs that nobody took.
        transaction.on_commit(lambda: app.send_task(RUN, (result.pk,)), robust=True)
    return result


def check_recorded(selection: Selection) -> None:
    """Raise `BadInput` where a run would find no quotes; the run itself counts them."""
    ids = selection.markets()
    found = MarketSnapshot.objects.filter(
        market_id__in=ids, timestamp__gte=selection.start, timestamp__lt=selection.end
    )
    if not found.exists():
        raise selection.nothing(ids)


def may_cancel(user: User | AnonymousUser, result: BacktestResult) -> bool:
    """One's own, or as staff."""
    return user.is_staff or (user.pk is not None and result.user_id == user.pk)
