"""The timelines of markets: their quotes, and the instants at which their definitions changed.

Columns go market by market and each of them by time; `market` counts the markets from 0 on.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from backtests.data import origins
from backtests.data.market_keys import MarketKeys, first_rows
from backtests.data.universe import MISSING, QUOTE_COLUMNS, Bools, Ints
from kalshi_insights.arrays import Array, np
from markets.prices import Quality

ColumnArrays = Mapping[str, Array]

NEVER = 2**63 - 1
# Bits of the column `flags`.
BACKFILLED, IMPORTED, STALE = 1, 2, Quality.STALE.value
# The column with the number of each row's import, which is there where imports are read.
IMPORT = "import"
# What a row without a quote of its own repeats of the last book.
BOOK = tuple(name for name in QUOTE_COLUMNS if name not in ("at", "market", "close_at", "tradable"))


class Pauses(NamedTuple):
    """Pauses of the exchange, sorted and disjoint; each ends for a market with the first
    observation after it.

    `resumed` has a row for each market and a column for each pause.
    """

    starts: Ints
    resumed: Ints

    def cover(self, market: Ints, at: Ints) -> Bools:
        if not len(self.starts):
            return np.zeros(len(at), np.bool_)
        newest = np.searchsorted(self.starts, at, side="right") - 1
        return (newest >= 0) & (at < self.resumed[market, newest])

    def within(self, first: int, end: int) -> "Pauses":
        """The pauses of some consecutive markets, which count from 0 again."""
        return Pauses(self.starts, self.resumed[first:end])


class Definitions(NamedTuple):
    """The definitions of markets as known from each instant on; `close_at` may be missing.

    `closed_at` has for each market the actual close, after which nobody could trade.
    """

    market: Ints
    at: Ints
    active: Bools
    close_at: Ints
    closed_at: Ints

    @classmethod
    def of(cls, revisions: Sequence[tuple[int, int, bool, int]], closed_at: Sequence[int]) -> Self:
        """Make them of rows (market, at, active, close_at), in their order."""
        table = np.array(revisions, np.int64).reshape(-1, 4)
        closes = np.array(closed_at, np.int64)
        return cls(table[:, 0], table[:, 1], table[:, 2] == 1, table[:, 3], closes)

    def within(self, first: int, end: int) -> "Definitions":
        """The definitions of some consecutive markets, which count from 0 again."""
        rows = slice(*np.searchsorted(self.market, (first, end)))
        return Definitions(
            self.market[rows] - first, self.at[rows], self.active[rows], self.close_at[rows],
            self.closed_at[first:end],
        )  # fmt: skip

    def changes(self) -> tuple[Ints, Ints]:
        """The markets and the instants at which a definition changed, a scheduled close passed
        before it was known to have changed, or trading ended."""
        until = np.append(self.at[1:], NEVER)[: len(self.at)]
        until[np.append(self.market[1:] != self.market[:-1], True)[: len(until)]] = NEVER
        passed = self.close_at < until
        every = np.arange(len(self.closed_at))
        return (
            np.concatenate((self.market, self.market[passed], every)),
            np.concatenate((self.at, self.close_at[passed], self.closed_at)),
        )


def is_backfilled(columns: ColumnArrays) -> Bools:
    """The rows that were not recorded live: backfilled or imported."""
    backfilled: Bools = (columns["flags"] & (BACKFILLED | IMPORTED)) != 0
    return backfilled


def is_imported(columns: ColumnArrays) -> Bools:
    imported: Bools = (columns["flags"] & IMPORTED) != 0
    return imported


def origin_counts(columns: ColumnArrays) -> dict[str, int]:
    """Return the number of rows of each origin."""
    return {
        origins.LIVE: int((~is_backfilled(columns)).sum()),
        origins.IMPORTED: int(is_imported(columns).sum()),
        origins.BACKFILLED: int(((columns["flags"] & BACKFILLED) != 0).sum()),
    }


def last_of_each_instant(columns: ColumnArrays) -> ColumnArrays:
    """Keep the last of several rows of a market at one instant."""
    is_last = _is_last(columns["market"], columns["at"])
    return columns if is_last.all() else select(columns, is_last)


def select(columns: ColumnArrays, rows: Ints | Bools) -> ColumnArrays:
    return {name: column[rows] for name, column in columns.items()}


def timelines(
    quotes: ColumnArrays, definitions: Definitions, pauses: Pauses, *, end: int
) -> ColumnArrays:
    """The rows of markets: their quotes, and the instants between them and before `end` at which
    trading ended or went on, or the known schedule changed.

    The end of a pause shows no book: trading goes on with the first observation after it.
    """
    markets = len(definitions.closed_at)
    market, at = instants = _instants(quotes, definitions, pauses, end=end)
    keys = MarketKeys(int(at.min()), int(at.max()))
    book = keys.newest(keys.of(quotes["market"], quotes["at"]), market, at)
    close_at, tradable = _state(keys, instants, book, quotes, definitions)
    tradable &= ~pauses.cover(market, at)
    rows = quotes["at"][book] == at
    rows[1:] |= (close_at[1:] != close_at[:-1]) | (tradable[1:] != tradable[:-1])
    # A market begins with a quote.
    rows[first_rows(market, markets)[:-1]] = True
    repeated = {name: quotes[name][book[rows]] for name in BOOK}
    return repeated | {
        "market": market[rows],
        "at": at[rows],
        "close_at": close_at[rows],
        "tradable": tradable[rows],
    }


def _instants(
    quotes: ColumnArrays, definitions: Definitions, pauses: Pauses, *, end: int
) -> tuple[Ints, Ints]:
    """Every market and instant of a quote or of a change after the market's first quote."""
    markets = len(definitions.closed_at)
    first_at = quotes["at"][first_rows(quotes["market"], markets)[:-1]]
    defined, defined_at = definitions.changes()
    each = np.repeat(np.arange(markets), len(pauses.starts))
    changed = np.concatenate((defined, each, each))
    changed_at = np.concatenate(
        (defined_at, np.tile(pauses.starts, markets), pauses.resumed.ravel())
    )
    within = (changed_at > first_at[changed]) & (changed_at < end)
    market = np.concatenate((quotes["market"], changed[within]))
    at = np.concatenate((quotes["at"], changed_at[within]))
    order = np.lexsort((at, market))
    market, at = market[order], at[order]
    once = _is_last(market, at)
    return market[once], at[once]


