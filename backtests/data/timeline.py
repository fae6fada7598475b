"""One market's quotes, and between them the instants at which something else came to be known."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backtests.data.universe import MISSING, Bools, Ints

Columns = Mapping[str, NDArray[Any]]

BACKFILLED, STALE = 1, 16  # bits of `flags`
# What a row repeats of the last book.
BOOK = ("bid", "ask", "bid_size", "ask_size", "last", "volume")


class Pauses(NamedTuple):
    """When the exchange was closed: from each start on, before its end; in order, apart."""

    starts: Ints
    ends: Ints

    def cover(self, at: Ints) -> Bools:
        place = np.searchsorted(self.starts, at, side="right") - 1
        return np.append(self.ends, MISSING)[place] > at

    @classmethod
    def of(cls, stretches: Sequence[tuple[int, int]]) -> "Pauses":
        table = np.array(stretches, np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])


class Told(NamedTuple):
    """What was known of a market from each instant on; `close_at` may be missing.

    `closed_at` is when it really closed, which nobody could trade after.
    """

    at: Ints
    active: Bools
    close_at: Ints
    closed_at: int

    @classmethod
    def of(cls, revisions: Sequence[tuple[int, bool, int]], closed_at: int) -> "Told":
        table = np.array(revisions, np.int64).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1] == 1, table[:, 2], closed_at)

    @property
    def closes(self) -> Ints:
        """The closes that came before they were told to be others."""
        until = np.append(self.at[1:], np.iinfo(np.int64).max)
        return self.close_at[self.close_at < until[: len(self.at)]]


def live(columns: Columns) -> Columns:
    """Without what was backfilled between the first and the last snapshot recorded live."""
    at, backfilled = columns["at"], (columns["flags"] & BACKFILLED) != 0
    if backfilled.all() or not backfilled.any():
        return columns
    recorded = at[~backfilled]
    return taken(columns, ~backfilled | (at < recorded.min()) | (at > recorded.max()))


def in_order(columns: Columns) -> Columns:
    """By time; of several at one instant the last of its stream."""
    at = columns["at"]
    if (at[1:] > at[:-1]).all():
        return columns
    order = np.lexsort((columns["sequence"], at))
    ordered = at[order]
    return taken(columns, order[np.append(ordered[1:] > ordered[:-1], True)])


def taken(columns: Columns, rows: Ints | Bools) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def timeline(quotes: Columns, told: Told, pauses: Pauses, *, end: int) -> Columns:
    """The rows of a run: quotes in order, and the instants between them and before `end` at which
    trading ended or the market's definition said something else.

    The end of a pause is none of them: it shows no book.
    """
    seen = quotes["at"]
    changes = np.concatenate((told.at, told.closes, [told.closed_at], pauses.starts))
    at = np.sort(np.concatenate((seen, changes[(changes > seen[0]) & (changes < end)])))
    at = at[np.append(True, at[1:] > at[:-1])]
    book = np.searchsorted(seen, at, side="right") - 1
    is_quote = seen[book] == at
    close_at, tradable = _state(at, is_quote, book, quotes, told)
    tradable &= ~pauses.cover(at)
    same = (close_at[1:] == close_at[:-1]) & (tradable[1:] == tradable[:-1])
    rows = is_quote.copy()
    rows[1:] |= ~same
    repeated = {name: quotes[name][book[rows]] for name in BOOK}
    return repeated | {"at": at[rows], "close_at": close_at[rows], "tradable": tradable[rows]}


def _state(
    at: Ints, is_quote: Bools, book: Ints, quotes: Columns, told: Told
) -> tuple[Ints, Bools]:
    """The close as it was known, and whether the market itself was open, at each instant."""
    newest = np.searchsorted(told.at, at, side="right") - 1
    # Before anything was told of it, only its quotes say whether it was trading.
    active = np.append(told.active, True)[newest]
    close_at = np.append(told.close_at, MISSING)[newest]
    told_at = np.append(told.at, MISSING)[newest]
    stale = (quotes["flags"][book] & STALE) != 0
    stale &= is_quote | (told_at <= quotes["at"][book])
    open_yet = ((close_at == MISSING) | (at < close_at)) & (at < told.closed_at)
    return close_at, active & ~stale & open_yet
