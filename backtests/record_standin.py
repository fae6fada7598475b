"""Stand-ins for the reads of observations and of coverage, until the record has them."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np
from markets.coverage.causes import Cause
from markets.observed import ObservedInstants

EVERY_CAUSE = tuple(Cause)


class GapArrays(NamedTuple):
    spans: Ints
    since: Ints
    until: Ints
    causes: Ints


class CoverageOfMarkets(NamedTuple):
    stale: GapArrays


def observed(
    ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
) -> ObservedInstants:
    nothing = np.empty(0, np.int64)
    zeros = np.zeros(len(ids) + 1, np.int64)
    return ObservedInstants(nothing, nothing, np.zeros(1, np.int64), zeros, *(nothing,) * 3)


def numbers_at(instants: Ints) -> Ints:
    return np.full(len(instants), -1)


def coverage_of(
    ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime | None
) -> CoverageOfMarkets:
    nothing = np.empty(0, np.int64)
    return CoverageOfMarkets(GapArrays(np.zeros(len(ids) + 1, np.int64), *(nothing,) * 3))
