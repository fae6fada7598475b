"""The view of a `Strategy` on the record: all that is known by now, and nothing from later."""

from typing import Any, NamedTuple

from backtests.data.recorded_books import Depth
from backtests.data.universe import MISSING


class OpenOrder(NamedTuple):
    """An order that is on its way or, once it `rests`, in the book.

    Contracts and prices are as the strategy's: `left` of it is not filled yet, and `limit` is in
    dollars on the YES scale, NaN where it found nothing to take. `order` is backtrader's.
    """

    order: Any
    feed: Any
    book_side: str
    left: float
    limit: float
    filled: float
    rests: bool


class KnownTrade(NamedTuple):
    """A trade of the market at the instant `at`, which the record knew of from `known_at` on.

    `taker` is 1 where the taker bought YES, -1 where it sold YES, 0 where nobody knows.
    """

    at: int
    price: float
    contracts: float
    taker: int
    known_at: int


class RecordView:
    """Reads of the record at the instant of a step.

    Prices are dollars of YES, sizes contracts, instants microseconds since 1970; a number that is
    unknown is NaN. What is not named by a line of a feed is read where a strategy asks for it.
    """

    broker: Any

    @property
    def now(self) -> int:
        return int(self.broker.now)

    @property
    def live(self) -> list[Any]:
        """The feeds that have begun and whose market is trading and was observed lately."""
        return list(self.broker.live)

    @property
    def fresh(self) -> list[Any]:
        """The live feeds with a row at this instant; there may be none of them at a step."""
        return list(self.broker.fresh)

    # --- quotes and trades ----------------------------------------------------------------------

    def last_price(self, feed: Any) -> float:
        """The price of the last trade, which may be hours old."""
        return float(self.broker.last_price(feed.market))

    def volume(self, feed: Any) -> float:
        """The contracts that were ever traded in the market."""
        return float(self.broker.volume(feed.market))

    def open_interest(self, feed: Any) -> float:
        return float(self.broker.open_interest(feed.market))

    def trades(self, feed: Any, since: int = MISSING) -> list[KnownTrade]:
        """The public trades of a feed's market that are known by now, as the record learned of
        them, after an instant; none from where the tape is not whole."""
        trades: list[KnownTrade] = self.broker.trades(feed.market, since)
        return trades

    def depth(self, feed: Any) -> Depth | None:
        """The newest whole book, which may be older than the quote; None where none is on record.

        Raises ValueError where the books of a run are too many.
        """
        depth: Depth | None = self.broker.depth(feed.market)
        return depth

    # --- events ---------------------------------------------------------------------------------

    def event_feeds(self, feed: Any) -> list[Any]:
        """The feeds of a market's event that have begun, itself among them, from the lowest strike
        to the highest; `feed.listing` tells whether they exclude each other."""
        return list(self.broker.event_feeds(feed.listing.event))

    # --- coverage -------------------------------------------------------------------------------

    def observed_at(self, feed: Any) -> int:
        """The last observation of a feed's market, whether or not its quote changed then."""
        return int(self.broker.observed_at(feed.market))

    def unobserved_since(self, feed: Any) -> int | None:
        """The instant from which on nobody has observed the market any more, its last observation
        being stale; None while it is observed."""
        since: int | None = self.broker.unobserved_since(feed.market)
        return since

    def observed_share(self, feed: Any, seconds: float) -> float:
        """The share of the last so many seconds in which the market was observed; the time before
        its first observation was not."""
        return float(self.broker.observed_share(feed.market, seconds))

    # --- fees and orders ------------------------------------------------------------------------

    def taker_fee(self, feed: Any, size: float, price: float) -> float:
        """The fee in dollars of taking so many contracts of YES at a price, by the terms in force
        now; of selling YES, or buying NO, where `size` is below zero.

        Raises ValueError for what could never be an order.
        """
        return float(self.broker.fee(feed.market, size, price, maker=False))

    def maker_fee(self, feed: Any, size: float, price: float) -> float:
        """The fee of an order that is filled at rest, as `taker_fee`."""
        return float(self.broker.fee(feed.market, size, price, maker=True))

    def open_orders(self, feed: Any = None) -> list[OpenOrder]:
        """The orders of this strategy that are on their way or at rest, the oldest first: in one
        market, or in all."""
        orders: list[OpenOrder] = self.broker.open_orders(None if feed is None else [feed.market])
        return orders
