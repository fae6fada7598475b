"""The matching engine of a run: books, settlements and orders, by the rules of `execution`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import backtrader as bt

from backtests.data.universe import (
    DOLLAR,
    Universe,
)
from backtests.engine.event_driven.book_top import BookTop
from backtests.engine.event_driven.feed import quote_rows
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import (
    REFUSED_AT_ONCE,
    AmendRequest,
    Arrivals,
    CancelRequest,
    Expiration,
    SecondLook,
    SentOut,
    Ticket,
)
from backtests.engine.event_driven.settlements import Settlements
from backtests.rules import execution as rules
from backtests.rules.execution import (
    TAKER,
    EntryKind,
    ExecutionModel,
    FillModel,
    Reason,
    SelfTradePrevention,
)
from markets.fees import MOST_COUNT
from markets.observed import AFTER_ALL


class MatchingEngine(Settlements):
    """Walks through a record, matches orders with its books, and keeps the journal.

    `rows` are the books with a row at the current instant, in the order of their markets.
    """

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        super().__init__(universe, execution, fills=fills, cash=cash)
        self.rows: list[Book] = []
        self.rows_done = 0
        self.orders = 0
        self._last = universe.last_instant()
        self._arrivals = Arrivals(execution, self.observed, universe.known_gaps(), last=self._last)

    # --- time -----------------------------------------------------------------------------------

    def steps(self) -> Iterator[int]:
        """Step from instant to instant: settlements, trades, books, arrivals; then the strategy.

        It runs at each instant that has a row or news of its orders, until the last one of the
        run; what is on its way then ends without it.
        """
        for at, rows in groupby(quote_rows(self.universe.quotes), key=itemgetter(1)):
            yield from self._between_rows(at)
            self.now = at
            self._settle(at)
            self._match_trades(at)
            self.rows = [self._update_book(row, values) for row, _, values in rows]
            self.rows_done = self.rows[-1].top.row
            for book in self.rows:
                self._match_book(book)
            self._end_ways(at)
            yield at
        yield from self._between_rows(self._last + 1)
        for _ in self._between_rows(AFTER_ALL):
            pass

    def _between_rows(self, until: int) -> Iterator[int]:
        """Step through the settlements, trades and arrivals before an instant, without rows."""
        while (at := self._next_event(until)) < until:
            self.now, self.rows, self._has_news = at, [], False
            self._settle(at)
            self._match_trades(at)
            self._end_ways(at)
            if self._has_news:
                yield at

    def _next_event(self, until: int) -> int:
        """The next settlement, arrival or trade that may fill an order; `until` or later if none
        comes before."""
        at = min(self._arrivals.next_at, self._next_settlement, until)
        return min(at, self._trades.next_at(self.resting_in, at))

    def _update_book(self, row: int, values: Sequence[Any]) -> Book:
        book: Book = self.books[values[1]]
        book.update(row, values, self.execution.assumed)
        book.feed.append(self.now, book.top, values[8])
        self._note_open(book)
        return book

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
        prevention: SelfTradePrevention = SelfTradePrevention.TAKER_AT_CROSS,
        price_is_exact: bool = True,
        reduce_only: bool = False,
        expires: int = AFTER_ALL,
        refused: Reason = Reason.NONE,
        order: Any = None,
    ) -> Ticket:
        """Send an order, which is refused as it arrives for a reason that is known already.

        Without `rests` it is immediate or cancel.
        """
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
            prevention=prevention,
            price_is_exact=price_is_exact,
            reduce_only=reduce_only,
            expires=expires,
            order=order,
        )
        self._send_out(book, ticket)
        if expires <= ticket.arrives:
            refused = refused or Reason.NOT_FUTURE
        if refused:
            self._arrivals.add_refusal(ticket, book.market, refused)
        else:
            self._arrivals.add_order(ticket, book.market, sent_at=self.now)
            self._arrivals.add_expiration(ticket, book.market)
        return ticket

    def send_amendment(
        self,
        book: Book,
        ticket: Ticket,
        count: int,
        *,
        size: int | None,
        limit: int,
        is_exact: bool,
        expires: int,
        order: Any,
    ) -> Ticket:
        """Send an order that is to take the place of one at rest.

        By what is filled now, `count` contracts of its `size` in all are left for it.
        """
        amended = Ticket(
            number=self.orders,
            side=ticket.side,
            left=count,
            limit=limit,
            rests=True,
            post_only=ticket.post_only,
            replaces=ticket,
            arrives=self.now + self.execution.latency,
            traded_then=book.tradable,
            prevention=ticket.prevention,
            price_is_exact=is_exact,
            expires=expires,
            filled=ticket.filled,
            order=order,
        )
        self._send_out(book, amended)
        request = AmendRequest(amended, size, amended.arrives)
        book.sent.append(request)
        self._arrivals.add_amend(request, book.market)
        return amended

    def _send_out(self, book: Book, ticket: Ticket) -> None:
        self.orders += 1
        order_fields = (ticket.number, ticket.side, ticket.left, ticket.limit)
        self._write_entry(EntryKind.ORDER, book, order_fields)
        self._report(ticket, bt.Order.Submitted)
        book.sent.append(ticket)

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
            book, sent = self.books[arrival.market], arrival.sent
            if isinstance(sent, Expiration):
                self._take_back(book, sent.ticket, Reason.OUT_OF_TIME)
            elif sent in book.sent:  # it did not end with its market
                book.sent.remove(sent)
                self._end_way(book, sent, arrival.reason)

    def end_run(self) -> None:
        """End all orders, since the strategy wants no more of them; positions still settle."""
        for book in self.books:
            for ticket in tuple(book.resting):
                self._end(book, ticket, Reason.STOPPED)
            for sent in book.sent:
                if isinstance(sent, Ticket):
                    self._end(book, sent, Reason.RUN_ENDED)
            book.sent.clear()
        self._settle_rest()

    def _end_way(self, book: Book, sent: SentOut, reason: Reason) -> None:
        if isinstance(sent, CancelRequest):
            self._take_back(book, sent.ticket, Reason.ASKED)
        elif isinstance(sent, AmendRequest):
            self._amend(book, sent)
        elif isinstance(sent, SecondLook):
            self._look_again(book, sent)
        elif reason in REFUSED_AT_ONCE:
            self._refuse(book, sent, reason)
        elif reason:
            self._end(book, sent, reason)
        else:
            self._meet(book, sent)

    def _take_back(self, book: Book, ticket: Ticket, reason: Reason) -> None:
        """Cancel an order, unless it is over."""
        if ticket in book.sent:
            book.sent.remove(ticket)
        elif ticket not in book.resting:
            return
        self._end(book, ticket, reason)

    def _meet(self, book: Book, ticket: Ticket) -> None:
        """Let an order meet its observation: it is refused, trades, and may join the queue."""
        replaced = ticket.replaces
        if replaced in book.resting:
            ticket.kept = book.place_of(replaced, ticket.side, ticket.limit)
            self._end(book, replaced, Reason.REPLACED)
        if ticket.filled_meanwhile and not self._subtract_filled(book, ticket):
            return
        if ticket.reduce_only:
            ticket.most = max(0, -ticket.side * self.ledger.position(book.market))
        if reason := self._refusal(book, ticket):
            self._refuse(book, ticket, reason)
        elif not ticket.most:
            self._end(book, ticket, Reason.REDUCE_ONLY)
        elif ticket.post_only:
            self._join(book, ticket)
        else:
            self._take(book, ticket)

    def _amend(self, book: Book, request: AmendRequest) -> None:
        """Let an amendment take the place of its order, which stays if it is refused.

        It has that order's place in the queue if only its size is smaller, and otherwise meets an
        observation, as an order that arrives now.
        """
        ticket, amended = request.ticket, request.ticket.replaces
        if amended is None or amended not in book.resting:
            self._refuse_sent(book, ticket, Reason.GONE)
            return
        # What was filled on the way of its order, or of an amendment before it, is not asked again.
        left = amended.left if request.size is None else request.size - amended.filled
        ticket.filled_meanwhile = ticket.left - left
        is_left = not ticket.filled_meanwhile or self._subtract_filled(book, ticket)
        if is_left and (reason := self._refusal(book, ticket, instead_of=amended)):
            self._refuse_sent(book, ticket, reason)
            return
        kept = book.place_of(amended, ticket.side, ticket.limit)
        ticket.filled, ticket.accumulated = amended.filled, amended.accumulated
        self._end(book, amended, Reason.REPLACED)
        if is_left:
            self._arrivals.add_expiration(ticket, book.market)
        if is_left and not (kept and ticket.left <= kept.left):
            self._arrivals.add_order(ticket, book.market, sent_at=self.now)
            return
        book.sent.remove(ticket)
        self.amended_at_once.add(ticket.number)
        if is_left:
            ticket.kept = kept
            book.hand_over_look(amended, ticket)
            self._rest(book, ticket)

    def _refuse_sent(self, book: Book, ticket: Ticket, reason: Reason) -> None:
        book.sent.remove(ticket)
        self._refuse(book, ticket, reason)

    def _subtract_filled(self, book: Book, ticket: Ticket) -> int:
        """Subtract what the replaced order filled while this one was in flight; return the rest."""
        filled = min(ticket.filled_meanwhile, ticket.left)
        order_fields = (ticket.number, ticket.side, filled, ticket.limit)
        self._write_entry(EntryKind.CANCELLED, book, order_fields, reason=Reason.MEANWHILE)
        ticket.left -= filled
        ticket.filled_meanwhile = 0
        if not ticket.left:
            ticket.reason = Reason.MEANWHILE
            self._report(ticket, bt.Order.Canceled)
        return ticket.left

    def _refusal(self, book: Book, ticket: Ticket, *, instead_of: Ticket | None = None) -> Reason:
        """The reason for which the exchange would refuse an order that arrives."""
        side, limit, arrives = ticket.side, ticket.limit, ticket.arrives
        left, reserved = (instead_of.left, instead_of.reserved) if instead_of else (0, 0)
        # The orders that rest on its side may be filled as well.
        position = self.ledger.position(book.market) + side * (book.resting_size(side) - left)
        need = self.cost_bound(book, side, ticket.wanted, limit, at=arrives)
        checks = (
            (Reason.NOT_TRADING, not ticket.traded_then),
            (Reason.OUT_OF_RANGE, not 0 < limit < DOLLAR),
            (Reason.OFF_GRID, not ticket.price_is_exact or not book.on_grid(limit, arrives)),
            (Reason.NOT_FUTURE, ticket.expires <= arrives),
            (Reason.TOO_LARGE, ticket.left > MOST_COUNT),
            (
                Reason.POSITION_LIMIT,
                rules.exceeds_limit(self.execution.limit, position, side, ticket.wanted),
            ),
            (Reason.FUNDS, need > self.ledger.cash - self.held_back + reserved),
        )
        return next((reason for reason, applies in checks if applies), Reason.NONE)

    def _refuse(self, book: Book, ticket: Ticket, reason: Reason) -> None:
        ticket.refused = True
        self._end(book, ticket, reason, kind=EntryKind.REFUSED)

    def _take(self, book: Book, ticket: Ticket) -> None:
        """Take what the book that it meets offers; the rest waits or ends."""
        top, count = self._book_met(book, ticket)
        short = book.top.fills(ticket.side, ticket.left, ticket.limit) - count
        if own := book.own_crossed(ticket.side, ticket.limit):
            count = self._before_own(book, ticket, own, top, count)
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
        elif ticket.met_own:
            self._end(book, ticket, Reason.SELF_TRADE, row=top.row)
        elif ticket.reduce_only and count == ticket.most:
            self._end(book, ticket, Reason.REDUCE_ONLY, row=top.row)
        elif ticket.rests:
            self._rest(book, ticket)
            look = SecondLook(ticket, short)
            if short > 0 and self._arrivals.add_look(look, book.market, after=self.now):
                book.sent.append(look)
        else:
            self._end(book, ticket, Reason.UNFILLED, row=top.row)

    def _look_again(self, book: Book, look: SecondLook) -> None:
        """Fill an order with offers that crossed it as it came to rest, and stand beside it.

        Where a gap ends, nobody knows whether they stood there all the time.
        """
        if book.tradable and look.ticket in book.resting and not self._is_blind(book):
            self._meet_offers(book, look.ticket, look.contracts)

    def _before_own(
        self, book: Book, ticket: Ticket, own: Sequence[Ticket], top: BookTop, count: int
    ) -> int:
        """Keep an order from trading with our own; return the part that fills before it does.

        Others come first at a better price, and at the same price as far as they are before ours.
        An order that would rest beyond our own meets it, too.
        """
        side, price = ticket.side, top.price(ticket.side)
        for resting in own:
            is_behind = price >= 0 and (resting.limit - price) * side >= 0
            others = 0
            if is_behind:
                is_deeper = resting.limit != price
                others = count if is_deeper else min(count, resting.queue_place.ahead)
                if ticket.wanted == others or (is_deeper and not ticket.rests):
                    return count
            if ticket.prevention == SelfTradePrevention.TAKER_AT_CROSS:
                ticket.met_own = True
                return others
            self._end(book, resting, Reason.SELF_TRADE)
        return count

    def _book_met(self, book: Book, ticket: Ticket) -> tuple[BookTop, int]:
        """The book that an order meets under this fill model, and the part that it fills."""
        side, left, limit = ticket.side, ticket.wanted, ticket.limit
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
        elif book.own_crossed(ticket.side, ticket.limit):
            self._refuse(book, ticket, Reason.WOULD_CROSS)
        elif ticket.rests:
            self._rest(book, ticket)
        else:
            self._end(book, ticket, Reason.UNFILLED)
