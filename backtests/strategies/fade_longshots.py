"""Fade longshots: sell unlikely outcomes that are overpriced."""

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


class FadeLongshots(Signal):
    """Sells longshots, whose stated probability is their midpoint times `belief`."""

    name = "fade-longshots"
    version = "3"
    summary = "Buys NO where YES is cheap but overpriced, and holds it to settlement."
    schema: ClassVar[Schema] = {
        "ceiling": Parameter(
            default=0.15, least=0.01, most=0.5, unit="dollars",
            help="YES is a longshot up to this midpoint.", label="Maximum midpoint",
        ),
        "floor": Parameter(
            default=0.02, least=0.0, most=0.5, unit="dollars",
            help="Below this midpoint there is too little to win.", label="Minimum midpoint",
        ),
        "belief": BELIEF,
        "edge": EDGE,
        "widest": MAX_SPREAD,
        "hours_least": Parameter(
            default=0.0, least=0.0, most=87_600.0, unit="hours",
            label="Minimum hours to close", help="Enter no later than this before the close.",
        ),
        "hours_most": Parameter(
            default=720.0, least=0.0, most=87_600.0, unit="hours",
            label="Maximum hours to close", help="Enter no earlier than this before the close.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    @property
    def decide_every(self) -> float:
        return decisions_within(self.p.hours_most)

    def targets(self, history: QuoteHistory) -> Ints:
        hours = history.seconds_to_close / 3_600
        timely = (hours >= self.p.hours_least) & (hours <= self.p.hours_most)
        overpriced = exact(history.bid - self.p.belief * history.mid) >= self.p.edge
        sold = (
            self.condition("trading", history.tradable)
            & self.condition("a longshot", self._longshots(history))
            & self.condition("within the hours", timely)
            & self.condition("within the spread", history.spread <= self.p.widest)
            & self.condition("overpriced by the edge", overpriced)
        )
        return np.where(sold, -self.p.contracts, HOLD)

    def probabilities(self, history: QuoteHistory) -> Floats:
        return np.where(self._longshots(history), self.p.belief * history.mid, np.nan)

    def _longshots(self, history: QuoteHistory) -> Bools:
        longshots: Bools = (history.mid >= self.p.floor) & (history.mid <= self.p.ceiling)
        return longshots
