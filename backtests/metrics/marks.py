"""Equity over time: cash and positions, marked at the side of the book they could be sold to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from backtests.data.market_keys import MarketKeys, first_rows
from backtests.data.universe import (
    CONTRACT,
    DAY,
    DOLLAR,
    MISSING,
    Bools,
    Ints,
    Universe,
)
from backtests.metrics.drawdown import Drawdown, deepest
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome
from backtests.rules.ledger import WHOLE
from kalshi_insights.arrays import np

MILLISECOND = 1_000
UNITS = WHOLE // DOLLAR  # millionths of a dollar in a unit of price
NEVER = 2**63 - 1
# The marks of so many markets and rows are computed at once.
BATCH_MARKETS, BATCH_ROWS = 10_000, 1_000_000
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


class Books(NamedTuple):
    """The books of several markets that showed a side while trading, each market by time.

    `market` counts the markets in the order in which they were asked for. `bid` and `ask` are the
    prices at which YES and NO could last be sold, on the YES scale. An empty side stands as last
    quoted, but not beyond the other side of its book: nobody pays more than the offer. A side that
    was never quoted is worth nothing.
    """

    market: Ints
    at: Ints
    bid: Ints
    ask: Ints
    starts: Ints

    def last_rows(self) -> tuple[Ints, Ints]:
        """The markets that have a book, and the row of the last one of each."""
        quoted = np.flatnonzero(np.diff(self.starts))
        return quoted, self.starts[quoted + 1] - 1

    def within(self, first: int, end: int) -> "Books":
        """The books of some consecutive markets, which count from 0 again."""
        rows = slice(self.starts[first], self.starts[end])
        starts = self.starts[first : end + 1] - self.starts[first]
        return Books(
            self.market[rows] - first, self.at[rows], self.bid[rows], self.ask[rows], starts
        )


class Positions(NamedTuple):
    """The positions in several markets after each fill and settlement, each market by time.

    `market` counts `markets`, which are sorted.
    """

    markets: Ints
    market: Ints
    at: Ints
    position: Ints
    starts: Ints

    def within(self, first: int, end: int) -> "Positions":
        rows = slice(self.starts[first], self.starts[end])
        starts = self.starts[first : end + 1] - self.starts[first]
        return Positions(
            self.markets[first:end], self.market[rows] - first, self.at[rows], self.position[rows],
            starts,
        )  # fmt: skip


class Marks(NamedTuple):
    """The worth of positions from instants on, each market by time."""

    market: Ints
    at: Ints
    worth: Ints

    def changes(self) -> Ints:
        """The changes of the worth, from nothing on in each market."""
        before = np.append(0, self.worth[:-1])[: len(self.worth)]
        before[_is_first(self.market)] = 0
        changes: Ints = self.worth - before
        return changes


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
    end = max(end, *at[-1:].tolist(), int(positions_of(outcome).at.max(initial=end)))
    path = EquityPath(np.insert(at, 0, start), np.insert(worth, 0, cash))
    if path.at[-1] == end:
        return path
    return EquityPath(np.append(path.at, end), np.append(path.equity, path.equity[-1]))


def final_marks(universe: Universe, outcome: RunOutcome) -> dict[int, int]:
    """The marks of the positions that are open at the end of a run, by market."""
    held = positions_of(outcome)
    final = held.position[held.starts[1:] - 1]
    prices = final_prices(universe, outcome, held.markets)
    is_settled = np.array(
        [universe.settlements[m] is not None for m in held.markets.tolist()], np.bool_
    )
    paid = payouts(final, prices)
    worth = np.where(is_settled, paid, at_sides(final, prices // UNITS, prices // UNITS))
    return dict(zip(held.markets[final != 0].tolist(), worth[final != 0].tolist(), strict=True))


def final_prices(universe: Universe, outcome: RunOutcome, markets: Ints) -> Ints:
    """The final value of a YES contract of each of these sorted markets, in millionths of a dollar:
    the settlement value, or else the price at which what is held could be sold."""
    books = books_of(universe, markets)
    held = np.array([outcome.positions.get(market, 0) for market in markets.tolist()], np.int64)
    # A NO of which there never was a book is worth nothing.
    prices = np.where(held < 0, DOLLAR, 0) * UNITS
    quoted, last = books.last_rows()
    prices[quoted] = np.where(held[quoted] < 0, books.ask[last], books.bid[last]) * UNITS
    for n, market in enumerate(markets.tolist()):
        if settlement := universe.settlements[market]:
            prices[n] = settlement.value
    return prices


def last_sides(universe: Universe) -> Ints:
    """The last prices at which YES and NO of each market could be sold; 0 where never."""
    prices = np.zeros((len(universe.listings), 2), np.int64)
    books = books_of(universe, np.arange(len(universe.listings)))
    quoted, last = books.last_rows()
    prices[quoted, 0], prices[quoted, 1] = books.bid[last], DOLLAR - books.ask[last]
    return prices


def _changes(universe: Universe, outcome: RunOutcome, cash: int) -> tuple[Ints, Ints]:
    """Sorted instants, some of them equal, and the change of equity at each."""
    journal = outcome.journal
    balance = np.diff(journal[:, JOURNAL_COLUMN["cash"]], prepend=cash)
    parts = [(journal[:, JOURNAL_COLUMN["at"]], balance)]
    held = positions_of(outcome)
    books = books_of(universe, held.markets)
    for first, end in market_batches(books.starts):
        marks = _marks(universe, held.within(first, end), books.within(first, end))
        changes = marks.changes()
        parts.append((marks.at[changes != 0], changes[changes != 0]))
    at, change = (np.concatenate(column) for column in zip(*parts, strict=True))
    at, change = at[change != 0], change[change != 0]
    order = np.argsort(at, kind="stable")
    return at[order], change[order]


def market_batches(starts: Ints) -> Iterator[tuple[int, int]]:
    """Parts of the markets whose books fit into little memory, and whose keys into 64 bits."""
    first, markets = 0, len(starts) - 1
    while first < markets:
        fitting = int(np.searchsorted(starts, starts[first] + BATCH_ROWS, side="right")) - 1
        end = min(max(fitting, first + 1), first + BATCH_MARKETS, markets)
        yield first, end
        first = end


def positions_of(outcome: RunOutcome) -> Positions:
    kind = outcome.journal[:, JOURNAL_COLUMN["kind"]]
    lines = outcome.journal[(kind == EntryKind.FILL) | (kind == EntryKind.SETTLED)]
    lines = lines[np.argsort(lines[:, JOURNAL_COLUMN["market"]], kind="stable")]
    markets, first, number = np.unique(
        lines[:, JOURNAL_COLUMN["market"]], return_index=True, return_inverse=True
    )
    starts = np.append(first, len(lines))
    at, position = lines[:, JOURNAL_COLUMN["at"]], lines[:, JOURNAL_COLUMN["position"]]
    return Positions(markets, number, at, position, starts)


def books_of(universe: Universe, markets: Ints) -> Books:
    """The books of these markets, which must be sorted."""
    quotes = universe.quotes
    number = np.full(len(universe.listings), MISSING)
    number[markets] = np.arange(len(markets))
    quoted: Bools = (quotes.bid != MISSING) | (quotes.ask != MISSING)
    rows = np.flatnonzero((number[quotes.market] != MISSING) & quotes.tradable & quoted)
    # A stable sort keeps the rows of a market in the order of time.
    rows = rows[np.argsort(quotes.market[rows], kind="stable")]
    market = number[quotes.market[rows]]
    starts = first_rows(market, len(markets))
    bid, ask = _sides(quotes.bid[rows], quotes.ask[rows], starts[market])
    return Books(market, quotes.at[rows], bid, ask, starts)


def _sides(bid: Ints, ask: Ints, first: Ints) -> tuple[Ints, Ints]:
    """The sides as they last stood; `first` is the first row of each row's market."""
    last_bid, last_ask = _last_known(bid, 0, first), _last_known(ask, DOLLAR, first)
    return (
        np.where(bid == MISSING, np.minimum(last_bid, ask), bid),
        np.where(ask == MISSING, np.maximum(last_ask, bid), ask),
    )


