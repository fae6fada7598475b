"""Coverage of a run: the share that was observed, fills across gaps, and thin hours."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.causes import CAUSES
from backtests.data.universe import Settlement
from backtests.metrics import CoverageFigures, trace
from backtests.metrics.coverage import (
    HOUR,
    GapTotal,
    TradedTimes,
    coverage,
    gained,
    merged,
    time_within,
)
from backtests.rules.execution import MAKER, TAKER, EntryKind
from backtests.tests.journal_builders import (
    DOLLARS,
    JournalBuilder,
    random_outcome,
    universe_of_rows,
)
from backtests.tests.observed_builders import gaps_of, observed_at
from backtests.tests.random_universes import random_universe
from markets.coverage.causes import UNCOUNTED, Cause

CASH = 1_000 * DOLLARS
OUTAGE, THROTTLED = "our outage", "throttled"


def quoted(*gaps, hours=10, settlements=(None,)):
    """One market at 40 to 42 cents from hour 0 on, with gaps in hours."""
    universe = universe_of_rows([(0, 0, 40, 42, True)], settlements=settlements)
    in_time = [(int(since * HOUR), int(until * HOUR), cause) for since, until, cause in gaps]
    return replace(universe, gaps=gaps_of(in_time))


def covered(universe, journal, *, end=10 * HOUR):
    outcome = journal.outcome()
    path = trace(universe, outcome, cash=CASH, start=0, end=end)
    return coverage(universe, outcome, path, end=end, latency=1)


def bought(at, *, sent=None, cents=42, liquidity=TAKER):
    journal = JournalBuilder(CASH)
    journal.order(int((at if sent is None else sent) * HOUR), 0, price=cents * 100)
    journal.orders -= 1
    order = journal.orders
    journal.ledger.fill(0, 1, 100, price=cents * 100, fee=0)
    journal.write(
        int(at * HOUR), EntryKind.FILL, 0, side=1, count=100, price=cents * 100, order=order,
        liquidity=liquidity,
    )  # fmt: skip
    return journal


def test_causes_are_those_that_lower_coverage():
    assert set(CAUSES) == {str(cause) for cause in Cause if cause not in UNCOUNTED}


def test_a_run_that_traded_nothing_has_no_coverage():
    assert covered(quoted((2, 3, OUTAGE)), JournalBuilder(CASH)) == CoverageFigures()


def test_the_share_of_the_time_and_the_gaps_by_cause():
    universe = quoted((2, 3, OUTAGE), (4, 5, THROTTLED), (5.5, 6, OUTAGE))
    found = covered(universe, bought(1))
    assert found.observed_share == pytest.approx(0.75)
    assert found.gaps == {OUTAGE: GapTotal(2, 5_400.0), THROTTLED: GapTotal(1, 3_600.0)}


def test_a_market_counts_only_while_it_could_be_traded():
    rows = [(0, 0, 40, 42, True), (5 * HOUR, 0, 40, 42, False)]
    universe = replace(universe_of_rows(rows), gaps=gaps_of([(HOUR, 2 * HOUR, OUTAGE)]))
    assert covered(universe, bought(0.5)).observed_share == pytest.approx(0.8)


def test_a_gap_before_the_first_quote_lowers_the_share_too():
    rows = [(5 * HOUR, 0, 40, 42, True)]
    universe = replace(universe_of_rows(rows), gaps=gaps_of([(0, 5 * HOUR, OUTAGE)]))
    assert covered(universe, bought(6)).observed_share == pytest.approx(0.5)


def test_markets_that_were_not_traded_do_not_count():
    rows = [(0, 0, 40, 42, True), (0, 1, 40, 42, True)]
    universe = universe_of_rows(rows, settlements=(None, None))
    universe = replace(universe, gaps=gaps_of([], [(0, 10 * HOUR, OUTAGE)]))
    assert covered(universe, bought(1)).observed_share == 1.0


def test_a_fill_across_a_gap_is_told_with_what_it_gained():
    settled = Settlement(9 * HOUR, 9 * HOUR, 1_000_000)
    universe = quoted((2, 3, OUTAGE), settlements=(settled,))
    journal = bought(3, sent=1.9)
    journal.settle(0, settled)
    found = covered(universe, journal)
    assert (found.fills_across_gaps, found.pnl_across_gaps) == (1, 580_000)


@pytest.mark.parametrize(("sent", "at"), [(1, 1.5), (3, 3.5), (1.9, 2.5)])
def test_a_fill_before_or_after_a_gap_is_not_across_it(sent, at):
    universe = quoted((2, 3, OUTAGE))
    assert covered(universe, bought(at, sent=sent)).fills_across_gaps == 0


@pytest.mark.parametrize(("sent", "crossing"), [(1, 0), (1.9, 1), (3.5, 0)])
def test_a_resting_order_is_across_a_gap_if_it_met_no_book_before_it(sent, crossing):
    looks = [(round(at * HOUR), run) for run, at in enumerate((0, 1.5, 3, 4))]
    universe = replace(quoted((2, 3, OUTAGE)), observed=observed_at([looks], [[(0, 10 * HOUR, 0)]]))
    journal = bought(5, sent=sent, liquidity=MAKER)
    assert covered(universe, journal).fills_across_gaps == crossing


def test_the_gain_of_hours_that_were_hardly_observed_is_told_apart():
    rows = [(0, 0, 40, 42, True), (int(2.5 * HOUR), 0, 60, 62, True), (7 * HOUR, 0, 70, 72, True)]
    gaps = gaps_of([(2 * HOUR, int(2.2 * HOUR), OUTAGE), (5 * HOUR, int(5.05 * HOUR), OUTAGE)])
    found = covered(replace(universe_of_rows(rows), gaps=gaps), bought(1))
    # 20 cents in the third hour; of the sixth hour 95 % were observed.
    assert (found.thin_hours, found.pnl_of_thin_hours) == (1, 200_000)


@pytest.mark.parametrize("seed", range(3))
def test_the_gains_of_all_fills_add_up_to_the_p_and_l(seed):
    universe = random_universe(seed)
    outcome = random_outcome(universe, seed=seed, cash=CASH)
    end = int(universe.quotes.at[-1]) + 1
    path = trace(universe, outcome, cash=CASH, start=0, end=end)
    fills = np.flatnonzero(outcome.journal[:, 1] == 1)
    # A payout is rounded down to a millionth of a dollar.
    difference = gained(universe, outcome, fills) - (int(path.equity[-1]) - CASH)
    assert abs(difference) <= 2 * len(fills) + len(universe.listings)


periods = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(0, 50)).map(
        lambda each: (each[0], min(each[1:]), max(each[1:]))
    ),
    max_size=12,
)


def times(rows):
    return TradedTimes(*np.array(rows, np.int64).reshape(-1, 3).T)


@given(periods, st.sampled_from([1, 2, 10]))
def test_merged_periods_hold_the_same_instants_once(rows, at_once):
    whole = [(market, at) for market, start, end in rows for at in range(start, end)]
    joined = merged(times([row for row in rows if row[1] < row[2]]), at_once=at_once)
    found = [
        (market, at)
        for market, start, end in zip(*(column.tolist() for column in joined), strict=True)
        for at in range(start, end)
    ]
    assert found == sorted(set(whole))


@given(periods, st.lists(st.integers(0, 50), min_size=2, unique=True).map(sorted))
def test_the_time_between_two_instants_is_that_of_all_periods(rows, edges):
    expected = [
        sum(max(0, min(end, high) - max(start, low)) for _, start, end in rows)
        for low, high in pairwise(edges)
    ]
    assert time_within(times(rows), np.array(edges)).tolist() == expected


def test_sums_of_times_are_exact_for_years_of_many_markets():
    year, markets = 365 * 24 * HOUR, 80_000
    whole = np.arange(markets)
    every = TradedTimes(whole, np.zeros(markets, np.int64), np.full(markets, year))
    assert time_within(every, np.array([0, year])).tolist() == [year * markets]


def test_a_fill_is_counted_once_however_many_gaps_it_crossed():
    universe = quoted((2, 3, OUTAGE), (4, 5, THROTTLED))
    assert covered(universe, bought(6, sent=1)).fills_across_gaps == 1
