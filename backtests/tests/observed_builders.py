"""Builders of observed instants and of gaps, for tests."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from markets.observed import ObservedInstants

Streams = Sequence[Sequence[tuple[int, int]]]
Spans = Sequence[Sequence[tuple[int, int, int]]]


def observed_at(streams: Streams, markets: Spans) -> ObservedInstants:
    """Streams of (instant, run), and for each market its spans (since, until, stream)."""
    seen = np.array([each for stream in streams for each in stream], np.int64).reshape(-1, 2)
    spans = np.array([each for own in markets for each in own], np.int64).reshape(-1, 3)
    return ObservedInstants(
        seen[:, 0].copy(),
        seen[:, 1].copy(),
        np.cumsum([0, *map(len, streams)]),
        np.cumsum([0, *map(len, markets)]),
        *(column.copy() for column in spans.T),
    )


def gaps_of(*markets: Sequence[tuple[int, int, str]]) -> MarketGaps:
    """The gaps (since, until, cause) of each market."""
    rows = [(since, until, CAUSES.index(c)) for own in markets for since, until, c in own]
    table = np.array(rows, np.int64).reshape(-1, 3)
    return MarketGaps(np.cumsum([0, *map(len, markets)]), *(column.copy() for column in table.T))


RUN = 10  # a run's instants lie in the ten that begin with it


@st.composite
def observed_worlds(draw: st.DrawFn) -> ObservedInstants:
    """Streams of runs that follow each other, and a few that no run made."""
    instants = st.lists(st.integers(0, 99), max_size=12, unique=True).map(sorted)
    streams = [
        [(at, at // RUN if by_run else -1) for at in draw(instants)]
        for by_run in draw(st.lists(st.booleans(), min_size=1, max_size=4))
    ]
    span = st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, len(streams) - 1))
    ordered = span.map(lambda each: (min(each[:2]), max(each[:2]), each[2]))
    return observed_at(
        streams, draw(st.lists(st.lists(ordered, max_size=4), min_size=1, max_size=4))
    )