def _is_last(market: Ints, at: Ints) -> Bools:
    """Return which rows are the last ones of their market and instant."""
    return np.append((market[1:] != market[:-1]) | (at[1:] != at[:-1]), True)[: len(at)]


def _state(
    keys: MarketKeys,
    instants: tuple[Ints, Ints],
    book: Ints,
    quotes: ColumnArrays,
    definitions: Definitions,
) -> tuple[Ints, Bools]:
    """The close as scheduled, and whether the market itself was open, at each instant."""
    market, at = instants
    newest = keys.newest(keys.of(definitions.market, definitions.at), market, at)
    # Before the first definition, only the market's quotes say whether it was trading.
    starts = first_rows(definitions.market, len(definitions.closed_at))
    newest = np.where(newest >= starts[market], newest, MISSING)
    active = np.append(definitions.active, True)[newest]
    close_at = np.append(definitions.close_at, MISSING)[newest]
    defined_at = np.append(definitions.at, MISSING)[newest]
    stale = (quotes["flags"][book] & STALE) != 0
    stale &= (quotes["at"][book] == at) | (defined_at <= quotes["at"][book])
    open_yet = ((close_at == MISSING) | (at < close_at)) & (at < definitions.closed_at[market])
    return close_at, active & ~stale & open_yet
