"""Equity over time: cash and positions, marked at the side of the book they could be sold to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from backtests.data.universe import (
    CONTRACT,
    DAY,
    DOLLAR,
    MISSING,
    Bools,
    Ints,
    Settlement,
    Universe,
)
from backtests.metrics.drawdown import Drawdown, deepest
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome
from backtests.rules.ledger import WHOLE
from kalshi_insights.arrays import np

MILLISECOND = 1_000
# A curve has so many equal intervals with three points each, so fewer than 1,000 points.
INTERVALS = 330


@dataclass(frozen=True, slots=True)
class EquityPath:
    """Equity in millionths of a dollar at sorted instants; each point holds until the next.

    `trace` makes a path that begins with the starting cash, has every instant at which equity
    changed, and ends with the run. Of two points at one instant, the second replaces the first.
    """

    at: Ints
    equity: Ints

    def equity_at(self, instants: Ints) -> Ints:
        """Equity at instants, with what happened at them; before the path, its first point."""
        return self.equity[np.maximum(0, np.searchsorted(self.at, instants, side="right") - 1)]

    def daily(self) -> "EquityPath":
        """Equity at the start, at each UTC midnight after it and at the end, idle days included."""
        start, end = int(self.at[0]), int(self.at[-1])
        midnights = np.arange((start // DAY + 1) * DAY, end, DAY)
        return EquityPath(
            np.concatenate(([start], midnights, [end])),
            np.concatenate((self.equity[:1], self.equity_at(midnights), self.equity[-1:])),
        )

    def drawdown(self) -> Drawdown:
        return deepest(self.at, self.equity)

    def curve(self, intervals: int = INTERVALS) -> "EquityPath":
        """A curve of at most 3 x `intervals` + 7 points, with the true deepest drawdown.

        It has equidistant instants over the run, the lowest and the highest point between two of
        them, the first and the last point, and the peak and the bottom of the deepest drawdown.
        """
        even = np.linspace(self.at[0], self.at[-1], intervals + 1).astype(np.int64)
        kept = np.searchsorted(self.at, even, side="right") - 1
        extremes = np.unique(np.concatenate((self._extremes(even), [0, len(self.at) - 1])))
        at = np.concatenate((self.at[extremes], even))
        # Points of one instant go by their index in the path.
        index = np.concatenate((extremes, kept))
        order = np.lexsort((index, at))
        at, index = at[order], index[order]
        new = np.concatenate(([True], (np.diff(at) != 0) | (np.diff(index) != 0)))
        return EquityPath(at[new], self.equity[index[new]])

    def _extremes(self, even: Ints) -> Ints:
        interval = np.searchsorted(even, self.at)
        order = np.lexsort((self.equity, interval))
        ends = np.flatnonzero(np.diff(interval[order], append=-1))
        lowest = np.concatenate(([0], ends[:-1] + 1))
        extremes = np.concatenate((order[lowest], order[ends]))
        fall = self.drawdown()
        if fall.bottom is None:
            return extremes
        bottom = int(np.searchsorted(self.at, fall.bottom, side="right")) - 1
        return np.concatenate((extremes, [bottom, int(np.argmax(self.equity[:bottom]))]))

    def as_json(self) -> dict[str, list[int]]:
        """The columns `t`, in milliseconds since 1970, and `equity`, in millionths of a dollar."""
        return {"t": (self.at // MILLISECOND).tolist(), "equity": self.equity.tolist()}


class BookHistory(NamedTuple):
    """The books of a market that showed a side while the market was trading."""

    at: Ints
    bid: Ints
    ask: Ints

    def sides(self) -> tuple[Ints, Ints]:
        """The prices at which YES and NO could last be sold, on the YES scale.

        An empty side stands as last quoted, but not beyond the other side of its book: nobody
        pays more than the offer. A side that was never quoted is worth nothing.
        """
        bid, ask = _last_known(self.bid, 0), _last_known(self.ask, DOLLAR)
        return (
            np.where(self.bid == MISSING, np.minimum(bid, self.ask), bid),
            np.where(self.ask == MISSING, np.maximum(ask, self.bid), ask),
        )


class PositionHistory(NamedTuple):
    """The position in one market after each of its fills and its settlement."""

    market: int
    at: Ints
    position: Ints


def trace(
    universe: Universe, outcome: RunOutcome, *, cash: int, start: int, end: int
) -> EquityPath:
    """The equity from the start of the window until its end, or the last payment after it.

    It is cash, plus each position at the side it could be sold to: YES at the bid, NO at 1 - ask,
    as last quoted while its market was trading, whatever the size. Once the result is known, a
    position counts at its payout.
    """
    at, changes = _changes(universe, outcome, cash)
    worth = cash + np.cumsum(changes)
    last = np.append(np.diff(at) != 0, True)[: len(at)]
    at, worth = at[last], worth[last]
    end = max([end, *at[-1:], *(held.at[-1] for held in _holdings(outcome))])
    path = EquityPath(np.insert(at, 0, start), np.insert(worth, 0, cash))
    if path.at[-1] == end:
        return path
    return EquityPath(np.append(path.at, end), np.append(path.equity, path.equity[-1]))


def final_marks(universe: Universe, outcome: RunOutcome) -> dict[int, int]:
    """The marks of the positions that are open at the end of a run, by market."""
    open_at_end = [held for held in _holdings(outcome) if held.position[-1]]
    books = _books(universe, [held.market for held in open_at_end])
    return {
        held.market: int(_worth(held, book, universe.settlements[held.market])[1][-1])
        for held, book in zip(open_at_end, books, strict=True)
    }


def last_sides(universe: Universe) -> Ints:
    """The last prices at which YES and NO of each market could be sold; 0 where never."""
    markets = list(range(len(universe.listings)))
    prices = np.zeros((len(markets), 2), np.int64)
    for market, book in zip(markets, _books(universe, markets), strict=True):
        if len(book.at):
            bid, ask = book.sides()
            prices[market] = bid[-1], DOLLAR - ask[-1]
    return prices


def _changes(universe: Universe, outcome: RunOutcome, cash: int) -> tuple[Ints, Ints]:
    """Sorted instants, some of them equal, and the change of equity at each."""
    journal = outcome.journal
    balance = np.diff(journal[:, JOURNAL_COLUMN["cash"]], prepend=cash)
    parts = [(journal[:, JOURNAL_COLUMN["at"]], balance)]
    holdings = list(_holdings(outcome))
    for held, book in zip(holdings, _books(universe, [h.market for h in holdings]), strict=True):
        at, worth = _worth(held, book, universe.settlements[held.market])
        parts.append((at, np.diff(worth, prepend=0)))
    at, change = (np.concatenate(column) for column in zip(*parts, strict=True))
    at, change = at[change != 0], change[change != 0]
    order = np.argsort(at, kind="stable")
    return at[order], change[order]


def _holdings(outcome: RunOutcome) -> Iterator[PositionHistory]:
    kind = outcome.journal[:, JOURNAL_COLUMN["kind"]]
    lines = outcome.journal[(kind == EntryKind.FILL) | (kind == EntryKind.SETTLED)]
    lines = lines[np.argsort(lines[:, JOURNAL_COLUMN["market"]], kind="stable")]
    markets, starts = np.unique(lines[:, JOURNAL_COLUMN["market"]], return_index=True)
    for market, own in zip(markets, np.split(lines, starts[1:]), strict=False):
        yield PositionHistory(
            int(market), own[:, JOURNAL_COLUMN["at"]], own[:, JOURNAL_COLUMN["position"]]
        )


def _books(universe: Universe, markets: list[int]) -> Iterable[BookHistory]:
    """The books of each of these markets, which must be sorted."""
    quotes = universe.quotes
    selected = np.zeros(len(universe.listings), np.bool_)
    selected[markets] = True
    quoted: Bools = (quotes.bid != MISSING) | (quotes.ask != MISSING)
    rows = np.flatnonzero(selected[quotes.market] & quotes.tradable & quoted)
    # A stable sort keeps the rows of a market in the order of time.
    rows = rows[np.argsort(quotes.market[rows], kind="stable")]
    ends = np.searchsorted(quotes.market[rows], markets, side="right")
    for own in np.split(rows, ends)[: len(markets)]:
        yield BookHistory(quotes.at[own], quotes.bid[own], quotes.ask[own])


def _worth(
    held: PositionHistory, book: BookHistory, settlement: Settlement | None
) -> tuple[Ints, Ints]:
    """The instants at which the mark of a position may have changed, and the marks after them."""
    known = [max(settlement.known_at, held.at[0])] if settlement else []
    at = np.concatenate((book.at[book.at >= held.at[0]], held.at, np.array(known, np.int64)))
    at.sort(kind="stable")  # fast, since its parts are sorted
    position = held.position[np.searchsorted(held.at, at, side="right") - 1]
    books = np.searchsorted(book.at, at, side="right")
    bid, ask = book.sides()
    yes = np.insert(bid, 0, 0)[books]
    no = DOLLAR - np.insert(ask, 0, DOLLAR)[books]
    worth = np.abs(position) * np.where(position > 0, yes, no)
    if settlement:
        worth = np.where(at >= settlement.known_at, _payouts(position, settlement.value), worth)
    return at, worth


def _payouts(position: Ints, value: int) -> Ints:
    """The same as `ledger.payout`, for many positions."""
    return np.abs(position) * np.where(position > 0, value, WHOLE - value) // CONTRACT


def _last_known(side: Ints, default: int) -> Ints:
    row = np.maximum.accumulate(np.where(side == MISSING, -1, np.arange(len(side))))
    return np.where(row < 0, default, side[row])
