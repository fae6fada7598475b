"""The order book of one market as last recorded, and our orders in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backtests.data.universe import DOLLAR, MISSING, Grid, Terms
from backtests.engine.event_driven.book_top import BookTop
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.orders import KeptPlace, SecondLook, SentOut, Ticket
from backtests.rules import execution as rules
from backtests.rules.untaped import fresh_offers


@dataclass(slots=True, eq=False)
class Book:
    """The top of a market's book as last recorded, and our orders in it."""

    market: int
    feed: Feed
    terms: Sequence[Terms]
    grids: Sequence[Grid]
    top: BookTop = field(default_factory=BookTop)
    last: int = MISSING
    volume: int = MISSING
    # The volume since the row before, and the part of it that filled orders of ours.
    traded: int = 0
    used: int = 0
    # The contracts of trades of the tape, by their places, that filled orders of ours; only most
    # fills, which looks back, keeps count of them.
    trades_used: dict[int, int] = field(default_factory=dict)
    tradable: bool = False
    # Whether its feed has begun and its market trades.
    is_open: bool = False
    ended: bool = False
    # Each side as last quoted while the market traded, and its mark by the newest book.
    last_bid: int = 0
    last_ask: int = DOLLAR
    bid_mark: int = 0
    ask_mark: int = DOLLAR
    sent: list[SentOut] = field(default_factory=list)
    resting: list[Ticket] = field(default_factory=list)

    def update(self, row: int, values: Sequence[Any], assumed: int) -> None:
        """Replace the book with that of a row."""
        at, _, bid, ask, bid_size, ask_size, last, volume, _, tradable = values
        before, top = self.top, BookTop(row, bid, ask, bid_size, ask_size)
        top.bid_shown = rules.offered_size(bid_size, bid, assumed)
        top.ask_shown = rules.offered_size(ask_size, ask, assumed)
        top.bid_fresh = fresh_offers(before.bid, before.bid_size, bid, bid_size)
        top.ask_fresh = fresh_offers(before.ask, before.ask_size, ask, ask_size)
        if before.bid_taken:
            top.bid_taken = before.taken_in(top, -1)
        if before.ask_taken:
            top.ask_taken = before.taken_in(top, 1)
        self.traded, self.used = rules.traded_between(self.volume, volume), 0
        self.volume = max(self.volume, volume)
        self.top, self.last = top, last
        self.tradable = tradable and not self.ended
        if self.sent:
            self._note_for_orders(at, before)
        if self.tradable and (bid >= 0 or ask >= 0):
            self._value(bid, ask)

    def _note_for_orders(self, at: int, before: BookTop) -> None:
        """Keep the book in which each order arrived, and whether the market trades."""
        for sent in self.sent:
            if not isinstance(sent, Ticket):
                continue
            if at >= sent.arrives and sent.earlier is None:
                sent.earlier = before
            if at <= sent.arrives:
                sent.traded_then = self.tradable
            elif not self.tradable:
                sent.stopped = True

    def _value(self, bid: int, ask: int) -> None:
        """Mark as `metrics` does: an empty side stands, but not beyond the other side."""
        self.last_bid = bid if bid >= 0 else self.last_bid
        self.last_ask = ask if ask >= 0 else self.last_ask
        self.bid_mark = bid if bid >= 0 else min(self.last_bid, ask)
        self.ask_mark = ask if ask >= 0 else max(self.last_ask, bid)

    def terms_at(self, at: int) -> Terms:
        return next((each for each in reversed(self.terms) if each.since <= at), self.terms[0])

    def on_grid(self, price: int, at: int) -> bool:
        """Return whether a price is on the grid at an instant; an unknown grid refuses nothing."""
        newest = reversed(self.grids)
        ranges = next((each for each in newest if each.since <= at), self.grids[0]).ranges
        return not ranges or any(rules.on_grid(price, *each) for each in ranges)

    def take(self, top: BookTop, side: int, count: int) -> None:
        """Take from a book; what is gone from an earlier one is missing from this one as well."""
        if top is self.top:
            top.take(side, count)
            return
        missing = top.taken_in(self.top, side)
        top.take(side, count)
        self.top.take(side, top.taken_in(self.top, side) - missing)

    def is_over(self, ticket: Ticket) -> bool:
        """Return whether an order is neither on its way nor at rest."""
        return ticket not in self.sent and ticket not in self.resting

    def by_priority(self) -> list[Ticket]:
        """Our resting orders as an exchange fills them: the best price first, then the oldest."""
        return sorted(self.resting, key=lambda each: -each.side * each.limit)

    def own_crossed(self, side: int, limit: int) -> list[Ticket]:
        """Our resting orders that an order would trade with, the first one first."""
        others = (each for each in self.by_priority() if each.side != side)
        return [each for each in others if (limit - each.limit) * side >= 0]

    def queues_at(self, side: int, limit: int) -> list[int]:
        """The queues before our own orders at a price."""
        ours = (each for each in self.resting if (each.side, each.limit) == (side, limit))
        return [each.queue_place.ahead for each in ours]

    def place_of(self, ticket: Ticket, side: int, limit: int) -> KeptPlace | None:
        """The place of a resting order, for another one of the same side and price."""
        if (ticket.side, ticket.limit) != (side, limit):
            return None
        return KeptPlace(ticket.queue_place, self.resting.index(ticket), ticket.left)

    def hand_over_look(self, amended: Ticket, ticket: Ticket) -> None:
        """Let an order have the second look of the one whose place it keeps."""
        for sent in self.sent:
            if isinstance(sent, SecondLook) and sent.ticket is amended:
                sent.ticket = ticket

    def resting_size(self, side: int) -> int:
        """The size of our own resting orders on a side."""
        return sum(each.left for each in self.resting if each.side == side)

    def mark(self, position: int) -> int:
        """The price at which a contract of a position could be sold."""
        return self.bid_mark if position > 0 else DOLLAR - self.ask_mark
