"""Columns of `QuoteHistory` beside the quotes: read where asked for, as known at each row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.by_market import ByMarket
from backtests.data.gaps import MarketGaps
from backtests.data.tape import tape_of
from backtests.data.universe import DOLLAR, MONEY, SECOND, QuoteHistory, Terms, instant
from backtests.tests.further_records import books_of, with_books, with_open_interest
from backtests.tests.test_execution import NOW, USUAL, book, universe_of
from markets import fees

NAN = float("nan")


def second(number):
    return NOW + number * SECOND


def history_of(universe):
    return QuoteHistory.of(universe)


def rows_at(*seconds, market=0):
    return [book(42, 45, at=at, market=market) for at in seconds]


def columns(values):
    return [None if np.isnan(value) else round(float(value), 9) for value in values]


def test_open_interest_is_that_of_the_newest_row_by_then():
    universe = with_open_interest(
        universe_of(*rows_at(0, 5, 10)), [(second(4), 1_250), (second(10), 900)]
    )
    assert columns(history_of(universe).open_interest) == [None, 12.5, 9]


def test_each_market_has_its_own_open_interest():
    rows = sorted(rows_at(0, 5) + rows_at(0, 6, market=1), key=lambda row: row["at"])
    universe = with_open_interest(
        universe_of(*rows, markets=2), [(second(0), 100)], [(second(6), 300)]
    )
    assert columns(history_of(universe).open_interest) == [1, 1, None, 3]


def test_a_run_that_does_not_ask_reads_nothing():
    asked = []

    def read(markets):
        asked.append(markets)
        return [None]

    universe = universe_of(*rows_at(0, 5))
    values = ByMarket(read, 1)
    history = history_of(replace(universe, interest=values, books=values))
    assert columns(history.mid) == [0.435, 0.435]
    assert not asked


def test_neighbours_are_read_together_and_once():
    asked = []

    def read(markets):
        asked.append(list(markets))
        return [10 * market for market in markets]

    values = ByMarket(read, 5, at_once=2)
    chosen = values.select(np.array([4, 1, 0])).changed(lambda market, value: (market, value))
    assert [chosen.of(market) for market in (0, 1, 2, 1)] == [(0, 40), (1, 10), (2, 0), (1, 10)]
    assert asked == [[4], [0, 1]]
    assert list(values.read_already()) == [(0, 0), (1, 10), (4, 40)]


def test_depth_is_that_of_the_newest_book_within_a_distance_of_its_best_price():
    universe = with_books(
        universe_of(*rows_at(0, 5, 10)),
        books_of(
            (second(3), [(4_200, 100), (4_100, 50), (3_900, 700)], [(4_500, 30)]),
            (second(9), [(4_300, 1)], []),
        ),
    )
    history = history_of(universe)
    assert columns(history.bids_within(0)) == [None, 1, 0.01]
    assert columns(history.bids_within(0.01)) == [None, 1.5, 0.01]
    assert columns(history.bids_within(1)) == [None, 8.5, 0.01]
    assert columns(history.asks_within(0.05)) == [None, 0.3, 0]
    assert columns(history.book_age) == [None, 2, 1]


def test_what_is_not_on_record_is_unknown():
    history = history_of(universe_of(*rows_at(0, 5)))
    for values in (
        *(history.open_interest, history.bids_within(1), history.book_age),
        *(history.bought, history.sold),
    ):
        assert columns(values) == [None, None]


def test_fees_are_those_in_force_at_the_row():
    later = Terms(second(5), 14, 100, 0, 1)
    universe = universe_of(*rows_at(0, 5))
    universe = replace(universe, terms=[[USUAL, later]])
    history = history_of(universe)
    assert columns(history.taker_fee(100, 0.5)) == [1.75, 3.5]
    assert columns(history.maker_fee(100, 0.5)) == [0.4375, 0]
    assert columns(history.taker_fee(np.array([10, NAN]), 0.5)) == [0.175, None]
    assert columns(history.taker_fee(-10, np.array([NAN, 0.5]))) == [None, 0.35]


@pytest.mark.parametrize("order", [(1_000_001, 0.5), (1, 1.01), (1, -0.01), (NAN, 0.5)])
def test_what_can_be_no_order_has_no_fee(order):
    history = history_of(replace(universe_of(*rows_at(0)), terms=[[USUAL]]))
    assert columns(history.taker_fee(*order)) == [None]


@given(
    count=st.integers(-1_000_000, 1_000_000).filter(bool),
    price=st.integers(1, DOLLAR - 1),
    numerator=st.integers(0, 100),
    year=st.integers(-400, 400),
)
def test_a_column_s_fee_is_that_of_a_fill(count, price, numerator, year):
    rows = rows_at(year * 86_400)
    universe = replace(universe_of(*rows), terms=[[Terms(0, numerator, 100, 0, 1)]])
    era = fees.rounding(instant(second(year * 86_400)), broker=False)
    paid = count * price if count > 0 else -count * (DOLLAR - price)
    fee, _ = fees.charge(abs(count), price, -paid, numerator, 100, *era[1:], 0)
    assert columns(history_of(universe).taker_fee(count / 100, price / DOLLAR)) == [fee / MONEY]


def gapped(universe, *gaps):
    since, until = np.array([[second(edge) for edge in gap] for gap in gaps]).T
    return replace(
        universe,
        gaps=MarketGaps(np.array([0, len(gaps)]), since, until, np.zeros(len(gaps), np.int64)),
    )


def test_a_gap_is_missing_from_the_share_observed_and_so_is_the_time_before_the_first_look():
    universe = gapped(universe_of(*rows_at(0, 10, 40, 50)), (12, 22), (25, 40))
    share = history_of(universe).observed_share
    assert columns(share(20)) == [0, 0.5, 0.15, 0.5]
    assert columns(share(100)) == [0, 0.1, 0.15, 0.25]


def test_the_tape_s_contracts_come_with_the_row_by_which_they_are_known():
    trades = [
        (second(1), 0, 4_200, 300, 1, second(2)),
        (second(2), 0, 4_200, 500, -1, second(6)),
        (second(6), 0, 4_200, 40, 1, second(7)),
        (second(7), 0, 4_200, 90, 0, second(7)),
    ]
    universe = universe_of(*rows_at(0, 5, 10, 20))
    tape = tape_of(trades, [[(second(0), second(10))]])
    history = history_of(replace(universe, tape=tape))
    assert columns(history.bought) == [None, 3, 0.4, None]
    assert columns(history.sold) == [None, 0, 5, None]