def _marks(universe: Universe, held: Positions, books: Books) -> Marks:
    """The marks of positions, at every instant at which one may have changed."""
    settled = [universe.settlements[market] for market in held.markets.tolist()]
    value = np.array([each.value if each else MISSING for each in settled], np.int64)
    known_at = np.array([each.known_at if each else NEVER for each in settled], np.int64)
    begun = held.at[held.starts[:-1]]
    known = np.flatnonzero(value != MISSING)
    while_held = books.at >= begun[books.market]
    market = np.concatenate((books.market[while_held], held.market, known))
    at = np.concatenate((books.at[while_held], held.at, np.maximum(known_at, begun)[known]))
    order = np.lexsort((at, market))
    market, at = market[order], at[order]
    keys = MarketKeys(int(at.min(initial=NEVER)), int(at.max(initial=0)))
    line = keys.newest(keys.of(held.market, held.at), market, at)
    position = held.position[line]
    row = keys.newest(keys.of(books.market, books.at), market, at)
    has_book = row >= books.starts[market]
    bid = np.where(has_book, np.append(books.bid, 0)[row], 0)
    ask = np.where(has_book, np.append(books.ask, 0)[row], DOLLAR)
    worth = np.where(
        at >= known_at[market], payouts(position, value[market]), at_sides(position, bid, ask)
    )
    return Marks(market, at, worth)


def at_sides(position: Ints, bid: Ints, ask: Ints) -> Ints:
    return np.abs(position) * np.where(position > 0, bid, DOLLAR - ask)


def payouts(position: Ints, value: Ints) -> Ints:
    """The same as `ledger.payout`, for many positions."""
    return np.abs(position) * np.where(position > 0, value, WHOLE - value) // CONTRACT


def _last_known(side: Ints, default: int, first: Ints) -> Ints:
    row = np.maximum.accumulate(np.where(side == MISSING, MISSING, np.arange(len(side))))
    return np.where(row < first, default, side[row])


def _is_first(market: Ints) -> Bools:
    """Return which rows are the first of their markets."""
    return np.append(True, market[1:] != market[:-1])[: len(market)]
