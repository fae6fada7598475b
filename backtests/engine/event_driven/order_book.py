"""The order book of one market as last recorded, and our orders in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backtests.data.universe import DOLLAR, MISSING, Grid, Terms
from backtests.engine.event_driven.feed import Feed
from backtests.rules import execution as rules
from backtests.rules.execution import Reason


@dataclass(slots=True, eq=False)
class Ticket:
    """An order in integers."""

    number: int
    side: int
    left: int
    limit: int
    rests: bool
    post_only: bool
    replaces: Ticket | None
    sent_at: int
    sent_books: int
    price_is_exact: bool = True  # whether 1/10,000 dollar could express its price
    # What the order that it replaces filled while this one was in flight.
    filled_meanwhile: int = 0
    ahead: int = 0
    accumulated: int = 0
    reserved: int = 0
    reason: Reason = Reason.NONE  # why it ended, where it was not wholly filled
    refused: bool = False
    order: Any = None  # backtrader's order, where the strategy sent one


@dataclass(slots=True)
class CancelRequest:
    """A cancellation that a strategy has sent."""

    ticket: Ticket
    sent_at: int
    sent_books: int


@dataclass(slots=True, eq=False)
class Book:
    """The top of a market's book as last recorded, and our orders in it."""

    market: int
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
    books: int = 0
    at: int = MISSING
    row: int = MISSING
    term: int = 0
    grid: int = 0
    # Each side as last quoted while the market traded, and its mark by the newest book.
    last_bid: int = 0
    last_ask: int = DOLLAR
    bid_mark: int = 0
    ask_mark: int = DOLLAR
    sent: deque[Ticket | CancelRequest] = field(default_factory=deque)
    resting: list[Ticket] = field(default_factory=list)

    def update(self, row: int, values: Sequence[Any], assumed: int) -> None:
        """Replace the book with that of a row."""
        at, _, bid, ask, bid_size, ask_size, last, volume, _, tradable = values
        bids, asks = (
            rules.offered_size(bid_size, bid, assumed),
            rules.offered_size(ask_size, ask, assumed),
        )
        if self.bid_taken:
            self.bid_taken = rules.still_taken(self.bid_taken, self.bid, bid, bids)
        if self.ask_taken:
            self.ask_taken = rules.still_taken(self.ask_taken, self.ask, ask, asks)
        self.traded = rules.traded_between(self.volume, volume)
        self.volume = max(self.volume, volume)
        self.at, self.row, self.last = at, row, last
        self.bid, self.ask, self.bid_shown, self.ask_shown = bid, ask, bids, asks
        self.tradable = tradable and not self.ended
        self.books += 1
        if self.tradable and (bid >= 0 or ask >= 0):
            self._value(bid, ask)

    def _value(self, bid: int, ask: int) -> None:
        """Mark as `metrics` does: an empty side stands, but not beyond the other side."""
        self.last_bid = bid if bid >= 0 else self.last_bid
        self.last_ask = ask if ask >= 0 else self.last_ask
        self.bid_mark = bid if bid >= 0 else min(self.last_bid, ask)
        self.ask_mark = ask if ask >= 0 else max(self.last_ask, bid)

    def terms_at(self, at: int) -> Terms:
        while self.term + 1 < len(self.terms) and self.terms[self.term + 1].since <= at:
            self.term += 1
        return self.terms[self.term]

    def grid_at(self, at: int) -> Grid:
        while self.grid + 1 < len(self.grids) and self.grids[self.grid + 1].since <= at:
            self.grid += 1
        return self.grids[self.grid]

    def offered(self, side: int) -> int:
        """The size on the other side that we have not taken yet."""
        if side > 0:
            return max(0, self.ask_shown - self.ask_taken)
        return max(0, self.bid_shown - self.bid_taken)

    def take(self, side: int, count: int) -> None:
        if side > 0:
            self.ask_taken += count
        else:
            self.bid_taken += count

    def use_up(self, side: int, limit: int, count: int) -> None:
        """Use up what filled a resting order: offers and trades fill one order, not all."""
        if rules.crosses(side, limit, self.bid, self.ask):
            self.take(side, min(count, self.offered(side)))
        if (limit - self.last) * side >= 0:
            self.traded = max(0, self.traded - count)

    def resting_size(self, side: int, limit: int | None = None) -> int:
        """The size of our own resting orders on a side, or at one price of it."""
        ours = (each for each in self.resting if each.side == side)
        return sum(each.left for each in ours if limit in (None, each.limit))

    def on_grid(self, price: int) -> bool:
        """Return whether a price is on the market's grid; an unknown grid refuses nothing."""
        ranges = self.grid_at(self.at).ranges
        return not ranges or any(rules.on_grid(price, *each) for each in ranges)

    def mark(self, position: int) -> int:
        """The price at which a contract of a position could be sold."""
        return self.bid_mark if position > 0 else DOLLAR - self.ask_mark
