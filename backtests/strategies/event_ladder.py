"""An event ladder: of two thresholds, the wider can never be worth less than the narrower."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, ClassVar, NamedTuple

from backtests.data.universe import SECOND
from backtests.strategies.base import CONTRACTS, EDGE, Parameter, Schema, Strategy, bt

# Markets that pay above a floor, and those that pay below a cap.
ABOVE = frozenset(("greater", "greater_or_equal"))
BELOW = frozenset(("less", "less_or_equal"))


class Pair(NamedTuple):
    """Two markets of a ladder: whenever the narrower pays, so does the wider.

    Who buys the wider and sells the narrower gets a dollar at least, and two between the strikes.
    """

    wider: Any
    narrower: Any


class EventLadder(Strategy):
    """Buys pairs that pay more than they cost, whatever happens.

    Each leg meets the market by itself, so that one may be filled without the other; that part is
    held to settlement.
    """

    name = "event-ladder"
    version = "1"
    summary = "Buys the wider and sells the narrower of two thresholds where that is sure to gain."
    schema: ClassVar[Schema] = {
        "edge": EDGE,
        "seconds": Parameter(
            default=60.0, least=0.0, most=86_400.0, unit="seconds", label="Maximum age of a book",
            help="Both legs must have been observed within this time.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    def start(self) -> None:
        self.orders_in_flight: dict[str, int] = {}

    def next(self) -> None:
        fresh = {feed.listing.event: feed for feed in self.fresh}
        for event, feed in fresh.items():
            if not self.orders_in_flight.get(event):
                self._trade(event, self._pairs(self.event_feeds(feed)))

    def notify_order(self, order: Any) -> None:
        if not order.alive():
            self.orders_in_flight[order.data.listing.event] -= 1

    def _pairs(self, feeds: Sequence[Any]) -> list[Pair]:
        """The pairs of an event that cost less than a dollar, of markets that can be traded."""
        # Whether a market was observed lately is asked only where it matters.
        return crossed(self._young(feeds)) if crossed(feeds) else []

    def _young(self, feeds: Sequence[Any]) -> list[Any]:
        live, oldest = {feed.market for feed in self.live}, self.now - self.p.seconds * SECOND
        return [feed for feed in feeds if feed.market in live and self.observed_at(feed) >= oldest]

    def _trade(self, event: str, pairs: Sequence[Pair]) -> None:
        """Order the pair that gains most, if one is sure to."""
        gains = [(self._gain(pair), pair) for pair in pairs]
        gain, pair = max(gains, key=lambda each: each[0], default=(0.0, None))
        self.condition("a wider market asks less than a narrower one bids", pairs)
        if pair is None or not self.condition("a sure gain", gain > 0):
            return
        contracts = self._contracts(pair)
        self.orders_in_flight[event] = 2
        reason = f"gains ${gain:,.2f} with the other leg"
        limit = {"exectype": bt.Order.Limit, "tif": "ioc", "reason": reason}
        self.buy(pair.wider, contracts, pair.wider.ask[0], **limit)
        self.sell(pair.narrower, contracts, pair.narrower.bid[0], **limit)

    def _gain(self, pair: Pair) -> float:
        """The dollars that a pair is sure to gain beyond the edge, after fees."""
        contracts, ask, bid = self._contracts(pair), pair.wider.ask[0], pair.narrower.bid[0]
        if not contracts:
            return 0.0
        fees = self.taker_fee(pair.wider, contracts, ask)
        fees += self.taker_fee(pair.narrower, -contracts, bid)
        return float(contracts * (bid - ask - self.p.edge) - fees)

    def _contracts(self, pair: Pair) -> int:
        """The contracts that both legs show and that are not held yet; 0 for an unknown size."""
        held = max(abs(self.getposition(feed).size) for feed in pair)
        shown = (pair.wider.ask_size[0], pair.narrower.bid_size[0])
        # An unknown size is NaN, of which `min` would make whatever stands beside it.
        if not all(size >= 1 for size in shown):
            return 0
        return max(int(min(*shown, self.p.contracts - held)), 0)


def crossed(feeds: Sequence[Any]) -> list[Pair]:
    """Each market with the cheapest wider one, where its bid exceeds what that one costs.

    The feeds go from the lowest strike to the highest.
    """
    above = [f for f in feeds if _has_strike(f, ABOVE, "floor_strike")]
    below = [f for f in feeds if _has_strike(f, BELOW, "cap_strike")]
    return [*_crossed(above, "floor_strike"), *_crossed(below[::-1], "cap_strike")]


def _has_strike(feed: Any, types: frozenset[str], strike: str) -> bool:
    return feed.listing.strike_type in types and getattr(feed.listing, strike) is not None


def _crossed(feeds: Sequence[Any], strike: str) -> Iterator[Pair]:
    """The same for feeds from the widest to the narrowest; equal strikes make no pair."""
    cheapest = None
    for _, level in groupby(feeds, key=lambda feed: getattr(feed.listing, strike)):
        same = list(level)
        if cheapest is not None:
            yield from (Pair(cheapest, each) for each in same if each.bid[0] > cheapest.ask[0])
        offered = [each for each in (*same, cheapest) if each is not None and each.ask[0] >= 0]
        cheapest = min(offered, key=lambda each: each.ask[0], default=None)
