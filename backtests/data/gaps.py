"""Gaps of the markets of a run: intervals in which nobody observed them.

The functions below are compiled for the kernel too, so they take plain arrays.
"""

from typing import NamedTuple

from kalshi_insights.arrays import Bools, Ints, first_from, np
from markets.observed import AFTER_ALL


class MarketGaps(NamedTuple):
    """The gaps of several markets, each known by its index.

    Those of market `m` are the entries from `spans[m]` on and before `spans[m + 1]`, sorted and
    disjoint. A gap begins at `since`, when the last observation went stale, and ends at `until`,
    the next observation, or `AFTER_ALL`; `cause` numbers its cause.
    """

    spans: Ints
    since: Ints
    until: Ints
    cause: Ints

    def select(self, markets: Ints) -> "MarketGaps":
        """Return the gaps of some of the markets, in the given order."""
        counts = self.spans[markets + 1] - self.spans[markets]
        spans = np.concatenate(([0], np.cumsum(counts)))
        places = np.arange(spans[-1]) - np.repeat(spans[:-1] - self.spans[markets], counts)
        return MarketGaps(spans, self.since[places], self.until[places], self.cause[places])

    def only(self, kept: Bools) -> "MarketGaps":
        """Return the gaps that a mask keeps, for the same markets."""
        before = np.concatenate(([0], np.cumsum(kept)))
        return MarketGaps(before[self.spans], self.since[kept], self.until[kept], self.cause[kept])

    def known_at(self, at: int) -> "MarketGaps":
        """Return the gaps that had begun by an instant; nobody knew yet when one would end."""
        begun = self.only(self.since <= at)
        return begun._replace(until=np.where(begun.until > at, AFTER_ALL, begun.until))


def no_gaps(markets: int) -> MarketGaps:
    nothing = np.empty(0, np.int64)
    return MarketGaps(np.zeros(markets + 1, np.int64), nothing, nothing, nothing)


def gap_on_the_way(gaps: MarketGaps, market: int, sent: int, arrival: int) -> int:
    """Return when a gap catches an order that has met no book; `AFTER_ALL` if none will.

    That is when the first gap after the order was sent begins. An order that was sent within a gap
    is caught as it arrives, unless the gap is over by then.
    """
    end = gaps.spans[market + 1]
    gap = first_from(gaps.until, gaps.spans[market], end, sent + 1)
    if gap < end and gaps.since[gap] <= sent:
        if gaps.until[gap] > arrival:
            return arrival
        gap += 1
    return gaps.since[gap] if gap < end else AFTER_ALL


def gap_ends(gaps: MarketGaps, market: int, at: int) -> bool:
    """Return whether a gap of a market ends at an instant."""
    end = gaps.spans[market + 1]
    gap = first_from(gaps.until, gaps.spans[market], end, at)
    return bool(gap < end and gaps.until[gap] == at)
