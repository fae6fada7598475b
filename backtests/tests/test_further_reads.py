"""Open interest and order books of a run are read from the record where they are asked for."""

from decimal import Decimal

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backtests import further
from backtests.analysis.evaluation import Evaluation
from backtests.analysis.fingerprints import differences
from backtests.data.universe import MONEY, QuoteHistory, microseconds
from backtests.models import SnapshotSources
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import DoNothing
from backtests.strategies.base import HOLD, Signal
from backtests.tests.record_builders import (
    END,
    HOUR,
    MINUTE,
    START,
    load_universe,
    record_market,
    record_quote,
    record_revision,
)
from backtests.tests.test_further_columns import columns
from kalshi_insights.bad_input import BadInput
from markets.kalshi.fields import Count, Price
from markets.kalshi.order_books import Level, OrderBook
from markets.models import Market, OrderBookSnapshot, Source
from markets.models.order_books import ObservedOrderBook

pytestmark = pytest.mark.django_db


def a_quoted_market(ticker: str = "KXRAIN-26OCT02") -> Market:
    market = record_market(ticker)
    record_revision(market, START)
    return market


def quote(market: Market, minutes: int, interest: str | None, **values) -> None:
    known = None if interest is None else Decimal(interest)
    record_quote(market, START + minutes * MINUTE, open_interest=known, **values)


def record_book(market: Market, minutes: float, yes, no) -> None:
    bids, asks = (
        tuple(Level(Price(Decimal(price)), Count(Decimal(size))) for price, size in side)
        for side in (yes, no)
    )
    book, at = OrderBook(bids, asks), START + minutes * MINUTE
    OrderBookSnapshot.objects.record([ObservedOrderBook(market.pk, at, book)])


def test_open_interest_is_as_recorded_and_goes_on_where_a_row_has_none():
    market = a_quoted_market()
    for minutes, interest in ((0, None), (1, "12.50"), (2, "12.50"), (3, None), (4, "0")):
        quote(market, minutes, interest, bid=f"0.{40 + minutes}00")
    history = QuoteHistory.of(load_universe(market))
    assert columns(history.open_interest)[:5] == [None, 12.5, 12.5, 12.5, 0]


def test_what_was_recorded_later_or_is_of_another_source_is_not_read():
    market = a_quoted_market()
    quote(market, 0, "1")
    quote(market, 5, "2", recorded_at=END + 20 * HOUR)
    quote(market, 6, "3", source=Source.BACKFILL)
    quote(market, 10, "4", bid="0.4300")
    for sources, known in (
        (SnapshotSources.RECORDED, [1, 4]),
        (SnapshotSources.BEST, [1, 3, 4]),
        (SnapshotSources.BACKFILLED, [3]),
    ):
        universe = load_universe(market, sources=sources)
        assert (universe.interest.of(0).contracts / 100).tolist() == known


def test_books_are_read_with_the_one_that_stood_before_the_window():
    market = a_quoted_market()
    quote(market, 1, None)
    record_book(market, -90, [("0.10", "1")], [])
    record_book(market, -60, [("0.40", "2.5"), ("0.41", "7")], [("0.55", "3")])
    record_book(market, 1, [("0.41", "7")], [("0.5450", "1000000000000")])
    record_book(market, 60 * 48, [("0.02", "1")], [])
    books = load_universe(market).books.of(0)
    before, then = (books.newest(at, dollar=10_000, contract=100) for at in books.at.tolist())
    assert before.bids == ((0.41, 7), (0.4, 2.5))
    assert before.asks == ((0.45, 3),)
    assert then.bids == ((0.41, 7),)
    assert then.asks[0].price == 0.455


def test_books_after_the_instant_by_which_a_run_knows_are_not_read():
    market = a_quoted_market()
    quote(market, 1, None)
    for minutes in (1, 3):
        record_book(market, minutes, [("0.40", str(minutes))], [])
    universe = load_universe(market, known_by=START + 2 * MINUTE)
    assert len(universe.books.of(0).at) == 1


