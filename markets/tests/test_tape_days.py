"""The second proof of the tape: each day's trades add up to the change of volumes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from markets.intervals import Interval
from markets.models import TapeDay, TapeSpan
from markets.storage import partitions, retention
from markets.storage.partitions import TRADES, DayPartition
from markets.tests.factories import a_market, a_snapshot, a_trade

NOW = datetime.now(UTC)
DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


def observed(ticker, *volumes):
    """Create a market whose volume was observed once an hour, and return it."""
    market = a_market(ticker)
    for n, volume in enumerate(volumes, 1):
        a_snapshot(market, DAY + n * HOUR, volume=volume).save()
    return market


def test_the_trades_of_a_day_are_compared_with_its_volumes():
    agreeing = observed("KXA-1-X", 10, 10, 25)
    a_trade(agreeing, DAY + 1.5 * HOUR, "a", contracts=1500)
    a_trade(agreeing, DAY + 3.5 * HOUR, "b", contracts=100)  # after the last look
    lacking = observed("KXA-1-Y", 0, 30)
    a_trade(lacking, DAY + 1.5 * HOUR, "c", contracts=1000)
    observed("KXA-1-Z", 5, 5)
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(DAY, DAY + HOUR))
    assert retention.maintain(now=NOW).compared == DAY.date()
    assert retention.maintain(now=NOW).compared is None
    day = TapeDay.objects.get()
    assert (day.markets, day.agreeing) == (2, 1)
    assert (day.grown, day.traded) == (45, 25)


def test_a_trade_at_the_instant_of_a_look_may_count_on_either_side():
    market = observed("KXA-1-X", 10, 20)
    a_trade(market, DAY + HOUR - SECOND, "a", contracts=1000)
    day = TapeDay.objects.compare(DAY.date(), at=NOW)
    assert (day.markets, day.agreeing, day.contracts) == (1, 1, 0)


def test_a_day_whose_trades_were_dropped_is_not_whole():
    window = Interval(DAY, DAY + 48 * HOUR)
    partitions.create_missing(TRADES, [DAY.date(), (DAY + 24 * HOUR).date()])
    with transaction.atomic():
        TapeSpan.objects.mark(window, TapeSpan(is_whole=True))
    assert TapeSpan.objects.share(window) == 1
    partitions.drop(DayPartition(TRADES, DAY.date()), str)
    assert TapeSpan.objects.whole(window) == [Interval(DAY + 24 * HOUR, window.end)]
    assert TapeSpan.objects.missing(window) == [Interval(DAY, DAY + 24 * HOUR)]
    assert TapeSpan.objects.share(window) == 0.5


def test_a_day_whose_trades_wait_for_its_partition_is_whole():
    with transaction.atomic():
        TapeSpan.objects.mark(Interval(DAY, DAY + HOUR), TapeSpan(is_whole=True))
    a_trade(a_market(), DAY, "a")
    assert TapeSpan.objects.share(Interval(DAY, DAY + HOUR)) == 1
