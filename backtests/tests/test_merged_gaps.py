"""Gaps of several sources: cut, and put together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.merged_gaps import joined, outside
from backtests.data.observed_rows import QuotedInstants
from backtests.tests.observed_builders import gaps_of

NOT = "not covered"
END = 60


def instants(gaps, market):
    own = slice(gaps.spans[market], gaps.spans[market + 1])
    pairs = zip(gaps.since[own].tolist(), gaps.until[own].tolist(), strict=True)
    return [at for since, until in pairs for at in range(since, until)]


def disjoint(edges):
    return [(since, until, NOT) for since, until in zip(edges[::2], edges[1::2], strict=False)]


some_gaps = st.lists(st.integers(0, END), unique=True, max_size=8).map(sorted).map(disjoint)
edges = st.tuples(st.integers(0, END), st.integers(0, END))


@given(st.lists(st.tuples(some_gaps, edges), min_size=1, max_size=3))
def test_what_lies_outside_of_a_time_is_kept(markets):
    gaps = gaps_of(*(own for own, _ in markets))
    start, end = np.array([each for _, each in markets]).T
    cut = outside(gaps, start, end)
    for market, (_, (first, last)) in enumerate(markets):
        kept = [at for at in instants(gaps, market) if not first <= at < last]
        assert instants(cut, market) == kept


def test_the_gaps_of_two_sources_go_by_market_and_time():
    one, other = gaps_of([(5, 6, NOT)], [(1, 2, NOT)]), gaps_of([(2, 3, NOT)], [(8, 9, NOT)])
    both = joined(one, other)
    assert both.spans.tolist() == [0, 2, 4]
    assert both.since.tolist() == [2, 5, 1, 8]


def test_backfilled_times_lie_before_and_after_what_was_recorded_live():
    at = np.array([1, 5, 7, 9, 3])
    backfilled = np.array([True, False, False, True, True])
    imports, starts = np.zeros(5, np.int64), np.array([0, 4, 5])
    quoted = QuotedInstants(np.array([0, 0, 0, 0, 1]), at, backfilled, imports, starts)
    (before, live), (after, _) = quoted.backfilled_times()
    assert (before.tolist(), live.tolist()) == ([1, 0], [5, 2**63 - 1])
    assert after.tolist() == [9, 2**63 - 1]