def test_a_market_without_books_has_none():
    market = a_quoted_market()
    quote(market, 1, None)
    books = load_universe(market).books.of(0)
    assert books.newest(2**62, dollar=1, contract=1) is None
    assert columns(books.ages(books.at)) == []


def test_nothing_is_read_before_it_is_asked_for_and_neighbours_are_read_at_once():
    markets = [a_quoted_market(f"KXRAIN-26OCT0{n}") for n in range(3)]
    for market in markets:
        quote(market, 1, "5")
    with CaptureQueriesContext(connection) as loading:
        universe = load_universe(*markets)
    assert not [q for q in loading if "open_interest" in q["sql"] or "orderbook" in q["sql"]]
    with CaptureQueriesContext(connection) as asking:
        assert [universe.interest.of(m).contracts.tolist() for m in range(3)] == [[500]] * 3
    assert len(asking) == 1


def test_more_levels_than_there_is_room_for_are_refused(monkeypatch):
    monkeypatch.setattr(further, "MOST_LEVELS", 2)
    market = a_quoted_market()
    quote(market, 1, None)
    record_book(market, 1, [("0.40", "1"), ("0.41", "1")], [("0.50", "1")])
    universe = load_universe(market)
    with (
        CaptureQueriesContext(connection) as asking,
        pytest.raises(BadInput, match="more than 2 levels: choose a shorter time"),
    ):
        universe.books.of(0)
    # Their sizes are not even read.
    assert not [query for query in asking if "bid_sizes" in query["sql"]]


def test_two_books_of_one_instant_are_one_the_last():
    market = a_quoted_market()
    quote(market, 1, None)
    record_book(market, 1, [("0.40", "1")], [])
    record_book(market, 1, [("0.41", "1")], [])
    assert len(load_universe(market).books.of(0).at) == 1


def test_what_a_run_asked_for_is_part_of_its_fingerprint():
    market = a_quoted_market()
    for minutes in range(5):
        quote(market, minutes, "5", bid=f"0.{40 + minutes}00")
    record_book(market, 1, [("0.40", "1")], [])
    universe = load_universe(market)
    assert not {"open interest", "order books"} & fingerprint(universe, DoNothing).keys()
    asked = fingerprint(universe, AsksForMore)
    assert {"open interest", "order books"} < asked.keys()
    OrderBookSnapshot.objects.all().delete()
    again = fingerprint(load_universe(market), AsksForMore)
    assert differences(asked, again) == ["order books"]


def test_so_is_what_only_a_statement_beside_its_orders_has_asked_for():
    market = a_quoted_market()
    quote(market, 0, "5")
    record_book(market, 1, [("0.40", "1")], [])
    for kind, asked in (
        (StatesByInterest, {"open interest"}),
        (DrawsDepth, {"order books"}),
        (DoNothing, set()),
    ):
        found = fingerprint(load_universe(market), kind).keys()
        assert {"open interest", "order books"} & found == asked


class StatesByInterest(DoNothing):
    def probabilities(self, history):
        return np.where(history.open_interest > 1, 0.6, 0.5)


class DrawsDepth(DoNothing):
    def series(self, history):
        return {"depth": history.bids_within(0.05)}


class AsksForMore(Signal):
    """Goes by open interest and depth."""

    name, version, summary = "asks-for-more", "1", "Asks for more."

    def targets(self, history):
        wanted = (history.open_interest > 1) & (history.bids_within(0.05) > 0.5)
        return np.where(wanted, 1, HOLD)


def fingerprint(universe, strategy):
    evaluation = Evaluation(
        universe=universe,
        strategy=strategy,
        params={},
        execution=ExecutionModel(),
        cash=1_000 * MONEY,
        start=microseconds(START),
        end=microseconds(END),
        in_kernel=False,
    )
    evaluation.annotated(evaluation.run(FillModel.EXPECTED, lambda share: None))
    return evaluation.data_fingerprint()
