"""The account of a run: its orders' fills and ends, in the ledger and in the journal."""

from __future__ import annotations

import backtrader as bt
import numpy as np

from backtests.data.universe import DOLLAR, Universe
from backtests.engine.event_driven.annotator import Annotator
from backtests.engine.event_driven.charges import Charges
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.rules.execution import (
    JOURNAL,
    TAKER,
    EntryKind,
    ExecutionModel,
    FillModel,
    Reason,
    RunOutcome,
)
from backtests.rules.ledger import Ledger, flow
from markets.fees import MOST_COUNT


class Account:
    """Books fills and ends of orders, and keeps the journal."""

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        self.universe = universe
        self.execution = execution
        self.fills = fills
        self.ledger = Ledger(cash)
        self.held_back = 0
        self.now = 0
        self.journal: list[tuple[int, ...]] = []
        self.has_band = False
        # The markets in which orders rest.
        self.resting_in: set[int] = set()
        self.books = [
            Book(market, Feed(listing, market), universe.terms[market], universe.grids[market])
            for market, listing in enumerate(universe.listings)
        ]
        self.amended_at_once: set[int] = set()
        # Whether an order of the strategy was filled, ended or came to rest at this instant.
        self._has_news = False
        self._charges = Charges(through_broker=execution.through_broker)
        # Words about the run that its result shows.
        self.notes: dict[str, str] = {}
        self.annotator = Annotator(self)

    @property
    def outcome(self) -> RunOutcome:
        journal = np.array(self.journal, np.int64).reshape(-1, len(JOURNAL))
        held = {m: h.position for m, h in sorted(self.ledger.holdings.items())}
        at_once = frozenset(self.amended_at_once)
        notes = tuple(self.notes.values())
        annotations = self.annotator.annotations(self.journal)
        return RunOutcome(
            journal, self.ledger.cash, held, self.has_band, at_once, notes, annotations
        )

    # --- money ----------------------------------------------------------------------------------

    def cost_bound(self, book: Book, side: int, count: int, limit: int, *, at: int) -> int:
        """The most cash that an order can cost, at the fees of an instant."""
        if count > MOST_COUNT or not 0 < limit < DOLLAR:
            return 0  # the order is refused for this
        fee = self._charges.most(book, count, limit, at=at)
        return max(0, fee - flow(self.ledger.position(book.market), side, count, limit))

    def most_fee(self, book: Book, count: int, limit: int) -> int:
        """The most that a taker of a count pays in fees now."""
        return self._charges.most(book, count, limit, at=self.now)

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
        ticket.filled += count
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

    def _leave(self, book: Book, ticket: Ticket) -> None:
        """Take an order out of the queue."""
        book.resting.remove(ticket)
        if not book.resting:
            self.resting_in.discard(book.market)

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
            self._leave(book, ticket)
            self.held_back -= ticket.reserved
        order_fields = (ticket.number, ticket.side, ticket.left, ticket.limit)
        self._write_entry(kind, book, order_fields, reason=reason, row=row)
        ticket.left = 0
        ticket.reason = reason
        self._report(ticket, _status_of(reason, is_refused=kind == EntryKind.REFUSED))

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


def _status_of(reason: Reason, *, is_refused: bool) -> int:
    """Return backtrader's status of an order that ended for a reason."""
    if is_refused:
        status = bt.Order.Margin if reason == Reason.FUNDS else bt.Order.Rejected
    else:
        status = bt.Order.Expired if reason == Reason.OUT_OF_TIME else bt.Order.Canceled
    return int(status)
