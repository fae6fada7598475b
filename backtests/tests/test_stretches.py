"""Stretches of time in which no trade is missing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.stretches import Stretches, joined, stretches_of

INSTANTS = st.integers(0, 30)
PAIRS = st.tuples(INSTANTS, INSTANTS)


def disjoint(instants):
    edges = sorted(set(instants))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(
    shared=st.lists(INSTANTS, max_size=8).map(disjoint),
    times=st.lists(PAIRS, min_size=1, max_size=3),
    own=st.lists(st.tuples(st.integers(0, 2), INSTANTS, INSTANTS), max_size=5),
)
def test_an_instant_is_covered_if_all_share_it_in_the_markets_time_or_the_market_has_it(
    shared, times, own
):
    markets = len(times)
    own = [(market % markets, since, until) for market, since, until in own]
    since, until = np.array(times, np.int64).T
    found = stretches_of(shared, since, until, own)
    market, at = (each.ravel() for each in np.meshgrid(np.arange(markets), np.arange(31)))
    covered = found.covering(market, at) >= 0
    assert covered.tolist() == [
        any(a <= t <= b and times[m][0] <= t <= times[m][1] for a, b in shared)
        or any(m == owner and a <= t <= b for owner, a, b in own)
        for m, t in zip(market.tolist(), at.tolist(), strict=True)
    ]
    starts = found.since.tolist()
    for m in range(markets):
        own_starts = starts[found.spans[m] : found.spans[m + 1]]
        assert own_starts == sorted(own_starts)


@given(cuts=st.lists(st.tuples(st.integers(0, 1), INSTANTS, INSTANTS), max_size=6))
def test_what_is_cut_out_is_not_covered_and_all_else_is_as_before(cuts):
    found = stretches_of([(0, 12), (16, 30)], np.array([0, 5]), np.array([30, 30]), [])
    cuts = [(m, min(a, b), max(a, b)) for m, a, b in cuts]
    less = found.without(*np.array(cuts, np.int64).reshape(-1, 3).T)
    market, at = (each.ravel() for each in np.meshgrid(np.arange(2), np.arange(31)))
    was, covered = found.covering(market, at) >= 0, less.covering(market, at) >= 0
    is_cut = [
        any(m == owner and since <= t < until for owner, since, until in cuts)
        for m, t in zip(market.tolist(), at.tolist(), strict=True)
    ]
    assert covered.tolist() == (was & ~np.array(is_cut)).tolist()


OWN = st.lists(st.tuples(st.integers(0, 2), INSTANTS, INSTANTS), max_size=5)


def of_rows(rows) -> Stretches:
    return stretches_of([], np.zeros(3, np.int64), np.full(3, -1), rows)


@given(one=OWN, other=OWN)
def test_what_lies_outside_of_others_is_covered_by_these_alone_and_both_join_again(one, other):
    better, worse = of_rows(one), of_rows(other)
    left = worse.outside(better)
    market, at = (each.ravel() for each in np.meshgrid(np.arange(3), np.arange(31)))
    in_better, in_worse, in_left, in_all = (
        each.covering(market, at) >= 0 for each in (better, worse, left, joined([better, left]))
    )
    assert in_left.tolist() == (in_worse & ~in_better).tolist()
    assert in_all.tolist() == (in_worse | in_better).tolist()


def test_rows_are_what_stretches_are_made_of():
    rows = [(0, 3, 9), (2, 1, 2), (2, 5, 8)]
    assert stretches_of([], np.zeros(3, np.int64), np.zeros(3, np.int64), rows).rows() == rows
