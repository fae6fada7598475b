"""Stretches of time in which no trade of a market is missing: those of all, and its own."""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np


class Stretches(NamedTuple):
    """Stretches of several markets, as in a `Tape`: those of market `m` are the entries from
    `spans[m]` on and before `spans[m + 1]`, sorted and disjoint, both ends included."""

    spans: Ints
    since: Ints
    until: Ints

    @property
    def market(self) -> Ints:
        """The market of each."""
        return np.repeat(np.arange(len(self.spans) - 1), np.diff(self.spans))

    def covering(self, market: Ints, at: Ints) -> Ints:
        """Return the stretch in which each instant of a market lies; -1 where none does."""
        low, high = self.spans[market], self.spans[market + 1]
        first = low.copy()
        while (unsure := low < high).any():
            middle = np.where(unsure, (low + high) // 2, 0)
            begun = unsure & (self.since[middle] <= at)
            low = np.where(begun, middle + 1, low)
            high = np.where(unsure & ~begun, middle, high)
        found = np.where(low > first, low - 1, -1)
        inside = (found >= 0) & (self.until[found] >= at) if len(self.until) else found >= 0
        return np.where(inside, found, -1)

    def without(self, market: Ints, since: Ints, until: Ints) -> "Stretches":
        """Cut out times of markets, from `since` on and before `until`; they may overlap."""
        every = self.market
        owner = np.concatenate((every, every, market, market))
        at = np.concatenate((self.since, self.until + 1, since, until))
        step = np.repeat([1, -1, -2, 2], [len(every)] * 2 + [len(market)] * 2)
        order = np.lexsort((at, owner))
        owner, at, level = owner[order], at[order], np.cumsum(step[order])
        # The level is 1 in a stretch alone; at the end of each market it is 0.
        left = np.flatnonzero((level[:-1] == 1) & (at[:-1] < at[1:]))
        spans = np.searchsorted(owner[left], np.arange(len(self.spans)))
        return Stretches(spans, at[left], at[left + 1] - 1)

    def outside(self, other: "Stretches") -> "Stretches":
        """Return the parts that lie in none of the other's."""
        return self.without(other.market, other.since, other.until + 1)

    def rows(self) -> list[tuple[int, int, int]]:
        """Return the market, the begin and the end of each."""
        columns = (each.tolist() for each in (self.market, self.since, self.until))
        return list(zip(*columns, strict=True))


def joined(parts: Sequence[Stretches]) -> Stretches:
    """Join those of several sources for the same markets."""
    if len(parts) == 1:
        return parts[0]
    market, since, until = (
        np.concatenate([getattr(each, name) for each in parts])
        for name in ("market", "since", "until")
    )
    return _joined(market, since, until, markets=len(parts[0].spans) - 1)


def stretches_of(
    shared: Sequence[tuple[int, int]],
    since: Ints,
    until: Ints,
    own: Sequence[tuple[int, int, int]],
) -> Stretches:
    """Join what all markets share, each from `since` to `until`, with those of a market's own.

    Both ends of a stretch are included; the shared ones are sorted and disjoint.
    """
    table = np.array(shared, np.int64).reshape(-1, 2)
    markets, each = len(since), len(table)
    begin = np.maximum(np.repeat(since, each), np.tile(table[:, 0], markets))
    end = np.minimum(np.repeat(until, each), np.tile(table[:, 1], markets))
    market = np.repeat(np.arange(markets), each)
    if not own:
        there = begin <= end
        spans = np.searchsorted(market[there], np.arange(markets + 1))
        return Stretches(spans, begin[there], end[there])
    extra = np.array(own, np.int64).reshape(-1, 3)
    market = np.concatenate((market, extra[:, 0]))
    begin, end = np.concatenate((begin, extra[:, 1])), np.concatenate((end, extra[:, 2]))
    there = begin <= end
    return _joined(market[there], begin[there], end[there], markets=markets)


def _joined(market: Ints, begin: Ints, end: Ints, *, markets: int) -> Stretches:
    """Join those of one market that overlap or touch."""
    order = np.lexsort((begin, market))
    market, begin, end = market[order], begin[order], end[order]
    kept: list[list[int]] = []
    for owner, first, last in zip(market.tolist(), begin.tolist(), end.tolist(), strict=True):
        if kept and kept[-1][0] == owner and first <= kept[-1][2] + 1:
            kept[-1][2] = max(kept[-1][2], last)
        else:
            kept.append([owner, first, last])
    table = np.array(kept, np.int64).reshape(-1, 3)
    spans = np.searchsorted(table[:, 0], np.arange(markets + 1))
    return Stretches(spans, table[:, 1].copy(), table[:, 2].copy())
