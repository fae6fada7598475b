"""The matching engine of a run: books, settlements and orders, by the rules of `execution`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import backtrader as bt
import numpy as np

from backtests.data.universe import (
    DOLLAR,
    MISSING,
    QUOTE_COLUMNS,
    Quotes,
    Universe,
)
from backtests.engine.event_driven.book_top import BookTop
from backtests.engine.event_driven.charges import Charges
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Arrival, Arrivals, CancelRequest, Ticket
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
from markets.fees import MOST_COUNT
from markets.observed import AFTER_ALL

# Rows converted at once: a Python list takes five times the memory of an array.
CHUNK = 65_536


class MatchingEngine:
    """Walks through a record, matches orders with its books, and keeps the journal.

    `rows` are the books with a row at the current instant, in the order of their markets.
    """

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        self.universe = universe
        self.execution = execution
        self.fills = fills
        self.ledger = Ledger(cash)
        self.observed = universe.observations()
        self.held_back = 0
        self.now = 0
        self.journal: list[tuple[int, ...]] = []
        self.rows: list[Book] = []
        self.rows_done = 0
        self.orders = 0
        self.has_band = False
        self.books = [
            Book(market, Feed(listing, market), universe.terms[market], universe.grids[market])
            for market, listing in enumerate(universe.listings)
        ]
        self._arrivals = Arrivals(execution, self.observed, universe.known_gaps())
        # Whether an order of the strategy was filled, ended or came to rest at this instant.
        self._has_news = False
        self._charges = Charges(through_broker=execution.through_broker)
        ends = [(s.paid_at, m, s.value) for m, s in enumerate(universe.settlements) if s]
        self._settlements = deque(sorted(ends))

    @property
    def outcome(self) -> RunOutcome:
        journal = np.array(self.journal, np.int64).reshape(-1, len(JOURNAL))
        held = {m: h.position for m, h in sorted(self.ledger.holdings.items())}
        return RunOutcome(journal, self.ledger.cash, held, self.has_band)

    # --- time -----------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """Step from instant to instant: settlements, books, arrivals; then the strategy runs.

        It runs at each instant that has a row or news of its orders, until the last observation;
        what is on its way then arrives without it.
        """
        for at, rows in groupby(_quote_rows(self.universe.quotes), key=itemgetter(1)):
            yield from self._between_rows(at)
            self.now = at
            self._settle(at)
            self.rows = [self._update_book(row, values) for row, _, values in rows]
            self.rows_done = self.rows[-1].top.row
            for book in self.rows:
                self._match_book(book)
            self._end_ways(at)
            yield at
        last = int(self.observed.instants.max(initial=self.now))
        yield from self._between_rows(last + 1)
        for _ in self._between_rows(AFTER_ALL):
            pass

    def _between_rows(self, until: int) -> Iterator[int]:
        """Step through the settlements and arrivals before an instant, which have no rows."""
        while (at := min(self._arrivals.next_at, self._next_settlement)) < until:
            self.now, self.rows, self._has_news = at, [], False
            self._settle(at)
            self._end_ways(at)
            if self._has_news:
                yield at

    @property
    def _next_settlement(self) -> int:
        return self._settlements[0][0] if self._settlements else AFTER_ALL

    def _update_book(self, row: int, values: Sequence[Any]) -> Book:
        book: Book = self.books[values[1]]
        book.update(row, values, self.execution.assumed)
        book.feed.append(self.now, book.top, values[8])
        return book

    def _settle(self, now: int) -> None:
        while self._next_settlement <= now:
            _, market, value = self._settlements.popleft()
            book = self.books[market]
            for ticket in (*book.resting, *book.sent):
                if isinstance(ticket, Ticket):
                    self._end(book, ticket, Reason.ENDED, row=MISSING)
            book.sent.clear()
            book.ended, book.tradable = True, False
            position = self.ledger.position(market)
            self.ledger.settle(market, value)
            if position:
                order_fields = (MISSING, BUY if position > 0 else SELL, abs(position), value)
                self._write_entry(EntryKind.SETTLED, book, order_fields, row=MISSING)

    # --- orders sent ----------------------------------------------------------------------------

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
            arrives=self.now + self.execution.latency,
            traded_then=book.tradable,
            price_is_exact=price_is_exact,
            order=order,
        )
        self.orders += 1
        self._write_entry(EntryKind.ORDER, book, (ticket.number, side, count, limit))
        self._report(ticket, bt.Order.Submitted)
        book.sent.append(ticket)
        self._arrivals.add_order(ticket, book.market, sent_at=self.now)
        return ticket

    def request_cancel(self, book: Book, ticket: Ticket) -> None:
        """Send a cancellation, which has the latency of an order."""
        request = CancelRequest(ticket, self.now + self.execution.latency)
        book.sent.append(request)
        self._arrivals.add_cancel(request, book.market)

    # --- arrivals -------------------------------------------------------------------------------

    def _end_ways(self, now: int) -> None:
        """Let everything arrive that arrives by now."""
        while self._arrivals.next_at <= now:
            arrival = self._arrivals.pop()
            book = self.books[arrival.market]
            if arrival.sent in book.sent:  # it did not end with its market
                book.sent.remove(arrival.sent)
                self._end_way(book, arrival)

    def _end_way(self, book: Book, arrival: Arrival) -> None:
        sent = arrival.sent
        if isinstance(sent, CancelRequest):
            self._take_back(book, sent.ticket)
        elif arrival.reason:
            self._end(book, sent, arrival.reason)
        else:
            self._meet(book, sent)

    def _take_back(self, book: Book, ticket: Ticket) -> None:
        """Cancel an order, except for what it takes: it did that as it arrived."""
        if ticket in book.resting:
            self._end(book, ticket, Reason.ASKED)
        elif ticket in book.sent and ticket.post_only:
            book.sent.remove(ticket)
            self._end(book, ticket, Reason.ASKED)
        elif ticket in book.sent:
            ticket.taken_back = ticket.rests

    def _meet(self, book: Book, ticket: Ticket) -> None:
        """Let an order meet its observation: it is refused, trades, and may join the queue."""
        if ticket.replaces in book.resting:
            self._end(book, ticket.replaces, Reason.REPLACED)
        if ticket.filled_meanwhile and not self._amend(book, ticket):
            return
        if reason := self._refusal(book, ticket):
            self._refuse(book, ticket, reason)
        elif ticket.post_only:
            self._join(book, ticket)
        else:
            self._take(book, ticket)

    def _amend(self, book: Book, ticket: Ticket) -> int:
        """Subtract what the replaced order filled while this one was in flight; return the rest."""
        filled = min(ticket.filled_meanwhile, ticket.left)
        order_fields = (ticket.number, ticket.side, filled, ticket.limit)
        self._write_entry(EntryKind.CANCELLED, book, order_fields, reason=Reason.MEANWHILE)
        ticket.left -= filled
        return ticket.left

    def _refusal(self, book: Book, ticket: Ticket) -> Reason:
        """The reason for which the exchange would refuse an order that arrives."""
        side, limit, arrives = ticket.side, ticket.limit, ticket.arrives
        # The orders that rest on its side may be filled as well.
        position = self.ledger.position(book.market) + side * book.resting_size(side)
        need = self.cost_bound(book, side, ticket.left, limit, at=arrives)
        checks = (
            (Reason.NOT_TRADING, not ticket.traded_then),
            (Reason.OUT_OF_RANGE, not 0 < limit < DOLLAR),
            (Reason.OFF_GRID, not ticket.price_is_exact or not book.on_grid(limit, arrives)),
            (Reason.TOO_LARGE, ticket.left > MOST_COUNT),
            (
                Reason.POSITION_LIMIT,
                rules.exceeds_limit(self.execution.limit, position, side, ticket.left),
            ),
            (Reason.FUNDS, need > self.ledger.cash - self.held_back),
        )
        return next((reason for reason, applies in checks if applies), Reason.NONE)

    def _refuse(self, book: Book, ticket: Ticket, reason: Reason) -> None:
        ticket.refused = True
        self._end(book, ticket, reason, kind=EntryKind.REFUSED)

    def _take(self, book: Book, ticket: Ticket) -> None:
        """Take what the book that it meets offers; the rest waits or ends."""
        top, count = self._book_met(book, ticket)
        if count:
            price = top.price(ticket.side)
            self._fill(
                book, ticket, count, price=price, liquidity=TAKER, at=ticket.arrives, row=top.row
            )
            book.take(top, ticket.side, count)
        if not ticket.left:
            return
        if ticket.stopped:
            self._end(book, ticket, Reason.UNSEEN, row=top.row)
        elif ticket.taken_back:
            self._end(book, ticket, Reason.ASKED, row=top.row)
        elif ticket.rests:
            self._rest(book, ticket)
        else:
            self._end(book, ticket, Reason.UNFILLED, row=top.row)

    def _book_met(self, book: Book, ticket: Ticket) -> tuple[BookTop, int]:
        """The book that an order meets under this fill model, and the part that it fills."""
        side, left, limit = ticket.side, ticket.left, ticket.limit
        later, earlier = book.top, ticket.earlier or book.top
        before = earlier.fills(side, left, limit)
        # Where trading ended first, there is no later book to meet.
        now = 0 if ticket.stopped else later.fills(side, left, limit)
        price_before, price = earlier.price(side), later.price(side)
        if rules.differ(before, price_before, now, price):
            self.has_band = True
            if rules.meets_earlier(self.fills, side, before, price_before, now, price):
                return earlier, before
        return later, now

    def _join(self, book: Book, ticket: Ticket) -> None:
        """Join the queue, unless the order would trade at once or trading ended first."""
        before = (ticket.earlier or book.top).crosses(ticket.side, ticket.limit)
        now = book.top.crosses(ticket.side, ticket.limit)
        if ticket.stopped:
            self._end(book, ticket, Reason.UNSEEN)
        elif rules.is_refused_post_only(self.fills, before, now):
            self.has_band |= before != now
            self._refuse(book, ticket, Reason.WOULD_CROSS)
        elif ticket.rests:
            self._rest(book, ticket)
        else:
            self._end(book, ticket, Reason.UNFILLED)

    # --- resting orders -------------------------------------------------------------------------

    def _rest(self, book: Book, ticket: Ticket) -> None:
        """Join the queue, and hold back the cash that the order may cost."""
        side, limit, top = ticket.side, ticket.limit, book.top
        best, shown = (top.bid, top.bid_shown) if side > 0 else (top.ask, top.ask_shown)
        ticket.ahead = rules.queue_ahead(side, limit, best, shown)
        if ticket.ahead >= 0:
            # The record does not know of our own orders.
            ticket.ahead += book.resting_size(side, limit)
        book.resting.append(ticket)
        self.has_band = True
        self._reserve(book, ticket, at=ticket.arrives)
        self._report(ticket, bt.Order.Accepted)

    def _reserve(self, book: Book, ticket: Ticket, *, at: int) -> None:
        self.held_back -= ticket.reserved
        side, left = ticket.side, ticket.left
        ticket.reserved = self.cost_bound(book, side, left, ticket.limit, at=at) if left else 0
        self.held_back += ticket.reserved

    def _match_book(self, book: Book) -> None:
        # An exchange fills the best price first, then the oldest order.
        for ticket in sorted(book.resting, key=lambda each: -each.side * each.limit):
            if book.tradable:
                self._fill_rest(book, ticket)
            else:
                self._end(book, ticket, Reason.CLOSED)

    def _fill_rest(self, book: Book, ticket: Ticket) -> None:
        """Fill a resting order as far as the newest book allows."""
        side, limit, top = ticket.side, ticket.limit, book.top
        need = self.cost_bound(book, side, ticket.left, limit, at=self.now)
        if need > self.ledger.cash - self.held_back + ticket.reserved:
            self._end(book, ticket, Reason.FUNDS)
            return
        count = rules.resting_fill(
            self.fills,
            side,
            ticket.left,
            limit,
            top.price(side),
            top.offered(side),
            book.last,
            book.traded,
            ticket.ahead,
        )
        if not count:
            return
        book.use_up(side, limit, count)
        self._fill(book, ticket, count, price=limit, liquidity=MAKER, at=self.now, row=top.row)
        self._reserve(book, ticket, at=self.now)
        for sent in book.sent:
            if isinstance(sent, Ticket) and sent.replaces is ticket and sent.side == side:
                sent.filled_meanwhile += count
        if not ticket.left:
            book.resting.remove(ticket)

    # --- money ----------------------------------------------------------------------------------

    def cost_bound(self, book: Book, side: int, count: int, limit: int, *, at: int) -> int:
        """The most cash that an order can cost, at the fees of an instant."""
        if count > MOST_COUNT or not 0 < limit < DOLLAR:
            return 0  # the order is refused for this
        fee = self._charges.most(book, count, limit, at=at)
        return max(0, fee - flow(self.ledger.position(book.market), side, count, limit))

    def _fill(
        self,
        book: Book,
        ticket: Ticket,
        count: int,
        *,
        price: int,
        liquidity: int,
        at: int,
        row: int,
    ) -> None:
        """Book a fill, charged at the fees of an instant."""
        held = self.ledger.position(book.market)
        filled = count, price, flow(held, ticket.side, count, price)
        fee = self._charges.of_fill(book, ticket, filled, liquidity=liquidity, at=at)
        realised = self.ledger.fill(book.market, ticket.side, count, price=price, fee=fee)
        ticket.left -= count
        self._write_entry(
            EntryKind.FILL,
            book,
            (ticket.number, ticket.side, count, price),
            fee=fee,
            liquidity=liquidity,
            row=row,
        )
        closing = min(count, abs(held)) if held * ticket.side < 0 else 0
        self._execute(ticket, count, closing, price=price, fee=fee, realised=realised)

    def _end(
        self,
        book: Book,
        ticket: Ticket,
        reason: Reason,
        *,
        kind: EntryKind = EntryKind.CANCELLED,
        row: int | None = None,
    ) -> None:
        if ticket in book.resting:
            book.resting.remove(ticket)
            self.held_back -= ticket.reserved
        order_fields = (ticket.number, ticket.side, ticket.left, ticket.limit)
        self._write_entry(kind, book, order_fields, reason=reason, row=row)
        ticket.left = 0
        ticket.reason = reason
        refused = bt.Order.Margin if reason == Reason.FUNDS else bt.Order.Rejected
        self._report(ticket, refused if kind == EntryKind.REFUSED else bt.Order.Canceled)

    def _write_entry(
        self,
        kind: EntryKind,
        book: Book,
        order_fields: tuple[int, int, int, int],
        *,
        fee: int = 0,
        liquidity: int = TAKER,
        reason: Reason = Reason.NONE,
        row: int | None = None,
    ) -> None:
        held, row = self.ledger.position(book.market), book.top.row if row is None else row
        tail = (fee, liquidity, int(reason), row, self.ledger.cash, held)
        self.journal.append((self.now, int(kind), book.market, *order_fields, *tail))

    # --- reports to the strategy ----------------------------------------------------------------

    def _report(self, ticket: Ticket, status: int) -> None:
        """Report a change of an order."""
        self._has_news |= status != bt.Order.Submitted

    def _execute(
        self, ticket: Ticket, count: int, closing: int, *, price: int, fee: int, realised: int
    ) -> None:
        """Report a fill, of which `closing` closed a position."""
        self._has_news = True


def _quote_rows(quotes: Quotes) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Each row as its number, its instant and its values."""
    for first in range(0, len(quotes), CHUNK):
        columns = [getattr(quotes, name)[first : first + CHUNK].tolist() for name in QUOTE_COLUMNS]
        for row, values in enumerate(zip(*columns, strict=True), first):
            yield row, values[0], values
