"""Gaps of many markets as arrays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np
from markets.coverage.causes import UNCOUNTED, Cause, Gap
from markets.intervals import Interval
from markets.models.observations import microseconds
from markets.pages.market_spans import TimeWindow

CAUSES = tuple(Cause)
COUNTED = tuple(n for n, cause in enumerate(CAUSES) if cause not in UNCOUNTED)


class GapArrays(NamedTuple):
    """Intervals of markets: those of market `m` from `spans[m]` on and before `spans[m + 1]`.

    Instants are microseconds since 1970, and a cause is a place in `CAUSES`.
    """

    spans: Ints
    since: Ints
    until: Ints
    causes: Ints

    @classmethod
    def of_lists(cls, lists: Sequence[Ints]) -> GapArrays:
        """Put together arrays of three columns, one for each market."""
        spans = np.cumsum([0, *(len(each) for each in lists)])
        rows = np.concatenate([np.empty((0, 3), np.int64), *lists])
        return cls(spans, *(column.copy() for column in rows.T))

    def lengths(self, causes: Iterable[int]) -> Ints:
        """Return for each market how many microseconds are in intervals of these causes."""
        counted = np.where(np.isin(self.causes, list(causes)), self.until - self.since, 0)
        totals = np.concatenate([[0], np.cumsum(counted)])
        lengths: Ints = totals[self.spans[1:]] - totals[self.spans[:-1]]
        return lengths


class CoverageOfMarkets(NamedTuple):
    """The coverage of several markets in a window, each known by its index.

    A gap lasts from one observation to the next. A stale interval lasts from the end of an
    observation's freshness to the next observation, and is left out where the gap does not count.
    """

    window: TimeWindow
    gaps: GapArrays
    stale: GapArrays

    @property
    def observed(self) -> Ints:
        """For each market, the microseconds of the window that are in no gap."""
        return self.window.end - self.window.start - self.gaps.lengths(range(len(CAUSES)))

    @property
    def tradable(self) -> Ints:
        """For each market, the microseconds that were observed or are in a gap that counts."""
        return self.observed + self.gaps.lengths(COUNTED)


def gap_rows(gaps: Sequence[Gap]) -> Ints:
    """Return start, end and cause of each gap."""
    rows = [(*map(microseconds, gap.interval), CAUSES.index(gap.cause)) for gap in gaps]
    return np.array(rows, np.int64).reshape(-1, 3)


def stale_rows(gaps: Sequence[Gap], stale: Sequence[Interval]) -> Ints:
    """Return the stale intervals that lie in a gap that counts, each with the first such cause."""
    counted = [gap for gap in gaps if gap.counted]
    ends = [gap.end for gap in counted]
    rows = []
    for each in stale:
        place = bisect_right(ends, each.start)
        if place < len(counted) and counted[place].start < each.end:
            cause = CAUSES.index(counted[place].cause)
            rows.append((*map(microseconds, each), cause))
    return np.array(rows, np.int64).reshape(-1, 3)
