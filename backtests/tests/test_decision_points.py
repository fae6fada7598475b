"""Rows to decide on at observations, and the observations of a universe."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtests.data import observations
from backtests.data.decision_points import with_decision_points
from backtests.data.universe import SECOND, Universe
from backtests.tests.test_execution import NOW, book, universe_of
from backtests.tests.test_gaps import gaps_of


def observed_at(universe: Universe, *seconds: Sequence[int]) -> Universe:
    """Observe each market at these seconds, besides its rows."""
    quotes = universe.quotes
    looks = [np.array(own, np.int64) * SECOND + NOW for own in seconds]
    market = np.concatenate(
        [quotes.market, np.repeat(np.arange(len(looks)), [len(own) for own in looks])]
    )
    at = np.concatenate([quotes.at, *looks])
    order = np.argsort(at, kind="stable")
    observed = observations.of_rows(market[order], at[order], markets=len(universe.listings))
    return replace(universe, observed=observed)


def seconds_of(at):
    return ((at - NOW) // SECOND).tolist()


def test_each_row_is_an_observation_where_nothing_else_is_known():
    universe = universe_of(book(42, 45), book(42, 45, market=1), book(41, 45), markets=2)
    assert [seconds_of(universe.observations().of_market(m)) for m in range(2)] == [[0, 10], [5]]


def test_a_part_of_a_universe_keeps_its_observations_and_its_gaps():
    universe = universe_of(book(42, 45), book(42, 45, market=1), markets=2)
    universe = replace(observed_at(universe, [1, 3], [7, 8]), gaps=gaps_of([(1, 2)], [(3, 4)]))
    part = universe.subset([1])
    assert seconds_of(part.observations().of_market(0)) == [5, 7, 8]
    assert part.known_gaps().since.tolist() == [3]


def test_points_to_decide_lie_at_observations_at_least_so_far_apart():
    universe = observed_at(universe_of(book(42, 45, at=0), book(41, 45, at=23)), range(0, 40, 2))
    points = with_decision_points(universe, 5.0)
    assert seconds_of(points.universe.quotes.at) == [0, 6, 12, 18, 23, 28, 34]
    assert points.rows.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert points.universe.quotes.bid.tolist() == [4_200] * 4 + [4_100] * 3


def test_a_row_starts_the_count_anew():
    universe = observed_at(universe_of(book(42, 45, at=0), book(41, 45, at=4)), range(12))
    assert seconds_of(with_decision_points(universe, 5.0).universe.quotes.at) == [0, 4, 9]


def test_a_market_that_does_not_trade_has_no_points():
    rows = [book(42, 45, at=0), book(42, 45, at=4, tradable=False), book(42, 45, at=30)]
    universe = observed_at(universe_of(*rows), range(40))
    assert seconds_of(with_decision_points(universe, 9.0).universe.quotes.at) == [0, 4, 30, 39]


def test_who_does_not_ask_gets_the_rows_as_they_are():
    universe = observed_at(universe_of(book(42, 45), book(41, 45)), range(40))
    points = with_decision_points(universe, None)
    assert points.universe is universe
    assert points.rows.tolist() == [0, 1]


def test_points_of_several_markets_go_by_instant_and_market():
    rows = [book(42, 45, at=0, market=m) for m in range(2)]
    universe = observed_at(universe_of(*rows, markets=2), [6, 12], [6])
    quotes = with_decision_points(universe, 5.0).universe.quotes
    assert list(zip(seconds_of(quotes.at), quotes.market.tolist(), strict=True)) == [
        (0, 0), (0, 1), (6, 0), (6, 1), (12, 0),
    ]  # fmt: skip


@given(
    rows=st.lists(st.integers(0, 50), min_size=1, max_size=8, unique=True).map(sorted),
    looks=st.lists(st.integers(0, 70), max_size=40),
    cut=st.integers(0, 70),
    every=st.integers(1, 20),
)
def test_points_until_an_instant_do_not_depend_on_what_comes_later(rows, looks, cut, every):
    rows = [0, *rows[1:]]
    universe = observed_at(universe_of(*[book(42, 45, at=at) for at in rows]), looks)
    known = replace(
        universe,
        quotes=universe.quotes.until(NOW + cut * SECOND),
        observed=observations.known_at(universe.observations(), NOW + cut * SECOND),
    )
    whole = seconds_of(with_decision_points(universe, every).universe.quotes.at)
    assert [at for at in whole if at <= cut] == seconds_of(
        with_decision_points(known, every).universe.quotes.at
    )
