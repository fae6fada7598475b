"""Stand-in for the bulk read of coverage, until the record has it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np
from markets.coverage.causes import Cause

EVERY_CAUSE = tuple(Cause)


class GapArrays(NamedTuple):
    spans: Ints
    since: Ints
    until: Ints
    causes: Ints


class CoverageOfMarkets(NamedTuple):
    stale: GapArrays


def coverage_of(
    ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime | None
) -> CoverageOfMarkets:
    nothing = np.empty(0, np.int64)
    return CoverageOfMarkets(GapArrays(np.zeros(len(ids) + 1, np.int64), *(nothing,) * 3))
