"""Buy favourites shortly before the close, and hold them."""

from typing import ClassVar

from backtests.data.universe import Bools, Floats, Ints, QuoteHistory, exact
from backtests.strategies.base import (
    BELIEF,
    CONTRACTS,
    EDGE,
    HOLD,
    MAX_SPREAD,
    Parameter,
    Schema,
    Signal,
    decisions_within,
)
from kalshi_insights.arrays import np


class FavouriteHold(Signal):
    """Buys favourites; the stated probability of the other side is its midpoint times `belief`."""

    name = "favourite-hold"
    version = "3"
    summary = "Buys the side that is nearly certain shortly before the close, and holds it."
    schema: ClassVar[Schema] = {
        "threshold": Parameter(
            default=0.85, least=0.5, most=0.999, unit="dollars",
            help="A side is the favourite from this midpoint on.", label="Minimum midpoint",
        ),
        "ceiling": Parameter(
            default=0.99, least=0.5, most=0.999, unit="dollars",
            help="Above this midpoint there is too little to win.", label="Maximum midpoint",
        ),
        "belief": BELIEF,
        "edge": EDGE,
        "widest": MAX_SPREAD,
        "hours_most": Parameter(
            default=24.0, least=0.0, most=87_600.0, unit="hours",
            label="Maximum hours to close", help="Enter no earlier than this before the close.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    @property
    def decide_every(self) -> float:
        return decisions_within(self.p.hours_most)

    def targets(self, history: QuoteHistory) -> Ints:
        hours = history.seconds_to_close / 3_600
        fit = (
            self.condition("trading", history.tradable)
            & self.condition("within the hours", (hours >= 0) & (hours <= self.p.hours_most))
            & self.condition("within the spread", history.spread <= self.p.widest)
        )
        probability = self._probability(history)
        yes, no = self._favoured(history.mid), self._favoured(exact(1 - history.mid))
        self.condition("a favourite", yes | no)
        yes &= exact(probability - history.ask) >= self.p.edge
        no &= exact(history.bid - probability) >= self.p.edge
        self.condition("underpriced by the edge", yes | no)
        yes, no = fit & yes, fit & no
        return np.where(yes, self.p.contracts, np.where(no, -self.p.contracts, HOLD))

    def probabilities(self, history: QuoteHistory) -> Floats:
        favourite = self._favoured(history.mid) | self._favoured(exact(1 - history.mid))
        return np.where(favourite, self._probability(history), np.nan)

    def _favoured(self, price: Floats) -> Bools:
        favoured: Bools = (price >= self.p.threshold) & (price <= self.p.ceiling)
        return favoured

    def _probability(self, history: QuoteHistory) -> Floats:
        """The probability of YES, if the cheaper side is worth its midpoint times `belief`."""
        cheap: Floats = self.p.belief * np.minimum(history.mid, 1 - history.mid)
        return np.where(history.mid > 0.5, 1 - cheap, cheap)
