"""Resting orders of a run: their places in the queues, and what fills them."""

from __future__ import annotations

import backtrader as bt

from backtests.data.candles import candle_ending
from backtests.data.gaps import gap_ends
from backtests.data.tape import TapeTrade, is_whole
from backtests.data.universe import MISSING, Universe
from backtests.engine.event_driven.account import Account
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.engine.event_driven.queue_place import Overlap, QueuePlace
from backtests.engine.event_driven.tape_cursor import TapeCursor
from backtests.rules.execution import MAKER, ExecutionModel, FillModel, Reason
from backtests.rules.queue import is_evidence
from backtests.rules.untaped import least_or_most_offered, offer_evidence, volume_evidence
from markets.observed import is_observed


class RestingOrders(Account):
    """Fills orders that rest: by the tape where it is whole, else by volume and books."""

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        super().__init__(universe, execution, fills=fills, cash=cash)
        self.observed = universe.observations()
        self._gaps = universe.known_gaps()
        self._candles = universe.known_candles()
        self._tape = universe.known_tape()
        self._trades = TapeCursor(self._tape)

    # --- joining --------------------------------------------------------------------------------

    def _rest(self, book: Book, ticket: Ticket) -> None:
        """Join the queue, and hold back the cash that the order may cost."""
        is_new = self._line_up(book, ticket)
        self.resting_in.add(book.market)
        self.has_band = True
        self._reserve(book, ticket, at=ticket.arrives)
        self._report(ticket, bt.Order.Accepted)
        if is_new and self.fills == FillModel.MOST:
            # It may have come to rest as soon as it arrived, before its book came to be.
            self._meet_offers(book, ticket, ticket.left)
            self._meet_recent_trades(book, ticket)

    def _meet_offers(self, book: Book, ticket: Ticket, contracts: int) -> None:
        """Fill so many contracts of an order at rest, as far as the book offers them."""
        count = book.top.stands(ticket.side, min(ticket.left, contracts), ticket.limit)
        if count and self._fill_rest(book, ticket, count):
            book.top.take(ticket.side, count)

    def _line_up(self, book: Book, ticket: Ticket) -> bool:
        """Take the place of the order that this one makes smaller, or else a new one."""
        kept = ticket.kept
        if kept and ticket.left <= kept.left:
            ticket.place = kept.place
            book.resting.insert(kept.number, ticket)
            return False
        side, limit = ticket.side, ticket.limit
        place = QueuePlace.at_end(
            self.fills,
            side,
            limit,
            shown=book.top.queue_shown(side, limit),
            assumed=self.execution.queue,
            arrived=ticket.arrives,
            met=self.now,
        )
        # The record does not know of our own orders; whoever is before them is before this one.
        place.ahead = max([place.ahead, *book.queues_at(side, limit)])
        ticket.place = place
        book.resting.append(ticket)
        return True

    def _reserve(self, book: Book, ticket: Ticket, *, at: int) -> None:
        self.held_back -= ticket.reserved
        side, left = ticket.side, ticket.left
        ticket.reserved = self.cost_bound(book, side, left, ticket.limit, at=at) if left else 0
        self.held_back += ticket.reserved

    # --- the tape -------------------------------------------------------------------------------

    def _match_trades(self, now: int) -> None:
        """Read the tape on until now."""
        for number, trade in self._trades.read(now):
            if trade.market in self.resting_in:
                self._match_trade(self.books[trade.market], number, trade)

    def _match_trade(self, book: Book, number: int, trade: TapeTrade) -> None:
        rest = trade.contracts
        for ticket in book.by_priority():
            rest -= self._meet_trade(book, ticket, number, trade, rest)

    def _meet_trade(
        self, book: Book, ticket: Ticket, number: int, trade: TapeTrade, rest: int
    ) -> int:
        """Fill an order as far as a trade allows, of which `rest` is left; return that part."""
        place, tolerance = ticket.queue_place, self.execution.tolerance
        if not is_evidence(self.fills, trade.at, place.arrived, place.met, tolerance):
            return 0
        count = place.meet_trade(self.fills, ticket.left, trade, rest)
        if not count or not self._fill_rest(book, ticket, count):
            return 0
        if self.fills == FillModel.MOST:
            book.trades_used[number] = book.trades_used.get(number, 0) + count
        return count

    def _meet_recent_trades(self, book: Book, ticket: Ticket) -> None:
        """Meet the trades between an order's arrival and the book that it met."""
        since = ticket.queue_place.arrived - self.execution.tolerance
        for number, trade in self._trades.between(book.market, since, self.now):
            rest = trade.contracts - book.trades_used.get(number, 0)
            if ticket.left:
                self._meet_trade(book, ticket, number, trade, rest)

    # --- books ----------------------------------------------------------------------------------

    def _match_book(self, book: Book) -> None:
        """Match the resting orders with the book of a new row.

        A row at which nobody looked repeats the book, and tells nothing of the queue.
        """
        tickets = book.by_priority()
        if not book.tradable:
            for ticket in tickets:
                self._end(book, ticket, Reason.CLOSED)
        elif tickets and is_observed(self.observed, book.market, self.now):
            for ticket in tickets:
                self._match_row(book, ticket)

    def _match_row(self, book: Book, ticket: Ticket) -> None:
        place, top, side, limit = ticket.queue_place, book.top, ticket.side, ticket.limit
        count, uses_volume = 0, False
        if not self._is_whole(book, place):
            offered_at, offered_beyond = self._offered(book, ticket)
            traded_at, traded_beyond = self._traded_or_offered(book, ticket)
            uses_volume = traded_at > 0
            at = max(offered_at, traded_at - book.used)
            beyond = max(offered_beyond, traded_beyond - book.used)
            count = place.meet_evidence(ticket.left, at, beyond)
        place.see(self.fills, top.queue_shown(side, limit), self.now)
        if count and self._fill_rest(book, ticket, count):
            # Offers and trades fill one order, not all.
            book.used += count if uses_volume else 0
            if top.crosses(side, limit):
                top.use_fresh(side, count)

    def _traded_or_offered(self, book: Book, ticket: Ticket) -> tuple[int, int]:
        """Count what traded since the row before, and what was offered meanwhile."""
        traded, offered = self._traded(book, ticket), self._offered_unseen(book, ticket)
        return max(traded[0], offered[0]), max(traded[1], offered[1])

    def _offered_unseen(self, book: Book, ticket: Ticket) -> tuple[int, int]:
        """Count the offers that no row shows, but the range of the other side in a candlestick."""
        fills, side, place, candles = self.fills, ticket.side, ticket.queue_place, self._candles
        candle = candle_ending(candles, book.market, self.now)
        if candle < 0:
            return 0, 0
        is_sure = candles.since[candle] >= place.since and not self._taped(book, place)
        if fills == FillModel.FEWEST and not is_sure:
            return 0, 0
        best = int((candles.ask_low if side > 0 else candles.bid_high)[candle])
        return offer_evidence(fills, side, ticket.limit, best, least_or_most_offered(fills))

    def _offered(self, book: Book, ticket: Ticket) -> tuple[int, int]:
        """The new offers that count, at an order's price and beyond it."""
        if self._is_blind(book):
            return 0, 0
        top, side = book.top, ticket.side
        return offer_evidence(self.fills, side, ticket.limit, top.price(side), top.fresh(side))

    def _traded(self, book: Book, ticket: Ticket) -> tuple[int, int]:
        """The trades since the row before that count, at an order's price and beyond it."""
        place, candles = ticket.queue_place, self._candles
        volume, low, high = book.traded, MISSING, MISSING
        candle = candle_ending(candles, book.market, self.now)
        if candle >= 0:
            volume, low, high = (
                int(column[candle]) for column in (candles.contracts, candles.low, candles.high)
            )
            # Of a candlestick that began sooner, a part traded before the order joined.
            is_sure = candles.since[candle] >= place.since
        else:
            is_sure = not self._is_blind(book)
        taped = self._taped(book, place)
        volume = max(0, volume - taped)
        at, beyond = 0, 0
        if self.fills != FillModel.FEWEST or (is_sure and not taped):
            at, beyond = volume_evidence(
                self.fills, ticket.side, ticket.limit, volume, book.last, low, high
            )
        if volume and self.fills != FillModel.MOST:
            place.overlap = Overlap(self.now + self.execution.tolerance, at, beyond)
        return at, beyond

    def _is_whole(self, book: Book, place: QueuePlace) -> bool:
        """Return whether the tape is whole since the row before; for most fills also beyond both
        rows, as far as the clocks may differ."""
        near = self.execution.tolerance if self.fills == FillModel.MOST else 0
        return is_whole(self._tape, book.market, place.since - near, self.now + near)

    def _taped(self, book: Book, place: QueuePlace) -> int:
        """The contracts that the tape has since the row before, and from shortly before it.

        Most fills counts no trade too few, and leaves out those that are near either row.
        """
        near = self.execution.tolerance
        after, until = place.since - near, self.now
        if self.fills == FillModel.MOST:
            after, until = place.since + near, self.now - near
        trades = self._trades.between(book.market, after + 1, until)
        return sum(trade.contracts for _, trade in trades)

    def _is_blind(self, book: Book) -> bool:
        """Return whether a gap ends, of which fewest fills takes neither volume nor offers."""
        return self.fills == FillModel.FEWEST and gap_ends(self._gaps, book.market, self.now)

    def _fill_rest(self, book: Book, ticket: Ticket, count: int) -> bool:
        """Fill a part of a resting order, or end it if its cost is not covered any more."""
        need = self.cost_bound(book, ticket.side, ticket.left, ticket.limit, at=self.now)
        if need > self.ledger.cash - self.held_back + ticket.reserved:
            self._end(book, ticket, Reason.FUNDS)
            return False
        at, row = self.now, book.top.row
        self._fill(book, ticket, count, price=ticket.limit, liquidity=MAKER, at=at, row=row)
        self._reserve(book, ticket, at=at)
        for sent in book.sent:
            if isinstance(sent, Ticket) and sent.replaces is ticket and sent.side == ticket.side:
                sent.filled_meanwhile += count
        if not ticket.left:
            self._leave(book, ticket)
        return True
