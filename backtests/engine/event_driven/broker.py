"""backtrader's broker over the ledger: orders meet books by the rules of `execution`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import backtrader as bt
import numpy as np

from backtests.data.universe import CONTRACT, DOLLAR, MISSING, MONEY, Quotes, Universe, microseconds
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.order_book import NO_ROW, Book, Cancel, Ticket
from backtests.rules import execution as rules
from backtests.rules.execution import JOURNAL, MAKER, TAKER, Execution, Fills, Kind, Outcome, Reason
from backtests.rules.ledger import BUY, SELL, Ledger, flow
from markets import fees
from markets.fees import MOST_COUNT, Rounding

# Rows read at once: a Python list takes five times the room of an array.
CHUNK = 65_536
FINEST = 1e-6  # of a price unit: what a float of a price on the grid may be off by
COLUMNS = (
    "at",
    "market",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "last",
    "volume",
    "close_at",
    "tradable",
)


class Broker(bt.BrokerBase):
    """Walks through the quotes, lets orders meet them, and keeps the journal.

    `rows` are the books that were seen at the present instant, in the order of their markets.
    """

    def __init__(
        self, universe: Universe, execution: Execution, *, fills: Fills, cash: int
    ) -> None:
        super().__init__()
        self.universe = universe
        self.execution = execution
        self.fills = fills
        self.ledger = Ledger(cash)
        self.startingcash = cash / MONEY  # as backtrader calls it
        self.held_back = 0
        self.now = 0
        self.journal: list[tuple[int, ...]] = []
        self.rows: list[Book] = []
        self.orders = 0
        self.books = [
            Book(place, Feed(listing, place), universe.terms[place], universe.grids[place])
            for place, listing in enumerate(universe.listings)
        ]
        self._assumed = execution.assumed
        self._notifications: deque[Any] = deque()
        self._eras = [
            (microseconds(era.since), era)
            for era in fees.roundings(broker=execution.through_broker)
        ]
        ends = [(s.paid_at, m, s.value) for m, s in enumerate(universe.settlements) if s]
        self._settlements = deque(sorted(ends))

    @property
    def live(self) -> list[Feed]:
        """Feeds that have begun, whose market trades and was seen lately."""
        since = self.now - self.execution.patience
        return [b.feed for b in self.books if b.tradable and b.at >= since and len(b.feed)]

    @property
    def fresh(self) -> list[Feed]:
        """Those of them that were seen at this very instant."""
        return [book.feed for book in self.rows if book.tradable and len(book.feed)]

    # --- time -----------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """Go on from instant to instant: settlements, books, orders; the strategy comes next."""
        for at, rows in groupby(_rows(self.universe.quotes), key=itemgetter(1)):
            self.now = at
            self._settle(at)
            self.rows = [self._see(row, values) for row, _, values in rows]
            for book in self.rows:
                self._meet(book)
            yield at
        self._settle(np.iinfo(np.int64).max)

    def _see(self, row: int, values: Sequence[Any]) -> Book:
        book: Book = self.books[values[1]]
        book.see(row, values, self._assumed)
        book.feed.append(self.now, book, values[8])
        return book

    def _settle(self, now: int) -> None:
        while self._settlements and self._settlements[0][0] <= now:
            at, place, value = self._settlements.popleft()
            book = self.books[place]
            book.row = NO_ROW
            self._end_all(book, at)
            book.ended, book.tradable = True, False
            position = self.ledger.position(place)
            self.ledger.settle(place, value)
            if position:
                side = BUY if position > 0 else SELL
                what = (MISSING, side, abs(position), value)
                self._tell(at, Kind.SETTLED, book, what)

    def _end_all(self, book: Book, at: int) -> None:
        for ticket in list(book.resting):
            self._end(book, at, ticket, Reason.ENDED)
        for sent in book.sent:
            if isinstance(sent, Ticket):
                self._end(book, at, sent, Reason.ENDED)
        book.sent.clear()

    # --- orders meet a book ---------------------------------------------------------------------

    def _meet(self, book: Book) -> None:
        # As an exchange fills them: the best price first, then the oldest.
        for ticket in sorted(book.resting, key=lambda each: -each.side * each.limit):
            if book.tradable:
                self._fill_rest(book, ticket)
            else:
                self._end(book, book.at, ticket, Reason.CLOSED)
        self._arrivals(book)

    def _arrivals(self, book: Book) -> None:
        while book.sent and self._has_arrived(book, book.sent[0]):
            sent = book.sent.popleft()
            if isinstance(sent, Ticket):
                self._arrive(book, sent)
            elif sent.ticket in book.resting:
                self._end(book, book.at, sent.ticket, Reason.ASKED)

    def _has_arrived(self, book: Book, sent: Ticket | Cancel) -> bool:
        snapshots, latency = self.execution.latency_snapshots, self.execution.latency
        return book.seen - sent.sent_seen >= snapshots and book.at - sent.sent_at >= latency

    def _arrive(self, book: Book, ticket: Ticket) -> None:
        waited = book.at - ticket.sent_at - self.execution.latency
        if waited > self.execution.patience:
            self._end(book, book.at, ticket, Reason.EXPIRED)
            return
        if ticket.replaces in book.resting:
            self._end(book, book.at, ticket.replaces, Reason.REPLACED)
        if ticket.filled_meanwhile and not self._amend(book, ticket):
            return
        need = self.need(book, ticket.side, ticket.left, ticket.limit)
        reason = self._objection(book, ticket, need)
        if reason:
            ticket.refused = True
            self._end(book, book.at, ticket, reason, kind=Kind.REFUSED)
            return
        if rules.crosses(ticket.side, ticket.limit, book.bid, book.ask):
            self._take(book, ticket)
        if not ticket.left:
            return
        if ticket.rests:
            self._rest(book, ticket)
        else:
            self._end(book, book.at, ticket, Reason.UNFILLED)

    def _amend(self, book: Book, ticket: Ticket) -> int:
        """Take off what the replaced order filled while this one was on its way; what is left."""
        filled = min(ticket.filled_meanwhile, ticket.left)
        what = (ticket.number, ticket.side, filled, ticket.limit)
        self._tell(book.at, Kind.CANCELLED, book, what, reason=Reason.MEANWHILE)
        ticket.left -= filled
        return ticket.left

    def _objection(self, book: Book, ticket: Ticket, need: int) -> Reason:
        """Why the exchange would refuse an order that arrives."""
        # What rests on its side may be filled as well.
        position = self.ledger.position(book.place) + ticket.side * book.rests(ticket.side)
        checks = (
            (Reason.NOT_TRADING, not book.tradable),
            (Reason.OUT_OF_RANGE, not 0 < ticket.limit < DOLLAR),
            (Reason.OFF_GRID, not ticket.fits or not book.fits(ticket.limit)),
            (Reason.TOO_LARGE, ticket.left > MOST_COUNT),
            (
                Reason.POSITION_LIMIT,
                rules.exceeds(self.execution.limit, position, ticket.side, ticket.left),
            ),
            (Reason.FUNDS, need > self.ledger.cash - self.held_back),
            (
                Reason.WOULD_CROSS,
                ticket.post_only and rules.crosses(ticket.side, ticket.limit, book.bid, book.ask),
            ),
        )
        return next((reason for reason, applies in checks if applies), Reason.NONE)

    def need(self, book: Book, side: int, count: int, limit: int) -> int:
        """The cash that an order can cost at the most."""
        if count > MOST_COUNT or not 0 < limit < DOLLAR:
            return 0  # refused for that
        terms, era = book.terms_at(book.at), self._era(book.at)
        fee = fees.bound(count, limit, terms.taker_numerator, terms.taker_denominator, era.grid)
        return max(0, fee - flow(self.ledger.position(book.place), side, count, limit))

    def _era(self, at: int) -> Rounding:
        return next(era for since, era in reversed(self._eras) if since <= at)

    def _take(self, book: Book, ticket: Ticket) -> None:
        count = min(ticket.left, book.offered(ticket.side))
        if count:
            price = book.ask if ticket.side > 0 else book.bid
            self._fill(book, ticket, count, price=price, liquidity=TAKER)
            book.take(ticket.side, count)

    def _rest(self, book: Book, ticket: Ticket) -> None:
        """Join the queue; the cash that the order may cost is held back."""
        best, shown = (book.bid, book.bid_shown) if ticket.side > 0 else (book.ask, book.ask_shown)
        ticket.ahead = rules.ahead(ticket.side, ticket.limit, best, shown)
        if ticket.ahead >= 0:
            # The record never knew of our own.
            ticket.ahead += book.rests(ticket.side, ticket.limit)
        book.resting.append(ticket)
        self._reserve(book, ticket)
        self._report(ticket, bt.Order.Accepted)

    def _reserve(self, book: Book, ticket: Ticket) -> None:
        self.held_back -= ticket.reserved
        ticket.reserved = (
            self.need(book, ticket.side, ticket.left, ticket.limit) if ticket.left else 0
        )
        self.held_back += ticket.reserved

    def _fill_rest(self, book: Book, ticket: Ticket) -> None:
        """What the newest book gives to an order that rests."""
        side, limit = ticket.side, ticket.limit
        offered = book.offered(side)
        opposite = book.ask if side > 0 else book.bid
        need = self.need(book, side, ticket.left, limit)
        if need > self.ledger.cash - self.held_back + ticket.reserved:
            self._end(book, book.at, ticket, Reason.FUNDS)
            return
        count = rules.made(
            self.fills,
            side,
            ticket.left,
            limit,
            opposite,
            offered,
            book.last,
            book.traded,
            ticket.ahead,
        )
        if not count:
            return
        book.give(side, limit, count)
        self._fill(book, ticket, count, price=limit, liquidity=MAKER)
        self._reserve(book, ticket)
        for sent in book.sent:
            if isinstance(sent, Ticket) and sent.replaces is ticket and sent.side == side:
                sent.filled_meanwhile += count
        if not ticket.left:
            book.resting.remove(ticket)

    def _fill(self, book: Book, ticket: Ticket, count: int, *, price: int, liquidity: int) -> None:
        fee = self._charge(book, ticket, count, price, liquidity)
        held = self.ledger.position(book.place)
        realised = self.ledger.fill(book.place, ticket.side, count, price=price, fee=fee)
        ticket.left -= count
        what = (ticket.number, ticket.side, count, price)
        self._tell(book.at, Kind.FILL, book, what, fee=fee, liquidity=liquidity)
        if ticket.order is not None:
            closing = min(count, abs(held)) if held * ticket.side < 0 else 0
            self._execute(ticket, count, closing, price=price, fee=fee, realised=realised)

    def _charge(self, book: Book, ticket: Ticket, count: int, price: int, liquidity: int) -> int:
        terms, era = book.terms_at(book.at), self._era(book.at)
        numerator, denominator = terms[1:3] if liquidity == TAKER else terms[3:5]
        moved = flow(self.ledger.position(book.place), ticket.side, count, price)
        fee, ticket.accumulated = fees.charge(
            count,
            price,
            moved,
            numerator,
            denominator,
            era.step,
            era.grid,
            era.rebate,
            ticket.accumulated,
        )
        return fee

    def _end(
        self,
        book: Book,
        at: int,
        ticket: Ticket,
        reason: Reason,
        *,
        kind: Kind = Kind.CANCELLED,
    ) -> None:
        if ticket in book.resting:
            book.resting.remove(ticket)
            self.held_back -= ticket.reserved
        what = (ticket.number, ticket.side, ticket.left, ticket.limit)
        self._tell(at, kind, book, what, reason=reason)
        ticket.left = 0
        ticket.reason = reason
        if ticket.order is not None:
            ticket.order.addinfo(reason=rules.REASONS[reason])
        refused = bt.Order.Margin if reason == Reason.FUNDS else bt.Order.Rejected
        self._report(ticket, refused if kind == Kind.REFUSED else bt.Order.Canceled)

    def _tell(
        self,
        at: int,
        kind: Kind,
        book: Book,
        what: tuple[int, int, int, int],
        *,
        fee: int = 0,
        liquidity: int = TAKER,
        reason: Reason = Reason.NONE,
    ) -> None:
        held = self.ledger.position(book.place)
        tail = (fee, liquidity, int(reason), book.row, self.ledger.cash, held)
        self.journal.append((at, int(kind), book.place, *what, *tail))

    @property
    def outcome(self) -> Outcome:
        journal = np.array(self.journal, np.int64).reshape(-1, len(JOURNAL))
        held = {m: h.position for m, h in sorted(self.ledger.holdings.items())}
        return Outcome(journal, self.ledger.cash, held)

    # --- what strategies ask for ------------------------------------------------------------------

    def place(
        self,
        book: Book,
        side: int,
        count: int,
        *,
        limit: int,
        rests: bool = False,
        post_only: bool = False,
        replaces: Ticket | None = None,
        fits: bool = True,
        order: Any = None,
    ) -> Ticket:
        """Put an order on its way. Without `rests` it is immediate or cancelled."""
        ticket = Ticket(
            number=self.orders,
            side=side,
            left=count,
            limit=limit,
            rests=rests,
            post_only=post_only,
            replaces=replaces,
            sent_at=self.now,
            sent_seen=book.seen,
            fits=fits,
            order=order,
        )
        self.orders += 1
        self._tell(self.now, Kind.ORDER, book, (ticket.number, side, count, limit))
        self._report(ticket, bt.Order.Submitted)
        self._dispatch(book, ticket)
        return ticket

    def take_back(self, book: Book, ticket: Ticket) -> None:
        """Ask for the end of an order; it arrives as late as an order would."""
        self._dispatch(book, Cancel(ticket, self.now, book.seen))

    def _dispatch(self, book: Book, sent: Ticket | Cancel) -> None:
        book.sent.append(sent)
        if not self.execution.latency_snapshots and not self.execution.latency:
            self._arrivals(book)

    # --- what backtrader asks of a broker ---------------------------------------------------------

    def buy(
        self, owner: Any, data: Feed, size: float, price: float | None = None, **how: Any
    ) -> Any:
        return self._send(bt.order.BuyOrder, owner, data, size, price=price, **how)

    def sell(
        self, owner: Any, data: Feed, size: float, price: float | None = None, **how: Any
    ) -> Any:
        return self._send(bt.order.SellOrder, owner, data, size, price=price, **how)

    def _send(
        self,
        made: type[Any],
        owner: Any,
        data: Feed,
        size: float,
        *,
        price: float | None,
        exectype: int | None = None,
        tif: str = "gtc",
        post_only: bool = False,
        **_: Any,
    ) -> Any:
        """An order of backtrader's; a market order is one at the best price now, or nothing."""
        if exectype not in (None, bt.Order.Market, bt.Order.Limit):
            raise ValueError("Kalshi knows limit orders only: use exectype Market or Limit")
        if tif not in ("gtc", "ioc"):
            raise ValueError(f"tif is 'gtc' or 'ioc', not {tif!r}")
        book, side = self.books[data.place], BUY if made is bt.order.BuyOrder else SELL
        rests = exectype == bt.Order.Limit and tif == "gtc"
        wished = price if exectype == bt.Order.Limit else None
        limit = (book.ask if side > 0 else book.bid) if wished is None else round(wished * DOLLAR)
        order = made(owner=owner, data=data, size=size, price=limit / DOLLAR, exectype=exectype)
        order.addcomminfo(self.getcommissioninfo(data))
        ticket = self.place(
            book,
            side,
            round(size * CONTRACT),
            limit=limit,
            rests=rests,
            post_only=post_only,
            fits=wished is None or abs(wished * DOLLAR - limit) < FINEST,
            order=order,
        )
        order.ticket = ticket
        return order

    def cancel(self, order: Any) -> None:
        self.take_back(self.books[order.data.place], order.ticket)

    def _execute(
        self, ticket: Ticket, count: int, closing: int, *, price: int, fee: int, realised: int
    ) -> None:
        """Tell backtrader of a fill, in its floats."""
        order, side = ticket.order, ticket.side / CONTRACT
        share = closing / count
        position = self.getposition(order.data)
        paid = count * price / MONEY
        order.execute(
            order.data.datetime[0],
            side * count,
            price / DOLLAR,
            side * closing,
            paid * share,
            fee / MONEY * share,
            side * (count - closing),
            paid * (1 - share),
            fee / MONEY * (1 - share),
            None,
            realised / MONEY,
            position.size,
            position.price,
        )
        self._report(ticket, bt.Order.Partial if ticket.left else bt.Order.Completed)

    def _report(self, ticket: Ticket, status: int) -> None:
        if ticket.order is not None:
            ticket.order.status = status
            self._notifications.append(ticket.order.clone())

    def getcash(self) -> float:
        return self.ledger.cash / MONEY

    def getvalue(self, datas: Any = None) -> float:
        """Cash and positions at the side that they could be sold to, in dollars."""
        worth = self.ledger.worth(lambda place, position: self.books[place].mark(position))
        return worth / MONEY

    def getposition(self, data: Feed) -> bt.Position:
        """Contracts of YES above zero, of NO below; the price is what one of them cost."""
        holding = self.ledger.holdings.get(data.place)
        if holding is None:
            return bt.Position()
        return bt.Position(
            holding.position / CONTRACT, holding.cost / abs(holding.position) / DOLLAR
        )

    def get_notification(self) -> Any:
        return self._notifications.popleft() if self._notifications else None


def _rows(quotes: Quotes) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Each row with its number and its instant."""
    for first in range(0, len(quotes), CHUNK):
        columns = [getattr(quotes, name)[first : first + CHUNK].tolist() for name in COLUMNS]
        for row, values in enumerate(zip(*columns, strict=True), first):
            yield row, values[0], values
