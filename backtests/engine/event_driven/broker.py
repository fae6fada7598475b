"""A backtrader broker over the ledger, which executes orders by the rules of `execution`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import backtrader as bt
import numpy as np

from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    MONEY,
    QUOTE_COLUMNS,
    Quotes,
    Universe,
    microseconds,
)
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.order_book import Book, CancelRequest, Ticket
from backtests.rules import execution as rules
from backtests.rules.execution import (
    JOURNAL,
    MAKER,
    TAKER,
    EntryKind,
    ExecutionModel,
    FillModel,
    Reason,
    RunOutcome,
)
from backtests.rules.ledger import BUY, SELL, Ledger, flow
from markets import fees
from markets.fees import MOST_COUNT, Rounding

# Rows converted at once: a Python list takes five times the memory of an array.
CHUNK = 65_536
PRICE_TOLERANCE = 1e-6  # price units by which the float of a price on the grid may be off


class Broker(bt.BrokerBase):
    """Walks through the quotes, matches orders with them, and keeps the journal.

    `rows` are the books with a row at the current instant, in the order of their markets.
    """

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
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
            Book(market, Feed(listing, market), universe.terms[market], universe.grids[market])
            for market, listing in enumerate(universe.listings)
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
        """The feeds that have begun and whose market is trading and was quoted lately."""
        since = self.now - self.execution.patience
        return [b.feed for b in self.books if b.tradable and b.at >= since and len(b.feed)]

    @property
    def fresh(self) -> list[Feed]:
        """The live feeds with a row at this instant."""
        return [book.feed for book in self.rows if book.tradable and len(book.feed)]

    # --- time -----------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """Step from instant to instant: settlements, books, orders; then the strategy runs."""
        for at, rows in groupby(_quote_rows(self.universe.quotes), key=itemgetter(1)):
            self.now = at
            self._settle(at)
            self.rows = [self._update_book(row, values) for row, _, values in rows]
            for book in self.rows:
                self._match_book(book)
            yield at
        self._settle(np.iinfo(np.int64).max)

    def _update_book(self, row: int, values: Sequence[Any]) -> Book:
        book: Book = self.books[values[1]]
        book.update(row, values, self._assumed)
        book.feed.append(self.now, book, values[8])
        return book

    def _settle(self, now: int) -> None:
        while self._settlements and self._settlements[0][0] <= now:
            at, market, value = self._settlements.popleft()
            book = self.books[market]
            book.row = MISSING
            self._end_all(book, at)
            book.ended, book.tradable = True, False
            position = self.ledger.position(market)
            self.ledger.settle(market, value)
            if position:
                side = BUY if position > 0 else SELL
                order_fields = (MISSING, side, abs(position), value)
                self._write_entry(at, EntryKind.SETTLED, book, order_fields)

    def _end_all(self, book: Book, at: int) -> None:
        for ticket in list(book.resting):
            self._end(book, at, ticket, Reason.ENDED)
        for sent in book.sent:
            if isinstance(sent, Ticket):
                self._end(book, at, sent, Reason.ENDED)
        book.sent.clear()

    # --- matching -------------------------------------------------------------------------------

    def _match_book(self, book: Book) -> None:
        # An exchange fills the best price first, then the oldest order.
        for ticket in sorted(book.resting, key=lambda each: -each.side * each.limit):
            if book.tradable:
                self._fill_rest(book, ticket)
            else:
                self._end(book, book.at, ticket, Reason.CLOSED)
        self._process_arrivals(book)

    def _process_arrivals(self, book: Book) -> None:
        while book.sent and self._has_arrived(book, book.sent[0]):
            sent = book.sent.popleft()
            if isinstance(sent, Ticket):
                self._arrive(book, sent)
            elif sent.ticket in book.resting:
                self._end(book, book.at, sent.ticket, Reason.ASKED)

    def _has_arrived(self, book: Book, sent: Ticket | CancelRequest) -> bool:
        snapshots, latency = self.execution.latency_snapshots, self.execution.latency
        return book.books - sent.sent_books >= snapshots and book.at - sent.sent_at >= latency

    def _arrive(self, book: Book, ticket: Ticket) -> None:
        waited = book.at - ticket.sent_at - self.execution.latency
        if waited > self.execution.patience:
            self._end(book, book.at, ticket, Reason.EXPIRED)
            return
        if ticket.replaces in book.resting:
            self._end(book, book.at, ticket.replaces, Reason.REPLACED)
        if ticket.filled_meanwhile and not self._amend(book, ticket):
            return
        need = self.cost_bound(book, ticket.side, ticket.left, ticket.limit)
        reason = self._refusal(book, ticket, need)
        if reason:
            ticket.refused = True
            self._end(book, book.at, ticket, reason, kind=EntryKind.REFUSED)
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
        """Subtract what the replaced order filled while this one was in flight; return the rest."""
        filled = min(ticket.filled_meanwhile, ticket.left)
        order_fields = (ticket.number, ticket.side, filled, ticket.limit)
        self._write_entry(book.at, EntryKind.CANCELLED, book, order_fields, reason=Reason.MEANWHILE)
        ticket.left -= filled
        return ticket.left

    def _refusal(self, book: Book, ticket: Ticket, need: int) -> Reason:
        """The reason for which the exchange would refuse an order that arrives."""
        # The orders that rest on its side may be filled as well.
        position = self.ledger.position(book.market) + ticket.side * book.resting_size(ticket.side)
        checks = (
            (Reason.NOT_TRADING, not book.tradable),
            (Reason.OUT_OF_RANGE, not 0 < ticket.limit < DOLLAR),
            (Reason.OFF_GRID, not ticket.price_is_exact or not book.on_grid(ticket.limit)),
            (Reason.TOO_LARGE, ticket.left > MOST_COUNT),
            (
                Reason.POSITION_LIMIT,
                rules.exceeds_limit(self.execution.limit, position, ticket.side, ticket.left),
            ),
            (Reason.FUNDS, need > self.ledger.cash - self.held_back),
            (
                Reason.WOULD_CROSS,
                ticket.post_only and rules.crosses(ticket.side, ticket.limit, book.bid, book.ask),
            ),
        )
        return next((reason for reason, applies in checks if applies), Reason.NONE)

    def cost_bound(self, book: Book, side: int, count: int, limit: int) -> int:
        """The most cash that an order can cost."""
        if count > MOST_COUNT or not 0 < limit < DOLLAR:
            return 0  # the order is refused for this
        terms, era = book.terms_at(book.at), self._era(book.at)
        fee = fees.bound(count, limit, terms.taker_numerator, terms.taker_denominator, era.grid)
        return max(0, fee - flow(self.ledger.position(book.market), side, count, limit))

    def _era(self, at: int) -> Rounding:
        return next(era for since, era in reversed(self._eras) if since <= at)

    def _take(self, book: Book, ticket: Ticket) -> None:
        count = min(ticket.left, book.offered(ticket.side))
        if count:
            price = book.ask if ticket.side > 0 else book.bid
            self._fill(book, ticket, count, price=price, liquidity=TAKER)
            book.take(ticket.side, count)

    def _rest(self, book: Book, ticket: Ticket) -> None:
        """Join the queue, and hold back the cash that the order may cost."""
        best, shown = (book.bid, book.bid_shown) if ticket.side > 0 else (book.ask, book.ask_shown)
        ticket.ahead = rules.queue_ahead(ticket.side, ticket.limit, best, shown)
        if ticket.ahead >= 0:
            # The record does not know of our own orders.
            ticket.ahead += book.resting_size(ticket.side, ticket.limit)
        book.resting.append(ticket)
        self._reserve(book, ticket)
        self._report(ticket, bt.Order.Accepted)

    def _reserve(self, book: Book, ticket: Ticket) -> None:
        self.held_back -= ticket.reserved
        ticket.reserved = (
            self.cost_bound(book, ticket.side, ticket.left, ticket.limit) if ticket.left else 0
        )
        self.held_back += ticket.reserved

    def _fill_rest(self, book: Book, ticket: Ticket) -> None:
        """Fill a resting order as far as the newest book allows."""
        side, limit = ticket.side, ticket.limit
        offered = book.offered(side)
        opposite = book.ask if side > 0 else book.bid
        need = self.cost_bound(book, side, ticket.left, limit)
        if need > self.ledger.cash - self.held_back + ticket.reserved:
            self._end(book, book.at, ticket, Reason.FUNDS)
            return
        count = rules.resting_fill(
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
        book.use_up(side, limit, count)
        self._fill(book, ticket, count, price=limit, liquidity=MAKER)
        self._reserve(book, ticket)
        for sent in book.sent:
            if isinstance(sent, Ticket) and sent.replaces is ticket and sent.side == side:
                sent.filled_meanwhile += count
        if not ticket.left:
            book.resting.remove(ticket)

    def _fill(self, book: Book, ticket: Ticket, count: int, *, price: int, liquidity: int) -> None:
        fee = self._charge(book, ticket, count, price, liquidity)
        held = self.ledger.position(book.market)
        realised = self.ledger.fill(book.market, ticket.side, count, price=price, fee=fee)
        ticket.left -= count
        order_fields = (ticket.number, ticket.side, count, price)
        self._write_entry(book.at, EntryKind.FILL, book, order_fields, fee=fee, liquidity=liquidity)
        if ticket.order is not None:
            closing = min(count, abs(held)) if held * ticket.side < 0 else 0
            self._execute(ticket, count, closing, price=price, fee=fee, realised=realised)

    def _charge(self, book: Book, ticket: Ticket, count: int, price: int, liquidity: int) -> int:
        terms, era = book.terms_at(book.at), self._era(book.at)
        numerator, denominator = terms[1:3] if liquidity == TAKER else terms[3:5]
        moved = flow(self.ledger.position(book.market), ticket.side, count, price)
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
        kind: EntryKind = EntryKind.CANCELLED,
    ) -> None:
        if ticket in book.resting:
            book.resting.remove(ticket)
            self.held_back -= ticket.reserved
        order_fields = (ticket.number, ticket.side, ticket.left, ticket.limit)
        self._write_entry(at, kind, book, order_fields, reason=reason)
        ticket.left = 0
        ticket.reason = reason
        if ticket.order is not None:
            ticket.order.addinfo(reason=rules.REASONS[reason])
        refused = bt.Order.Margin if reason == Reason.FUNDS else bt.Order.Rejected
        self._report(ticket, refused if kind == EntryKind.REFUSED else bt.Order.Canceled)

    def _write_entry(
        self,
        at: int,
        kind: EntryKind,
        book: Book,
        order_fields: tuple[int, int, int, int],
        *,
        fee: int = 0,
        liquidity: int = TAKER,
        reason: Reason = Reason.NONE,
    ) -> None:
        held = self.ledger.position(book.market)
        tail = (fee, liquidity, int(reason), book.row, self.ledger.cash, held)
        self.journal.append((at, int(kind), book.market, *order_fields, *tail))

    @property
    def outcome(self) -> RunOutcome:
        journal = np.array(self.journal, np.int64).reshape(-1, len(JOURNAL))
        held = {m: h.position for m, h in sorted(self.ledger.holdings.items())}
        return RunOutcome(journal, self.ledger.cash, held)

    # --- orders ---------------------------------------------------------------------------------

    def send_order(
        self,
        book: Book,
        side: int,
        count: int,
        *,
        limit: int,
        rests: bool = False,
        post_only: bool = False,
        replaces: Ticket | None = None,
        price_is_exact: bool = True,
        order: Any = None,
    ) -> Ticket:
        """Send an order. Without `rests` it is immediate or cancel."""
        ticket = Ticket(
            number=self.orders,
            side=side,
            left=count,
            limit=limit,
            rests=rests,
            post_only=post_only,
            replaces=replaces,
            sent_at=self.now,
            sent_books=book.books,
            price_is_exact=price_is_exact,
            order=order,
        )
        self.orders += 1
        self._write_entry(self.now, EntryKind.ORDER, book, (ticket.number, side, count, limit))
        self._report(ticket, bt.Order.Submitted)
        self._dispatch(book, ticket)
        return ticket

    def request_cancel(self, book: Book, ticket: Ticket) -> None:
        """Send a cancellation, which has the latency of an order."""
        self._dispatch(book, CancelRequest(ticket, self.now, book.books))

    def _dispatch(self, book: Book, sent: Ticket | CancelRequest) -> None:
        book.sent.append(sent)
        if not self.execution.latency_snapshots and not self.execution.latency:
            self._process_arrivals(book)

    # --- backtrader's interface -----------------------------------------------------------------

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
        order_class: type[Any],
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
        """Send an order of backtrader's; a market order takes the best price now, or nothing."""
        if exectype not in (None, bt.Order.Market, bt.Order.Limit):
            raise ValueError("only limit orders exist on Kalshi: use exectype Market or Limit")
        if tif not in ("gtc", "ioc"):
            raise ValueError(f"tif must be 'gtc' or 'ioc', not {tif!r}")
        book, side = self.books[data.market], BUY if order_class is bt.order.BuyOrder else SELL
        rests = exectype == bt.Order.Limit and tif == "gtc"
        given = price if exectype == bt.Order.Limit else None
        limit = (book.ask if side > 0 else book.bid) if given is None else round(given * DOLLAR)
        order = order_class(
            owner=owner, data=data, size=size, price=limit / DOLLAR, exectype=exectype
        )
        order.addcomminfo(self.getcommissioninfo(data))
        ticket = self.send_order(
            book,
            side,
            round(size * CONTRACT),
            limit=limit,
            rests=rests,
            post_only=post_only,
            price_is_exact=given is None or abs(given * DOLLAR - limit) < PRICE_TOLERANCE,
            order=order,
        )
        order.ticket = ticket
        return order

    def cancel(self, order: Any) -> None:
        self.request_cancel(self.books[order.data.market], order.ticket)

    def _execute(
        self, ticket: Ticket, count: int, closing: int, *, price: int, fee: int, realised: int
    ) -> None:
        """Report a fill to backtrader, in its floats."""
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
        """Cash and positions in dollars, marked at the side they could be sold to."""
        worth = self.ledger.worth(lambda market, position: self.books[market].mark(position))
        return worth / MONEY

    def getposition(self, data: Feed) -> bt.Position:
        """Contracts, positive for YES and negative for NO, with the cost of one as their price."""
        holding = self.ledger.holdings.get(data.market)
        if holding is None:
            return bt.Position()
        return bt.Position(
            holding.position / CONTRACT, holding.cost / abs(holding.position) / DOLLAR
        )

    def get_notification(self) -> Any:
        return self._notifications.popleft() if self._notifications else None


def _quote_rows(quotes: Quotes) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Each row as its number, its instant and its values."""
    for first in range(0, len(quotes), CHUNK):
        columns = [getattr(quotes, name)[first : first + CHUNK].tolist() for name in QUOTE_COLUMNS]
        for row, values in enumerate(zip(*columns, strict=True), first):
            yield row, values[0], values
