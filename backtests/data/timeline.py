"""The timeline of one market: its quotes, and the instants at which its definition changed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from backtests.data.universe import MISSING, QUOTE_COLUMNS, Bools, Ints
from kalshi_insights.arrays import Array, np
from markets.prices import Quality

ColumnArrays = Mapping[str, Array]

# Bits of the column `flags`.
BACKFILLED, STALE = 1, Quality.STALE.value
# What a row without a quote of its own repeats of the last book.
BOOK = tuple(name for name in QUOTE_COLUMNS if name not in ("at", "market", "close_at", "tradable"))


class Pauses(NamedTuple):
    """Pauses of the exchange, from each start on and before its end; sorted and disjoint."""

    starts: Ints
    ends: Ints

    def cover(self, at: Ints) -> Bools:
        newest = np.searchsorted(self.starts, at, side="right") - 1
        return np.append(self.ends, MISSING)[newest] > at

    @classmethod
    def of(cls, intervals: Sequence[tuple[int, int]]) -> Self:
        table = np.array(intervals, np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])


class DefinitionHistory(NamedTuple):
    """The definition of a market as known from each instant on; `close_at` may be missing.

    `closed_at` is the actual close, after which nobody could trade.
    """

    at: Ints
    active: Bools
    close_at: Ints
    closed_at: int

    @classmethod
    def of(cls, revisions: Sequence[tuple[int, bool, int]], closed_at: int) -> Self:
        table = np.array(revisions, np.int64).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1] == 1, table[:, 2], closed_at)

    @property
    def closes(self) -> Ints:
        """The scheduled closes that passed before the schedule was known to have changed."""
        until = np.append(self.at[1:], np.iinfo(np.int64).max)
        return self.close_at[self.close_at < until[: len(self.at)]]


def without_backfill_inside(columns: ColumnArrays) -> ColumnArrays:
    """Leave out what was backfilled between the first and the last snapshot recorded live."""
    at, backfilled = columns["at"], (columns["flags"] & BACKFILLED) != 0
    if backfilled.all() or not backfilled.any():
        return columns
    recorded = at[~backfilled]
    return select(columns, ~backfilled | (at < recorded.min()) | (at > recorded.max()))


def last_of_each_instant(columns: ColumnArrays) -> ColumnArrays:
    """Keep the last of several rows at one instant; rows must be ordered by time."""
    at = columns["at"]
    is_last = np.append(at[1:] > at[:-1], True)
    return columns if is_last.all() else select(columns, is_last)


def select(columns: ColumnArrays, rows: Ints | Bools) -> ColumnArrays:
    return {name: column[rows] for name, column in columns.items()}


def timeline(
    quotes: ColumnArrays, definitions: DefinitionHistory, pauses: Pauses, *, end: int
) -> ColumnArrays:
    """The rows of a market: its sorted quotes, and the instants between them and before `end` at
    which trading ended or the known schedule changed.

    The end of a pause adds no row, since it shows no book.
    """
    quoted_at = quotes["at"]
    changes = np.concatenate(
        (definitions.at, definitions.closes, [definitions.closed_at], pauses.starts)
    )
    changes = changes[(changes > quoted_at[0]) & (changes < end)]
    at = np.sort(np.concatenate((quoted_at, changes)))
    at = at[np.append(True, at[1:] > at[:-1])]
    book = np.searchsorted(quoted_at, at, side="right") - 1
    is_quote = quoted_at[book] == at
    close_at, tradable = _state(at, is_quote, book, quotes, definitions)
    tradable &= ~pauses.cover(at)
    same = (close_at[1:] == close_at[:-1]) & (tradable[1:] == tradable[:-1])
    rows = is_quote.copy()
    rows[1:] |= ~same
    repeated = {name: quotes[name][book[rows]] for name in BOOK}
    return repeated | {"at": at[rows], "close_at": close_at[rows], "tradable": tradable[rows]}


def _state(
    at: Ints,
    is_quote: Bools,
    book: Ints,
    quotes: ColumnArrays,
    definitions: DefinitionHistory,
) -> tuple[Ints, Bools]:
    """The close as scheduled, and whether the market itself was open, at each instant."""
    newest = np.searchsorted(definitions.at, at, side="right") - 1
    # Before the first definition, only the market's quotes say whether it was trading.
    active = np.append(definitions.active, True)[newest]
    close_at = np.append(definitions.close_at, MISSING)[newest]
    defined_at = np.append(definitions.at, MISSING)[newest]
    stale = (quotes["flags"][book] & STALE) != 0
    stale &= is_quote | (defined_at <= quotes["at"][book])
    open_yet = ((close_at == MISSING) | (at < close_at)) & (at < definitions.closed_at)
    return close_at, active & ~stale & open_yet
