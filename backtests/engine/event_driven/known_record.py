"""All that a strategy may see of the record at an instant of its run."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property

from backtests.data.recorded_books import Depth
from backtests.data.tape import KnownTrades
from backtests.data.universe import CONTRACT, DOLLAR, MISSING, MONEY, SECOND, Ints, Universe
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.instructions import BadOrder, count_of, finite, limit_price
from backtests.engine.event_driven.matching_engine import MatchingEngine
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.rules.execution import MAKER, TAKER, ExecutionModel, FillModel
from backtests.strategies.record_view import KnownTrade, OpenOrder
from kalshi_insights.arrays import np
from markets.observed import AFTER_ALL, last_observation


class KnownRecord(MatchingEngine):
    """Answers what is on record by now, and nothing that the record learned later."""

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        super().__init__(universe, execution, fills=fills, cash=cash)
        self._further = universe.further()
        # The markets in which something may be on its way.
        self._sent_in: set[int] = set()

    # --- feeds ----------------------------------------------------------------------------------

    @property
    def live(self) -> list[Feed]:
        """The feeds that have begun and whose market is trading and was observed lately."""
        return self._live_feeds.at(self.now)

    @property
    def fresh(self) -> list[Feed]:
        """The live feeds with a row at this instant."""
        return [book.feed for book in self.rows if book.is_open]

    def event_feeds(self, event: str) -> list[Feed]:
        """The feeds of an event that have begun, from the lowest strike to the highest."""
        return [feed for feed in self._feeds_by_event.get(event, ()) if feed.has_begun]

    @cached_property
    def _feeds_by_event(self) -> dict[str, list[Feed]]:
        by_event: dict[str, list[Feed]] = defaultdict(list)
        for book in sorted(self.books, key=lambda book: _strikes(book.feed)):
            by_event[book.feed.listing.event].append(book.feed)
        return by_event

    # --- quotes and trades ----------------------------------------------------------------------

    def last_price(self, market: int) -> float:
        return _known(self.books[market].last, DOLLAR)

    def volume(self, market: int) -> float:
        row = self.books[market].top.row
        return math.nan if row == MISSING else _known(self.universe.quotes.volume[row], CONTRACT)

    def open_interest(self, market: int) -> float:
        found = self._further.open_interest(*self._here(market))
        return _known(found[0], CONTRACT)

    def depth(self, market: int) -> Depth | None:
        """The newest whole book of a market; None where none is on record yet."""
        if self._further.books is None:
            return None
        books = self._further.books.of(market)
        return books.newest(self.now, dollar=DOLLAR, contract=CONTRACT)

    def trades(self, market: int, since: int) -> list[KnownTrade]:
        """The trades of a market that the record knows by now, and did not at an instant."""
        return [
            KnownTrade(
                each.at, each.price / DOLLAR, each.contracts / CONTRACT, each.taker, each.known_at
            )
            for each in self._known_trades.between(market, since, self.now)
        ]

    @cached_property
    def _known_trades(self) -> KnownTrades:
        return KnownTrades(self.universe.known_tape())

    # --- observations ---------------------------------------------------------------------------

    def observed_at(self, market: int) -> int:
        """The last observation of a market; `BEFORE_ALL` where there is none yet."""
        return int(last_observation(self.observed, market, self.now + 1))

    def unobserved_since(self, market: int) -> int | None:
        """The begin of the gap that a market is in; None while it is observed."""
        gaps = self.universe.gaps
        if gaps is None:
            return None
        first, end = gaps.spans[market : market + 2].tolist()
        newest = first + int(np.searchsorted(gaps.since[first:end], self.now, side="right")) - 1
        is_in_gap = newest >= first and self.now < gaps.until[newest]
        return int(gaps.since[newest]) if is_in_gap else None

    def observed_share(self, market: int, seconds: float) -> float:
        time = round(finite("seconds", seconds) * SECOND)
        if not 0 < time < AFTER_ALL:
            raise ValueError(f"seconds must be above 0, not {seconds}")
        return float(self._further.observed_share(market, np.array([self.now]), time=time)[0])

    # --- fees and orders ------------------------------------------------------------------------

    def fee(self, market: int, size: float, price: float, *, maker: bool) -> float:
        """The fee of an order that is filled at once, by the terms in force now. Raises BadOrder
        for what could never be an order."""
        side = 1 if finite("size", size) >= 0 else -1
        count, liquidity = count_of(abs(size)), MAKER if maker else TAKER
        if not count:
            raise BadOrder(f"size must be at least 0.01 contracts, not {size}")
        order = (side, count, limit_price(price).limit)
        fee = self._charges.of_order(self.books[market], *order, liquidity=liquidity, at=self.now)
        return fee / MONEY

    def open_orders(self, markets: list[int] | None = None) -> list[OpenOrder]:
        """The orders that are on their way or at rest, in some markets or in all, the oldest first;
        those of the strategy alone."""
        if markets is None:
            markets = sorted(self._sent_in | self.resting_in)
        found = [(ticket, self.books[market]) for market in markets for ticket in self._own(market)]
        return [_open_order(*each) for each in sorted(found, key=lambda each: each[0].number)]

    def _own(self, market: int) -> list[Ticket]:
        book = self.books[market]
        if not book.sent:
            self._sent_in.discard(market)
        every = (*book.sent, *book.resting)
        return [each for each in every if isinstance(each, Ticket) and each.order is not None]

    def _send_out(self, book: Book, ticket: Ticket) -> None:
        super()._send_out(book, ticket)
        self._sent_in.add(book.market)

    def _here(self, market: int) -> tuple[Ints, Ints]:
        """A row of a market at this instant."""
        return np.array([market]), np.array([self.now])


def _open_order(ticket: Ticket, book: Book) -> OpenOrder:
    return OpenOrder(
        order=ticket.order,
        feed=book.feed,
        book_side="bid" if ticket.side > 0 else "ask",
        left=ticket.left / CONTRACT,
        limit=_known(ticket.limit, DOLLAR),
        filled=ticket.filled / CONTRACT,
        rests=ticket in book.resting,
    )


def _strikes(feed: Feed) -> tuple[float, float, str]:
    """Where a market stands on its event's ladder: by its floor, then by its cap."""
    listing = feed.listing
    floor = -math.inf if listing.floor_strike is None else listing.floor_strike
    cap = math.inf if listing.cap_strike is None else listing.cap_strike
    return floor, cap, listing.ticker


def _known(value: int, unit: int) -> float:
    """Dollars or contracts; NaN where unknown."""
    return math.nan if value == MISSING else int(value) / unit
