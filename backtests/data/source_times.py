"""Times of a market's sources, of which the better one counts alone."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from backtests.data.timeline import NEVER, ColumnArrays, is_backfilled, is_imported, select
from backtests.data.universe import MISSING, Bools, Ints
from kalshi_insights.arrays import np


class SourceTimes(NamedTuple):
    """The instants of each market's first and last row that was recorded live, and of the first
    and last one that was imported; no time where there is none."""

    live_first: Ints
    live_last: Ints
    imported_first: Ints
    imported_last: Ints

    @classmethod
    def of(cls, columns: ColumnArrays, *, markets: int) -> Self:
        """Take them from rows that go by market and time."""
        live, imported = ~is_backfilled(columns), is_imported(columns)
        return cls(*_ends(columns, live, markets), *_ends(columns, imported, markets))

    @classmethod
    def joined(cls, parts: "Sequence[SourceTimes]") -> Self:
        """Put those of several parts of the markets after each other."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def select(self, markets: Ints) -> "SourceTimes":
        return SourceTimes(*(column[markets] for column in self))

    def best(self, columns: ColumnArrays) -> ColumnArrays:
        """Leave out imported rows within a market's live time, and backfilled ones within that or
        within its imported time."""
        live, imported = ~is_backfilled(columns), is_imported(columns)
        if live.all() or imported.all() or not (live.any() or imported.any()):
            return columns
        return select(columns, self.counts(columns["market"], columns["at"], live, imported))

    def counts(self, market: Ints, at: Ints, live: Bools, imported: Bools) -> Bools:
        """Return which rows count; those that are neither live nor imported were backfilled."""
        in_live = (at >= self.live_first[market]) & (at <= self.live_last[market])
        in_imported = (at >= self.imported_first[market]) & (at <= self.imported_last[market])
        found: Bools = live | (~in_live & (imported | ~in_imported))
        return found


def _ends(columns: ColumnArrays, rows: Bools, markets: int) -> tuple[Ints, Ints]:
    """Return the instants of the first and the last of some rows of each market."""
    market, at = columns["market"][rows], columns["at"][rows]
    numbers = np.arange(markets)
    begins, ends = (np.searchsorted(market, numbers, side=side) for side in ("left", "right"))
    there = begins < ends
    first, last = np.full(markets, NEVER), np.full(markets, MISSING)
    first[there], last[there] = at[begins[there]], at[ends[there] - 1]
    return first, last
