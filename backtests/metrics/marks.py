"""What a run was worth at any instant, marked at the side of the book one could sell to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

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
from backtests.rules.execution import JOURNAL, Kind, Outcome
from backtests.rules.ledger import WHOLE

COLUMN = {name: place for place, name in enumerate(JOURNAL)}
MILLISECOND = 1_000
# A curve is drawn from that many even stretches: three points each, so fewer than 1,000.
STRETCHES = 330


@dataclass(frozen=True, slots=True)
class EquityPath:
    """Equity in millionths of a dollar at instants in order; each holds until the next.

    As made by `trace` it begins with the starting cash, has every instant at which equity changed
    and ends with the run. Another point of the same instant replaces the one before.
    """

    at: Ints
    equity: Ints

    def when(self, instants: Ints) -> Ints:
        """Equity at instants, what happened at them included; the first one's before it."""
        return self.equity[np.maximum(0, np.searchsorted(self.at, instants, side="right") - 1)]

    def daily(self) -> "EquityPath":
        """At the start, at each UTC midnight after it, and at the end, idle days included."""
        start, end = int(self.at[0]), int(self.at[-1])
        midnights = np.arange((start // DAY + 1) * DAY, end, DAY)
        return EquityPath(
            np.concatenate(([start], midnights, [end])),
            np.concatenate((self.equity[:1], self.when(midnights), self.equity[-1:])),
        )

    def drawdown(self) -> Drawdown:
        return deepest(self.at, self.equity)

    def curve(self, stretches: int = STRETCHES) -> "EquityPath":
        """At most 3 x `stretches` + 7 points: small, and its deepest drawdown is the true one.

        An even grid over the run, the lowest and the highest point between two of its instants,
        the first and the last point, and the peak and the bottom of the deepest drawdown.
        """
        grid = np.linspace(self.at[0], self.at[-1], stretches + 1).astype(np.int64)
        kept = np.searchsorted(self.at, grid, side="right") - 1
        extremes = np.unique(np.concatenate((self._extremes(grid), [0, len(self.at) - 1])))
        at = np.concatenate((self.at[extremes], grid))
        # Where a point stands in the path decides between points of one instant.
        place = np.concatenate((extremes, kept))
        order = np.lexsort((place, at))
        at, place = at[order], place[order]
        new = np.concatenate(([True], (np.diff(at) != 0) | (np.diff(place) != 0)))
        return EquityPath(at[new], self.equity[place[new]])

    def _extremes(self, grid: Ints) -> Ints:
        stretch = np.searchsorted(grid, self.at)
        order = np.lexsort((self.equity, stretch))
        ends = np.flatnonzero(np.diff(stretch[order], append=-1))
        lowest = np.concatenate(([0], ends[:-1] + 1))
        found = np.concatenate((order[lowest], order[ends]))
        fall = self.drawdown()
        if fall.bottom is None:
            return found
        bottom = int(np.searchsorted(self.at, fall.bottom, side="right")) - 1
        return np.concatenate((found, [bottom, int(np.argmax(self.equity[:bottom]))]))

    def as_json(self) -> dict[str, list[int]]:
        """Columns: `t` in milliseconds since 1970, `equity` in millionths of a dollar."""
        return {"t": (self.at // MILLISECOND).tolist(), "equity": self.equity.tolist()}


class Book(NamedTuple):
    """A market's books that showed a side while it could be traded."""

    at: Ints
    bid: Ints
    ask: Ints

    def sides(self) -> tuple[Ints, Ints]:
        """What YES and what NO could last be sold at, on the YES scale.

        A side that is empty stands as last seen, but not beyond the other side of its book:
        nobody pays more than what it is offered at. One that was never seen is worth nothing.
        """
        bid, ask = _last_seen(self.bid, 0), _last_seen(self.ask, DOLLAR)
        return (
            np.where(self.bid == MISSING, np.minimum(bid, self.ask), bid),
            np.where(self.ask == MISSING, np.maximum(ask, self.bid), ask),
        )


class Held(NamedTuple):
    """The position in one market after each of its fills and its settlement."""

    market: int
    at: Ints
    position: Ints


def equity(universe: Universe, outcome: Outcome, instants: Ints, *, cash: int) -> Ints:
    """What a run that began with `cash` was worth at instants, in millionths of a dollar.

    Cash, and each position at the side one could sell it to: YES at the bid, NO at 1 - ask, as
    last seen while its market could be traded, however little was shown there. Once the result
    is known, at what it will be paid.
    """
    at, changes = _changes(universe, outcome, cash)
    worth = np.concatenate(([cash], cash + np.cumsum(changes)))
    return worth[np.searchsorted(at, instants, side="right")]


def trace(universe: Universe, outcome: Outcome, *, cash: int, start: int, end: int) -> EquityPath:
    """Equity from the start of the window until its end, or until the last payment after it."""
    at, changes = _changes(universe, outcome, cash)
    worth = cash + np.cumsum(changes)
    last = np.append(np.diff(at) != 0, True)[: len(at)]
    at, worth = at[last], worth[last]
    end = max([end, *at[-1:], *(held.at[-1] for held in _holdings(outcome))])
    path = EquityPath(np.insert(at, 0, start), np.insert(worth, 0, cash))
    if path.at[-1] == end:
        return path
    return EquityPath(np.append(path.at, end), np.append(path.equity, path.equity[-1]))


def marks(universe: Universe, outcome: Outcome) -> dict[int, int]:
    """What the positions that are open at the end of a run would bring, market by market."""
    open_at_end = [held for held in _holdings(outcome) if held.position[-1]]
    books = _books(universe, [held.market for held in open_at_end])
    return {
        held.market: int(_worth(held, book, universe.settlements[held.market])[1][-1])
        for held, book in zip(open_at_end, books, strict=True)
    }


def last_sides(universe: Universe) -> Ints:
    """For each market what a contract of YES and of NO could last be sold for; 0 where never."""
    places = list(range(len(universe.listings)))
    found = np.zeros((len(places), 2), np.int64)
    for place, book in zip(places, _books(universe, places), strict=True):
        if len(book.at):
            bid, ask = book.sides()
            found[place] = bid[-1], DOLLAR - ask[-1]
    return found


def _changes(universe: Universe, outcome: Outcome, cash: int) -> tuple[Ints, Ints]:
    """Instants in order, and by how much equity changed at each; several may be of one instant."""
    journal = outcome.journal
    balance = np.diff(journal[:, COLUMN["cash"]], prepend=cash)
    parts = [(journal[:, COLUMN["at"]], balance)]
    holdings = list(_holdings(outcome))
    for held, book in zip(holdings, _books(universe, [h.market for h in holdings]), strict=True):
        at, worth = _worth(held, book, universe.settlements[held.market])
        parts.append((at, np.diff(worth, prepend=0)))
    at, change = (np.concatenate(column) for column in zip(*parts, strict=True))
    at, change = at[change != 0], change[change != 0]
    order = np.argsort(at, kind="stable")
    return at[order], change[order]


def _holdings(outcome: Outcome) -> Iterator[Held]:
    kind = outcome.journal[:, COLUMN["kind"]]
    lines = outcome.journal[(kind == Kind.FILL) | (kind == Kind.SETTLED)]
    lines = lines[np.argsort(lines[:, COLUMN["market"]], kind="stable")]
    markets, starts = np.unique(lines[:, COLUMN["market"]], return_index=True)
    for market, own in zip(markets, np.split(lines, starts[1:]), strict=False):
        yield Held(int(market), own[:, COLUMN["at"]], own[:, COLUMN["position"]])


def _books(universe: Universe, markets: list[int]) -> Iterable[Book]:
    """The books of each market, for markets in order."""
    quotes = universe.quotes
    wanted = np.zeros(len(universe.listings), np.bool_)
    wanted[markets] = True
    shown: Bools = (quotes.bid != MISSING) | (quotes.ask != MISSING)
    rows = np.flatnonzero(wanted[quotes.market] & quotes.tradable & shown)
    # Stable: rows of a market stay in the order of time.
    rows = rows[np.argsort(quotes.market[rows], kind="stable")]
    ends = np.searchsorted(quotes.market[rows], markets, side="right")
    for own in np.split(rows, ends)[: len(markets)]:
        yield Book(quotes.at[own], quotes.bid[own], quotes.ask[own])


def _worth(held: Held, book: Book, settlement: Settlement | None) -> tuple[Ints, Ints]:
    """The instants at which a position's mark may have changed, and the marks after them."""
    known = [max(settlement.known_at, held.at[0])] if settlement else []
    at = np.concatenate((book.at[book.at >= held.at[0]], held.at, np.array(known, np.int64)))
    at.sort(kind="stable")  # fast, since it is made of pieces in order
    position = held.position[np.searchsorted(held.at, at, side="right") - 1]
    seen = np.searchsorted(book.at, at, side="right")
    bid, ask = book.sides()
    yes = np.insert(bid, 0, 0)[seen]
    no = DOLLAR - np.insert(ask, 0, DOLLAR)[seen]
    worth = np.abs(position) * np.where(position > 0, yes, no)
    if settlement:
        worth = np.where(at >= settlement.known_at, _payouts(position, settlement.value), worth)
    return at, worth


def _payouts(position: Ints, value: int) -> Ints:
    """`ledger.payout` of many positions."""
    return np.abs(position) * np.where(position > 0, value, WHOLE - value) // CONTRACT


def _last_seen(side: Ints, unseen: int) -> Ints:
    place = np.maximum.accumulate(np.where(side == MISSING, -1, np.arange(len(side))))
    return np.where(place < 0, unseen, side[place])
