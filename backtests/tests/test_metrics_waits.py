"""Waits of orders, and what better prices brought."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.first_observations import first_observations
from backtests.data.universe import SECOND
from backtests.metrics.waits import Waits, better_prices, waits
from backtests.rules.execution import EntryKind, Reason
from backtests.tests.journal_builders import DOLLARS, JournalBuilder, universe_of_rows
from backtests.tests.observed_builders import observed_at, observed_worlds
from markets.observed import first_observation

CASH = 1_000 * DOLLARS


def observed_universe(*instants):
    """One market, observed at these seconds by run after run."""
    looks = [(at * SECOND, run) for run, at in enumerate(instants)]
    universe = universe_of_rows([(0, 0, 40, 42, True)])
    return replace(universe, observed=observed_at([looks], [[(0, 10**12, 0)]]))


def sent(*seconds):
    journal = JournalBuilder(CASH)
    for at in seconds:
        journal.order(at * SECOND, 0)
    return journal


@given(world=observed_worlds(), asked=st.lists(st.integers(0, 99), min_size=1, max_size=8))
def test_many_orders_meet_the_same_observations_as_each_alone(world, asked):
    markets = np.arange(len(asked)) % world.markets
    expected = [first_observation(world, int(m), at) for m, at in zip(markets, asked, strict=True)]
    assert first_observations(world, markets, np.array(asked)).tolist() == expected


def test_a_wait_lasts_from_the_arrival_to_the_first_observation_at_or_after_it():
    universe = observed_universe(0, 5, 10, 15, 20, 60)
    found = waits(universe, sent(0, 4, 8, 21).outcome(), latency=SECOND)
    assert (found.met, found.never_met) == (4, 0)
    assert (found.median, found.longest) == (2.5, 38.0)
    assert found.percentile_95 == np.percentile([4, 0, 1, 38], 95)
    assert found.between_observations == 5.0


def test_an_order_that_ended_before_an_observation_met_none():
    journal = sent(0, 6)
    journal.write(3 * SECOND, EntryKind.CANCELLED, 0, order=0, reason=int(Reason.EXPIRED))
    found = waits(observed_universe(0, 5), journal.outcome(), latency=1)
    # The second one is still on its way at the end.
    assert (found.met, found.never_met, found.median) == (0, 2, None)


def test_an_order_that_the_end_of_the_run_overtook_is_unfinished():
    journal = sent(0, 6)
    journal.write(7 * SECOND, EntryKind.CANCELLED, 0, order=1, reason=int(Reason.RUN_ENDED))
    found = waits(observed_universe(0, 5), journal.outcome(), latency=1)
    assert (found.met, found.never_met, found.unfinished) == (1, 0, 1)


def test_an_order_that_met_a_book_without_a_fill_has_met_it():
    journal = sent(0)
    journal.write(5 * SECOND, EntryKind.CANCELLED, 0, order=0, reason=int(Reason.UNFILLED))
    found = waits(observed_universe(0, 5), journal.outcome(), latency=1)
    assert (found.met, found.never_met, found.longest) == (1, 0, 4.999999)


@pytest.mark.parametrize(("second", "met"), [(4, 0), (5, 0), (6, 1)])
def test_an_order_whose_cancellation_came_no_later_than_its_observation_met_none(second, met):
    journal = sent(0)
    journal.write(second * SECOND, EntryKind.CANCELLED, 0, order=0, reason=int(Reason.ASKED))
    found = waits(observed_universe(0, 5), journal.outcome(), latency=1)
    assert (found.met, found.never_met) == (met, 1 - met)


def test_an_order_that_was_refused_has_no_wait():
    journal = sent(0)
    journal.write(1, EntryKind.REFUSED, 0, order=0, reason=int(Reason.OFF_GRID))
    found = waits(observed_universe(0, 5), journal.outcome(), latency=1)
    assert (found.met, found.never_met) == (0, 0)


def test_a_run_without_orders_has_no_waits():
    assert waits(observed_universe(0, 5), sent().outcome(), latency=1) == Waits()


def test_better_prices_count_on_both_sides_by_what_was_asked_for():
    journal = JournalBuilder(CASH)
    for side, limit, price in ((1, 45, 42), (-1, 40, 44), (1, 50, 50)):
        journal.order(1, 0, side, count=200, price=limit * 100)
        at = {"side": side, "count": 200, "price": price * 100, "order": journal.orders - 1}
        journal.write(2, EntryKind.FILL, 0, **at)
    # Two contracts: three cents saved on each, then four cents more for each.
    assert better_prices(journal.outcome().journal) == 140_000
