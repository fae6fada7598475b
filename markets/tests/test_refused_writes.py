"""A write that the database refuses costs the rows of its own tier, and nothing else of a run."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

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
from markets.tests.test_recorder import tick

NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db(transaction=True)


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
