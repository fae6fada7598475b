"""The outcomes of one event side by side: whether their prices fit each other.

Prices are dollars on the YES scale. What looks like a certain gain is one only on quotes of one
instant, which the caller has to know.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from markets import fees
from markets.fees import Rate, Rounding

PRICE_UNIT = 10_000  # a dollar of a price
COUNT_UNIT = 100  # a contract
MONEY_UNIT = 1_000_000  # a dollar of money
RISING, FALLING = "rising", "falling"
# How the probability goes with the strike, by Kalshi's word for the strike.
LADDERS = {
    "greater": FALLING,
    "greater_or_equal": FALLING,
    "less": RISING,
    "less_or_equal": RISING,
}


class Offer(NamedTuple):
    """The bid of an outcome, and the rate of a taker's fee; None is unknown."""

    bid: Decimal | None
    bid_size: Decimal | None
    rate: Rate | None


class Bundle(NamedTuple):
    """The sale of one contract of YES of each outcome that has a bid.

    Where at most one outcome happens, at most one of them costs a dollar.
    """

    legs: int
    bids: Decimal
    contracts: int  # whole bundles that the shown sizes allow
    fees: Decimal | None  # of all bundles, at least of one; None where a leg's fee is unknown

    @property
    def fees_each(self) -> Decimal | None:
        return None if self.fees is None else round(self.fees / max(self.contracts, 1), 4)

    @property
    def gain(self) -> Decimal | None:
        """The certain gain of all bundles, at least of one, in dollars."""
        if self.fees is None:
            return None
        return max(self.contracts, 1) * (self.bids - 1) - self.fees


def bundle(offers: Iterable[Offer], rounding: Rounding) -> Bundle | None:
    """Return the bundle of an event; None where fewer than two outcomes have a bid."""
    legs = [offer for offer in offers if offer.bid]
    if len(legs) < 2:
        return None
    sizes = [leg.bid_size for leg in legs if leg.bid_size is not None]
    contracts = int(min(sizes)) if len(sizes) == len(legs) else 0
    charged = [_fee(leg, max(contracts, 1), rounding) for leg in legs]
    known = [fee for fee in charged if fee is not None]
    return Bundle(
        legs=len(legs),
        bids=sum((leg.bid for leg in legs if leg.bid), Decimal()),
        contracts=contracts,
        fees=sum(known, Decimal()) if len(known) == len(legs) else None,
    )


def _fee(leg: Offer, contracts: int, rounding: Rounding) -> Decimal | None:
    if leg.rate is None or leg.bid is None:
        return None
    count, price = contracts * COUNT_UNIT, int(leg.bid * PRICE_UNIT)
    fee, _ = fees.charge(
        count, price, -count * (PRICE_UNIT - price), leg.rate.numerator, leg.rate.denominator,
        rounding.step, rounding.grid, rounding.rebate, 0,
    )  # fmt: skip
    return Decimal(fee) / MONEY_UNIT


class Rung(NamedTuple):
    """A rung of a ladder of strikes; the strike is the floor or the cap."""

    strike: Decimal
    bid: Decimal | None
    ask: Decimal | None


def violations(rungs: Sequence[Rung], direction: str) -> dict[int, int]:
    """Return the rungs whose bid exceeds the ask of a rung that is at least as probable.

    Each comes with the place of the cheapest such rung: buying YES of that one and selling YES of
    the dearer costs less than nothing, and can never lose.
    """
    places = sorted(range(len(rungs)), key=lambda place: rungs[place].strike)
    if direction == RISING:
        places.reverse()
    found: dict[int, int] = {}
    cheapest: int | None = None
    cheapest_ask: Decimal | None = None
    for place in places:
        rung = rungs[place]
        is_dear = rung.bid is not None and cheapest_ask is not None and rung.bid > cheapest_ask
        if is_dear and cheapest is not None:
            found[place] = cheapest
        if rung.ask is not None and (cheapest_ask is None or rung.ask < cheapest_ask):
            cheapest, cheapest_ask = place, rung.ask
    return found
