"""What was last seen of a market, and our orders in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backtests.data.universe import DOLLAR, MISSING, Grid, Terms
from backtests.engine.event_driven.feed import Feed
from backtests.rules import execution as rules
from backtests.rules.execution import Reason

NO_ROW = -1


@dataclass(slots=True, eq=False)
class Ticket:
    """An order, in integers."""

    number: int
    side: int
    left: int
    limit: int
    rests: bool
    post_only: bool
    replaces: Ticket | None
    sent_at: int
    sent_seen: int
    fits: bool = True  # whether its price could be told in 1/10,000 dollar
    # What the order that it replaces filled while this one was on its way.
    filled_meanwhile: int = 0
    ahead: int = 0
    accumulated: int = 0
    reserved: int = 0
    reason: Reason = Reason.NONE  # why it ended, where it was not filled whole
    refused: bool = False
    order: Any = None  # backtrader's, where the strategy sent one


@dataclass(slots=True)
class Cancel:
    """A strategy's wish to take an order back."""

    ticket: Ticket
    sent_at: int
    sent_seen: int


@dataclass(slots=True, eq=False)
class Book:
    """What was last seen of a market, and our orders in it."""

    place: int
    feed: Feed
    terms: Sequence[Terms]
    grids: Sequence[Grid]
    bid: int = MISSING
    ask: int = MISSING
    bid_shown: int = 0
    ask_shown: int = 0
    bid_taken: int = 0
    ask_taken: int = 0
    last: int = MISSING
    volume: int = MISSING
    traded: int = 0
    tradable: bool = False
    ended: bool = False
    seen: int = 0
    at: int = MISSING
    row: int = NO_ROW
    term: int = 0
    grid: int = 0
    # Either side as last seen while the market traded, and what it is worth by the newest book.
    bid_seen: int = 0
    ask_seen: int = DOLLAR
    bid_mark: int = 0
    ask_mark: int = DOLLAR
    sent: deque[Ticket | Cancel] = field(default_factory=deque)
    resting: list[Ticket] = field(default_factory=list)

    def see(self, row: int, values: Sequence[Any], assumed: int) -> None:
        """Put a row's book in the place of the one before."""
        at, _, bid, ask, bid_size, ask_size, last, volume, _, tradable = values
        bids, asks = rules.shown(bid_size, bid, assumed), rules.shown(ask_size, ask, assumed)
        if self.bid_taken:
            self.bid_taken = rules.still_taken(self.bid_taken, self.bid, bid, bids)
        if self.ask_taken:
            self.ask_taken = rules.still_taken(self.ask_taken, self.ask, ask, asks)
        self.traded = rules.traded(self.volume, volume)
        self.volume = max(self.volume, volume)
        self.at, self.row, self.last = at, row, last
        self.bid, self.ask, self.bid_shown, self.ask_shown = bid, ask, bids, asks
        self.tradable = tradable and not self.ended
        self.seen += 1
        if self.tradable and (bid >= 0 or ask >= 0):
            self._value(bid, ask)

    def _value(self, bid: int, ask: int) -> None:
        """As `metrics` does: an empty side stands, but not beyond the other side of its book."""
        self.bid_seen = bid if bid >= 0 else self.bid_seen
        self.ask_seen = ask if ask >= 0 else self.ask_seen
        self.bid_mark = bid if bid >= 0 else min(self.bid_seen, ask)
        self.ask_mark = ask if ask >= 0 else max(self.ask_seen, bid)

    def terms_at(self, at: int) -> Terms:
        while self.term + 1 < len(self.terms) and self.terms[self.term + 1].since <= at:
            self.term += 1
        return self.terms[self.term]

    def grid_at(self, at: int) -> Grid:
        while self.grid + 1 < len(self.grids) and self.grids[self.grid + 1].since <= at:
            self.grid += 1
        return self.grids[self.grid]

    def offered(self, side: int) -> int:
        """What the other side shows that we have not taken yet."""
        if side > 0:
            return max(0, self.ask_shown - self.ask_taken)
        return max(0, self.bid_shown - self.bid_taken)

    def take(self, side: int, count: int) -> None:
        if side > 0:
            self.ask_taken += count
        else:
            self.bid_taken += count

    def give(self, side: int, limit: int, count: int) -> None:
        """Use up what filled an order at rest: offers and trades fill one order, not all."""
        if rules.crosses(side, limit, self.bid, self.ask):
            self.take(side, min(count, self.offered(side)))
        if (limit - self.last) * side >= 0:
            self.traded = max(0, self.traded - count)

    def rests(self, side: int, limit: int | None = None) -> int:
        """How much of our own rests on a side, or at one price of it."""
        ours = (each for each in self.resting if each.side == side)
        return sum(each.left for each in ours if limit in (None, each.limit))

    def fits(self, price: int) -> bool:
        """An unknown grid refuses nothing."""
        stretches = self.grid_at(self.at).stretches
        return not stretches or any(rules.on_grid(price, *stretch) for stretch in stretches)

    def mark(self, position: int) -> int:
        """What a contract of a position could be sold for."""
        return self.bid_mark if position > 0 else DOLLAR - self.ask_mark
