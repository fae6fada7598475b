"""Spans of many markets: cut to the times of their markets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from markets.pages.market_spans import MarketSpans, MarketTimes

MARKETS, INSTANTS = st.integers(0, 3), st.integers(-20, 20)
TIMES = st.tuples(MARKETS, INSTANTS, st.integers(0, 8)).map(lambda t: (t[0], t[1], t[1] + t[2]))
STREAMS = st.integers(0, 1)
SPANS = st.tuples(TIMES, STREAMS).map(lambda span: (*span[0], span[1]))


def instants_of(rows: list[tuple[int, int, int, int]]) -> set[tuple[int, int, int]]:
    return {
        (market, stream, at)
        for market, since, until, stream in rows
        for at in range(since, until + 1)
    }


@given(spans=st.lists(SPANS, max_size=8), times=st.lists(TIMES, max_size=8))
def test_what_lies_in_any_time_of_its_market_is_left_in_one_part_of_each_span(spans, times):
    found = MarketSpans.of_rows(spans).clipped(MarketTimes.of_rows(times))
    rows = list(zip(*(column.tolist() for column in found), strict=True))
    allowed = {(market, at) for market, since, until in times for at in range(since, until + 1)}
    expected = {each for each in instants_of(spans) if (each[0], each[2]) in allowed}
    assert instants_of(rows) == expected
    instants = sum(until - since + 1 for _, since, until, _ in rows)
    left = [[each for each in instants_of([span]) if each in expected] for span in spans]
    assert instants == sum(map(len, left))


def test_times_that_overlap_leave_a_span_whole():
    times = [(0, 10 * n, 10 * n + 700) for n in range(344)]
    spans = [(0, 2 * n, 2 * n + 1, 0) for n in range(1440)]
    found = MarketSpans.of_rows(spans).clipped(MarketTimes.of_rows(times))
    assert np.array_equal(np.sort(found.since), np.arange(0, 2880, 2))
