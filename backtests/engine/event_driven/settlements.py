"""The settlements of a run, each at the instant at which it is paid."""

from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

from backtests.data.universe import MISSING, Universe
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.live_feeds import LiveFeeds
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.engine.event_driven.resting import RestingOrders
from backtests.rules.execution import EntryKind, ExecutionModel, FillModel, Reason
from backtests.rules.ledger import BUY, SELL
from markets.observed import AFTER_ALL


@dataclass(frozen=True, slots=True)
class SettlementNotice:
    """A settlement as a strategy hears of it: the value of YES and the payout, in dollars.

    It stands in for the order that backtrader's trades name as the cause of a change.
    """

    feed: Feed
    value: float
    payout: float

    p: ClassVar = SimpleNamespace(simulated=False)


class Settlements(RestingOrders):
    """Pays positions out, and ends the orders of their markets."""

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        super().__init__(universe, execution, fills=fills, cash=cash)
        ends = [(s.paid_at, m, s.value) for m, s in enumerate(universe.settlements) if s]
        self._settlements = deque(sorted(ends))
        self._live_feeds = LiveFeeds(self.books, self.observed, patience=execution.patience)

    @property
    def _next_settlement(self) -> int:
        return self._settlements[0][0] if self._settlements else AFTER_ALL

    def _settle(self, now: int) -> None:
        while self._next_settlement <= now:
            _, market, value = self._settlements.popleft()
            book = self.books[market]
            for ticket in (*book.resting, *book.sent):
                if isinstance(ticket, Ticket):
                    self._end(book, ticket, Reason.ENDED, row=MISSING)
            book.sent.clear()
            book.ended, book.tradable = True, False
            self._note_open(book)
            self._pay(book, value)

    def _note_open(self, book: Book) -> None:
        is_open = book.tradable and book.feed.has_begun
        if is_open != book.is_open:
            book.is_open = is_open
            self._live_feeds.changed.add(book.market)

    def _pay(self, book: Book, value: int) -> None:
        position = self.ledger.position(book.market)
        paid, _ = self.ledger.settle(book.market, value)
        if position:
            order_fields = (MISSING, BUY if position > 0 else SELL, abs(position), value)
            self._write_entry(EntryKind.SETTLED, book, order_fields, row=MISSING)
            self._has_news = True
        self._report_settlement(book, value, paid)

    def _report_settlement(self, book: Book, value: int, paid: int) -> None:
        """Report a settlement to the strategy."""

    def _settle_rest(self) -> None:
        """Pay all that is settled later on, in a run that nobody trades any more."""
        while self._settlements:
            self.now = max(self.now, self._next_settlement)
            self._settle(self.now)
