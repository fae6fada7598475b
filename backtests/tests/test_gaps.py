"""Gaps in the observations of markets, and the orders that they catch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.gaps import MarketGaps, gap_on_the_way, no_gaps
from markets.observed import AFTER_ALL


def gaps_of(*markets: list[tuple[int, int]]) -> MarketGaps:
    """The gaps (since, until) of each market; causes are numbered in their order."""
    table = np.array([gap for own in markets for gap in own], np.int64).reshape(-1, 2)
    spans = np.cumsum([0, *(len(own) for own in markets)])
    return MarketGaps(spans, table[:, 0], table[:, 1], np.arange(len(table)))


def caught(gaps: MarketGaps, *, sent: int, arrival: int, market: int = 0) -> int:
    return gap_on_the_way(gaps, market, sent, arrival)


def test_a_gap_that_begins_after_an_order_was_sent_catches_it():
    assert caught(gaps_of([(20, 60)]), sent=10, arrival=11) == 20


def test_a_gap_that_begins_before_an_order_arrives_catches_it_too():
    assert caught(gaps_of([(20, 22)]), sent=10, arrival=30) == 20


def test_an_order_that_was_sent_within_a_gap_is_caught_as_it_arrives():
    assert caught(gaps_of([(20, 60)]), sent=30, arrival=31) == 31


def test_an_order_that_arrives_after_the_gap_in_which_it_was_sent_is_not():
    assert caught(gaps_of([(20, 60)]), sent=30, arrival=60) == AFTER_ALL


def test_a_gap_that_is_over_catches_nothing():
    assert caught(gaps_of([(20, 60), (80, 90)]), sent=60, arrival=61) == 80


def test_a_market_without_gaps_has_none():
    assert caught(no_gaps(3), sent=0, arrival=1, market=2) == AFTER_ALL
    assert caught(gaps_of([(20, 60)], [], [(30, 40)]), sent=0, arrival=1, market=1) == AFTER_ALL


def test_selected_markets_keep_their_gaps():
    chosen = gaps_of([(1, 2)], [(3, 4), (5, 6)], [(7, 8)]).select(np.array([2, 1]))
    assert chosen.spans.tolist() == [0, 1, 3]
    assert chosen.since.tolist() == [7, 3, 5]
    assert chosen.cause.tolist() == [3, 1, 2]


def test_nobody_knows_the_end_of_a_gap_in_which_they_are():
    known = gaps_of([(1, 2), (5, 9)], [(4, 6), (8, 9)]).known_at(5)
    assert known.spans.tolist() == [0, 2, 3]
    assert known.since.tolist() == [1, 5, 4]
    assert known.until.tolist() == [2, AFTER_ALL, AFTER_ALL]


@given(
    instants=st.lists(st.integers(0, 60), unique=True, max_size=10).map(sorted),
    sent=st.integers(0, 60),
    latency=st.integers(1, 20),
)
def test_the_gap_that_catches_an_order_is_the_first_that_it_runs_into(instants, sent, latency):
    own = list(zip(instants[::2], instants[1::2], strict=False))
    arrival = sent + latency
    begun = [arrival for since, until in own if since <= sent and until > arrival]
    to_come = [since for since, _ in own if since > sent]
    assert caught(gaps_of([(0, 1)], own), sent=sent, arrival=arrival, market=1) == min(
        [*begun, *to_come], default=AFTER_ALL
    )
