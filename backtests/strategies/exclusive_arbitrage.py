"""Sell more than a dollar's worth of outcomes of which at most one can happen.

Buying every YES for less than a dollar is no counterpart to it: that no two outcomes happen does
not mean that one of those listed will.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import backtrader as bt

from backtests.data.universe import CONTRACT, DOLLAR, MONEY, SECOND, instant
from backtests.strategies.base import CONTRACTS, EDGE, Parameter, Schema, Strategy, defaults
from markets import fees
from markets.fees import Rounding


class Leg(NamedTuple):
    """What can be sold of one outcome's YES, and the rate of the fee for it."""

    bid: int
    contracts: int
    numerator: int
    denominator: int


def bundle(legs: Sequence[Leg], rounding: Rounding, *, edge: int, locked: int) -> int:
    """How many contracts of each leg to sell, 0 where that is not sure to gain.

    At most one leg pays a dollar, so each bundle gains what its bids exceed a dollar by, less
    fees, and has to gain `edge`. It locks what the legs' NO cost, in all `locked` at the most.
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
    """Each leg meets the market by itself: what was sure when it was sent may be filled in part,
    and such a rest is held like the others."""

    name = "exclusive-arbitrage"
    version = "2"
    summary = "Buys NO of all outcomes of which at most one happens, where that is sure to gain."
    schema: ClassVar[Schema] = {
        "edge": EDGE,
        "least_bid": Parameter(
            default=0.02, least=0.0, most=1.0, unit="dollars",
            help="Leave out outcomes with lower bids: they lock a dollar to gain a cent.",
        ),
        "seconds": Parameter(
            default=0.0, least=0.0, most=86_400.0, unit="seconds",
            help="How old the book of a leg may be.",
        ),
        "hours_most": Parameter(
            default=720.0, least=0.0, most=87_600.0, unit="hours",
            help="Lock money up for no longer than this, by the close as scheduled.",
        ),
        "locked": Parameter(
            default=1_000.0, least=1.0, most=1_000_000.0, unit="dollars",
            help="Lock up no more than this at once.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip
    params = defaults(schema)

    def start(self) -> None:
        self.seen_at: dict[int, int] = {}
        self.on_the_way: dict[str, int] = {}

    def next(self) -> None:
        fresh = [feed for feed in self.fresh if feed.listing.mutually_exclusive]
        self.seen_at |= {feed.place: self.now for feed in fresh}
        legs: dict[str, list[Any]] = {
            feed.listing.event: [] for feed in fresh if not self.on_the_way.get(feed.listing.event)
        }
        for feed in self.live if legs else ():
            if feed.listing.event in legs and self._serves(feed):
                legs[feed.listing.event].append(feed)
        for event, feeds in legs.items():
            self._sell(event, feeds)

    def notify_order(self, order: Any) -> None:
        if not order.alive():
            self.on_the_way[order.data.listing.event] -= 1

    def _sell(self, event: str, feeds: list[Any]) -> None:
        contracts = bundle(
            [self._leg(feed) for feed in feeds],
            fees.rounding(instant(self.now), broker=self.broker.execution.through_broker),
            edge=round(self.p.edge * DOLLAR),
            locked=round(self.p.locked * MONEY),
        )
        if not contracts:
            return
        self.on_the_way[event] = len(feeds)
        for feed in feeds:
            limit = {"price": feed.bid[0], "exectype": bt.Order.Limit, "tif": "ioc"}
            self.sell(data=feed, size=contracts, **limit)

    def _serves(self, feed: Any) -> bool:
        """Whether a market is a leg; an unknown bid, size or close makes each of these false."""
        age = self.now - self.seen_at.get(feed.place, 0)
        return bool(
            feed.bid[0] >= self.p.least_bid
            and feed.bid_size[0] >= 1
            and 0 <= feed.time_to_close[0] / 3_600 <= self.p.hours_most
            and age / SECOND <= self.p.seconds
        )

    def _leg(self, feed: Any) -> Leg:
        terms = self.broker.books[feed.place].terms_at(self.now)
        held = -self.getposition(feed).size
        return Leg(
            bid=round(feed.bid[0] * DOLLAR),
            contracts=min(int(feed.bid_size[0]), int(self.p.contracts - held)),
            numerator=terms.taker_numerator,
            denominator=terms.taker_denominator,
        )
