"""A write that the database refuses costs the rows of its own tier, and nothing else of a run."""

import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from kalshi_insights.processes.session_limits import SessionLimits, limited
from markets.models import (
    Market,
    MarketSnapshot,
    OrderBookSnapshot,
    Poll,
    Sweep,
    TapeSpan,
    Tier,
    Trade,
)
from markets.recording.recorder import record_tick
from markets.recording.tick import Tick
from markets.recording.tiers import fetch_due_tiers
from markets.tests.test_recorder import INTERVAL, tick

NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    """Let trades come while a test runs, however long after the others that is."""
    monkeypatch.setattr(f"{__name__}.NOW", datetime.now(UTC))


@contextmanager
def refusing(table):
    """Let a table refuse every new row."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT full_up CHECK (false) NOT VALID")
        yield
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT full_up")


@contextmanager
def in_use(table):
    """Hold a table in another session, so that nobody reads or writes it."""
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        other.rollback()
    finally:
        other.close()


@contextmanager
def missing(table):
    """Let every statement that names a table fail."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")


@pytest.fixture(autouse=True)
def without_order_books(settings):
    settings.ORDER_BOOK_MARKETS = 0


def followed(exchange):
    """Record one market and begin its tape."""
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.tape.add(1, NOW - SECOND)
    exchange.tape.add(2, NOW)
    tick(exchange)
    exchange.quote("KXA-1-X", "0.1000", "0.2000")
    exchange.tape.add(3, NOW + SECOND)
    return TapeSpan.objects.get()


def check_run_stands(poll, span):
    assert (poll.error, poll.snapshots) == ("", 1)
    assert poll.warning.startswith("trades: ")
    assert "\n" not in poll.warning
    assert str(Market.objects.get().yes_bid) == "0.1000"
    left = TapeSpan.objects.get()
    assert (left.end, left.is_whole) == (span.end, True)
    assert Sweep.objects.filter(tier=Tier.UNIVERSE, complete=True).count() == 3


def test_trades_that_are_refused_cost_no_quote_and_are_read_again(exchange):
    span = followed(exchange)
    with refusing("markets_trade"):
        poll = tick(exchange)
    check_run_stands(poll, span)
    assert tick(exchange).warning == ""
    assert Trade.objects.count() == 3
    assert TapeSpan.objects.get().end == NOW + SECOND


def test_a_table_of_trades_that_is_in_use_costs_no_quote(exchange):
    span = followed(exchange)
    with in_use("markets_trade"):
        poll = tick(exchange)
    check_run_stands(poll, span)
    assert "lock timeout" in poll.warning
    tick(exchange)
    assert Trade.objects.count() == 3


def test_order_books_that_are_refused_cost_no_quote_and_are_fetched_again(exchange, settings):
    settings.ORDER_BOOK_MARKETS = 1
    exchange.list("KXA-1-X")
    exchange.books["KXA-1-X"] = {"yes_dollars": [["0.4200", "10.00"]], "no_dollars": []}
    tick(exchange)
    Market.objects.choose_hot(1, at=NOW)
    exchange.quote("KXA-1-X", "0.1000", "0.2000")
    before = MarketSnapshot.objects.count()
    with refusing("markets_orderbooksnapshot"):
        poll = tick(exchange)
    assert (poll.error, poll.snapshots, poll.order_books) == ("", 1, 0)
    assert "order books: " in poll.warning
    assert MarketSnapshot.objects.count() == before + 1
    assert not Sweep.objects.filter(tier=Tier.ORDER_BOOKS, started_at__gte=poll.started_at).exists()
    assert tick(exchange).order_books == 1
    assert OrderBookSnapshot.objects.count() == Poll.objects.exclude(order_books=0).count()


def test_a_run_that_cannot_read_the_passes_before_it_is_recorded_as_failed(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    Poll.objects.update(started_at=NOW - timedelta(hours=1))
    with missing("markets_sweep"), exchange.client() as client:
        poll = record_tick(client, interval=INTERVAL)
    assert "markets_sweep" in poll.error
    assert Poll.objects.get(pk=poll.pk).finished_at is not None
    assert tick(exchange).error == ""


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (SessionLimits(0, 0.2, 0), "lock timeout"),
        (SessionLimits(0.3, 0, 0), "statement timeout"),
    ],
)
def test_two_tiers_alone_wait_for_a_table_that_is_in_use(exchange, limits, reason):
    exchange.list("KXA-1-X")
    tick(exchange)
    Sweep.objects.update(started_at=NOW - timedelta(hours=1))
    run = Tick(exchange.client(), Poll(started_at=NOW), deadline=time.monotonic() + 60)
    with in_use("markets_market"), limited(connection, limits), closing(run):
        fetch_due_tiers(run)
    noted = [*run.poll.error.split("; "), *filter(None, run.poll.warning.split("; "))]
    assert len(noted) == 2
    assert all(reason in each for each in noted)
