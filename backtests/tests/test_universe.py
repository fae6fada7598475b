"""Subsets and splits of a universe."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from backtests.data.universe import DOLLAR, MONEY, QuoteHistory, exact
from backtests.engine import kernel
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import find
from backtests.tests.random_universes import random_universe


@pytest.fixture(scope="module")
def universe():
    return random_universe(7, markets=9)


def rows_of(universe, place):
    return universe.quotes.select(universe.quotes.market == place)


def test_some_of_the_markets_keep_what_is_theirs(universe):
    part = universe.subset([4, 1])
    assert [each.ticker for each in part.listings] == [
        universe.listings[4].ticker,
        universe.listings[1].ticker,
    ]
    assert part.settlements == [universe.settlements[4], universe.settlements[1]]
    for place, before in enumerate((4, 1)):
        ours, theirs = rows_of(part, place), rows_of(universe, before)
        assert np.array_equal(ours.at, theirs.at)
        assert np.array_equal(ours.bid, theirs.bid)


def test_rows_of_one_instant_go_by_their_new_places(universe):
    quotes = universe.subset([8, 5, 2, 0]).quotes
    places = list(zip(quotes.at.tolist(), quotes.market.tolist(), strict=True))
    assert places == sorted(places)


def test_a_market_alone_trades_as_it_did_among_others(universe):
    signal = find("always-no")()

    def cash_after(part):
        history = QuoteHistory(part.quotes, part.listings)
        targets = history.to_quote_order(signal.targets(history))
        run = kernel.run(part, targets, ExecutionModel(), FillModel.EXPECTED, cash=10**6 * MONEY)
        return run.cash - 10**6 * MONEY

    alone = [cash_after(universe.subset([place])) for place in range(len(universe.listings))]
    assert sum(alone) == cash_after(universe)
    assert any(alone)


def test_what_was_open_across_an_instant_is_on_neither_side_of_it(universe):
    paid = sorted(each.paid_at for each in universe.settlements if each)
    at = paid[2]
    earlier, later = universe.split_at(at)
    assert len(earlier.listings) == 3
    assert all(each.paid_at <= at for each in earlier.settlements)
    assert not len(later.quotes) or later.quotes.at.min() >= at
    assert not {each.ticker for each in earlier.listings} & {e.ticker for e in later.listings}
    begun, _ = universe.split_at(0)
    _, all_of_it = universe.split_at(0)
    assert (len(begun.listings), len(all_of_it.listings)) == (0, 9)


@pytest.mark.parametrize("step", [100, 10], ids=["whole cents", "tenths of a cent"])
def test_spread_and_midpoint_are_the_floats_that_a_parameter_of_that_value_is(universe, step):
    bid, ask = (side.ravel() for side in np.meshgrid(*[np.arange(step, DOLLAR, step)] * 2))
    rows = universe.quotes.select(np.zeros(len(bid), np.int64))
    history = QuoteHistory(replace(rows, bid=bid, ask=ask), universe.listings)

    assert np.array_equal(history.spread, decimals(ask - bid, DOLLAR))
    assert np.array_equal(history.mid, decimals(bid + ask, 2 * DOLLAR))


def decimals(values, unit):
    """The floats that the same prices have when they are read as decimals."""
    whole, places = np.unique(values, return_inverse=True)
    return np.array([float(str(Decimal(int(value)) / unit)) for value in whole])[places]


def test_a_difference_of_prices_is_exact_to_the_billionth():
    assert 0.08 - 0.07 != 0.01
    assert exact(np.array([0.08 - 0.07, 0.52 - 0.5, np.nan])).tolist()[:2] == [0.01, 0.02]
    assert np.isnan(exact(np.array([np.nan]))).all()
