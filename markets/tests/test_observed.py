"""Observed instants: which observations a market has, and the ones around an instant."""

from bisect import bisect_left

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from markets.observed import (
    AFTER_ALL,
    BEFORE_ALL,
    ObservedInstants,
    first_observation,
    is_observed,
    last_observation,
)


def observed(
    streams: list[list[tuple[int, int]]], markets: list[list[tuple[int, int, int]]]
) -> ObservedInstants:
    """Streams of (instant, run), and for each market its spans (since, until, stream)."""
    lengths = [len(stream) for stream in streams]
    seen = np.array([each for stream in streams for each in stream], np.int64).reshape(-1, 2)
    spans = np.array([each for spans in markets for each in spans], np.int64).reshape(-1, 3)
    return ObservedInstants(
        seen[:, 0].copy(),
        seen[:, 1].copy(),
        np.cumsum([0, *lengths]),
        np.cumsum([0, *(len(own) for own in markets)]),
        *(column.copy() for column in spans.T),
    )


def test_markets_share_the_instants_of_a_stream():
    hot = [(10, 0), (15, 1), (20, 2)]
    both = observed([hot], [[(0, 100, 0)], [(12, 17, 0)]])
    assert both.of_market(0).tolist() == [10, 15, 20]
    assert both.of_market(1).tolist() == [15]
    assert first_observation(both, 0, 11) == 15
    assert first_observation(both, 1, 16) == AFTER_ALL
    assert last_observation(both, 0, 15) == 10
    assert last_observation(both, 1, 15) == BEFORE_ALL


def test_one_run_gives_a_market_the_newest_of_its_observations():
    # Run 1 showed the market twice: the quote on record is that of the second look.
    hot, universe = [(10, 0), (15, 1), (20, 2)], [(17, 1)]
    twice = observed([hot, universe], [[(0, 100, 0), (0, 100, 1)], [(0, 100, 0)]])
    assert twice.of_market(0).tolist() == [10, 17, 20]
    assert first_observation(twice, 0, 11) == 17
    assert last_observation(twice, 0, 17) == 10
    assert last_observation(twice, 0, 18) == 17
    # The other market was not on the universe's page.
    assert first_observation(twice, 1, 11) == 15


def test_what_no_run_made_counts_always():
    candles = [(60, -1), (120, -1)]
    assert observed([candles], [[(0, 200, 0)]]).of_market(0).tolist() == [60, 120]


def test_what_no_run_made_ends_no_run():
    # An import may have a row between two looks of one run.
    mixed = observed([[(15, 1), (16, -1), (17, 1), (20, 2)]], [[(0, 100, 0)]])
    assert mixed.of_market(0).tolist() == [16, 17, 20]
    assert first_observation(mixed, 0, 11) == 16
    assert first_observation(mixed, 0, 17) == 17
    assert last_observation(mixed, 0, 17) == 16
    assert last_observation(mixed, 0, 20) == 17


def test_selected_markets_keep_their_observations():
    streams = [[(10, 0)], [(11, 0), (16, 1)]]
    three = observed(streams, [[(0, 99, 0)], [(0, 99, 1)], [(0, 12, 1), (13, 99, 1)]])
    chosen = three.select(np.array([2, 0]))
    assert [chosen.of_market(m).tolist() for m in range(chosen.markets)] == [[11, 16], [10]]


STREAM = st.lists(st.integers(0, 60), unique=True).map(
    lambda instants: [(at, at // 5 if at % 7 else -1) for at in sorted(instants)]
)
SPAN = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 2))


@given(
    streams=st.tuples(STREAM, STREAM, STREAM),
    spans=st.lists(SPAN, max_size=6),
    at=st.integers(-5, 70),
)
def test_the_observations_around_an_instant_are_those_of_the_whole_list(streams, spans, at):
    one = observed(list(streams), [spans])
    instants = one.of_market(0).tolist()
    place = bisect_left(instants, at)
    assert first_observation(one, 0, at) == [*instants, AFTER_ALL][place]
    assert last_observation(one, 0, at) == [BEFORE_ALL, *instants][place]
    # A look that was not the newest of its run was a look all the same.
    looks = {t for since, until, n in spans for t, _ in streams[n] if since <= t <= until}
    assert is_observed(one, 0, at) == (at in looks)
