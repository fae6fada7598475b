"""Arbitrage of exclusive outcomes: sell them when their bids sum to more than a dollar.

Buying every YES for less than a dollar is not the counterpart: that no two outcomes happen does
not mean that one of the listed ones will.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from backtests.data.universe import CONTRACT, DOLLAR, MONEY, SECOND, instant
from backtests.strategies.base import (
    CONTRACTS,
    EDGE,
    Parameter,
    Schema,
    Strategy,
    bt,
)
from markets import fees
from markets.fees import Rounding


class Leg(NamedTuple):
    """The YES of one outcome that can be sold, and the fee rate for it."""

    bid: int
    contracts: int
    numerator: int
    denominator: int


def bundle(legs: Sequence[Leg], rounding: Rounding, *, edge: int, locked: int) -> int:
    """The number of contracts to sell of each leg; 0 where a profit is not certain.

    At most one leg pays a dollar, so a bundle gains the excess of its bids over a dollar, less
    fees, and must gain `edge`. It locks the cost of the legs' NO, in all at most `locked`.
    """
    if len(legs) < 2:
        return 0
    price = sum(DOLLAR - leg.bid for leg in legs) * CONTRACT
    contracts = min(locked // price, *(leg.contracts for leg in legs))
    if contracts <= 0:
        return 0
    gain = contracts * (sum(leg.bid for leg in legs) - DOLLAR - edge) * CONTRACT
    return contracts if gain >= sum(_fee(leg, contracts, rounding) for leg in legs) else 0


def _fee(leg: Leg, contracts: int, rounding: Rounding) -> int:
    count = contracts * CONTRACT
    fee, _ = fees.charge(
        count, leg.bid, -count * (DOLLAR - leg.bid), leg.numerator, leg.denominator,
        rounding.step, rounding.grid, rounding.rebate, 0,
    )  # fmt: skip
    return fee


class ExclusiveArbitrage(Strategy):
    """Sells bundles of exclusive outcomes.

    Each leg meets the market by itself, so a bundle may be filled in part; that part is held.
    """

    name = "exclusive-arbitrage"
    version = "4"
    summary = "Buys NO of all exclusive outcomes of an event, where a profit is certain."
    schema: ClassVar[Schema] = {
        "edge": EDGE,
        "least_bid": Parameter(
            default=0.02, least=0.0, most=1.0, unit="dollars", label="Minimum bid",
            help="Leave out outcomes with lower bids, which lock a dollar to gain a cent.",
        ),
        "seconds": Parameter(
            default=60.0, least=0.0, most=86_400.0, unit="seconds", label="Maximum age of a book",
            help="Each leg must have been observed within this time; few share an instant.",
        ),
        "hours_most": Parameter(
            default=720.0, least=0.0, most=87_600.0, unit="hours",
            label="Maximum hours to close",
            help="Lock up money for at most this long, by the scheduled close.",
        ),
        "locked": Parameter(
            default=1_000.0, least=1.0, most=1_000_000.0, unit="dollars", label="Maximum locked",
            help="Lock up at most this much at once.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    def start(self) -> None:
        self.orders_in_flight: dict[str, int] = {}

    def next(self) -> None:
        fresh = [feed for feed in self.fresh if feed.listing.mutually_exclusive]
        legs: dict[str, list[Any]] = {
            feed.listing.event: []
            for feed in fresh
            if not self.orders_in_flight.get(feed.listing.event)
        }
        for feed in self.live if legs else ():
            if feed.listing.event in legs and self._is_leg(feed):
                legs[feed.listing.event].append(feed)
        for event, feeds in legs.items():
            self._sell(event, feeds)

    def notify_order(self, order: Any) -> None:
        if not order.alive():
            self.orders_in_flight[order.data.listing.event] -= 1

    def _sell(self, event: str, feeds: list[Any]) -> None:
        if not self.condition("two outcomes or more that can be sold", len(feeds) > 1):
            return
        contracts = bundle(
            [self._leg(feed) for feed in feeds],
            fees.rounding(instant(self.now), broker=self.broker.execution.through_broker),
            edge=round(self.p.edge * DOLLAR),
            locked=round(self.p.locked * MONEY),
        )
        if not self.condition("a certain profit", contracts):
            return
        self.orders_in_flight[event] = len(feeds)
        for feed in feeds:
            limit = {"price": feed.bid[0], "exectype": bt.Order.Limit, "tif": "ioc"}
            self.sell(data=feed, size=contracts, **limit)

    def _is_leg(self, feed: Any) -> bool:
        """Return whether a market can be a leg; an unknown bid, size or close fails."""
        return bool(
            feed.bid[0] >= self.p.least_bid
            and feed.bid_size[0] >= 1
            and 0 <= self._hours_to_close(feed) <= self.p.hours_most
            and (self.now - self.observed_at(feed)) / SECOND <= self.p.seconds
        )

    def _hours_to_close(self, feed: Any) -> float:
        """The hours to the close now, which the feed's newest bar tells as of its own instant."""
        passed = 24 * (self.lines.datetime[0] - feed.datetime[0])
        return float(feed.time_to_close[0] / 3_600 - passed)

    def _leg(self, feed: Any) -> Leg:
        terms = self.broker.books[feed.market].terms_at(self.now)
        held = -self.getposition(feed).size
        return Leg(
            bid=round(feed.bid[0] * DOLLAR),
            contracts=min(int(feed.bid_size[0]), int(self.p.contracts - held)),
            numerator=terms.taker_numerator,
            denominator=terms.taker_denominator,
        )
