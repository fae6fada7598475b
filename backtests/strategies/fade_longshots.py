"""Sell what hardly ever happens and costs too much."""

from typing import ClassVar

import numpy as np

from backtests.data.universe import Bools, Floats, Ints, Seen, exact
from backtests.strategies.base import (
    BELIEF,
    CONTRACTS,
    EDGE,
    HOLD,
    WIDEST,
    Parameter,
    Schema,
    Signal,
)


class FadeLongshots(Signal):
    """A longshot's chance is stated as its midpoint times `belief`, wherever it is a longshot."""

    name = "fade-longshots"
    version = "2"
    summary = "Buys NO where YES is cheap and dearer than its chance, and holds it to settlement."
    schema: ClassVar[Schema] = {
        "ceiling": Parameter(
            default=0.15, least=0.01, most=0.5, unit="dollars",
            help="YES at this midpoint or below is a longshot.",
        ),
        "floor": Parameter(
            default=0.02, least=0.0, most=0.5, unit="dollars",
            help="Below this midpoint there is too little to win.",
        ),
        "belief": BELIEF,
        "edge": EDGE,
        "widest": WIDEST,
        "hours_least": Parameter(
            default=0.0, least=0.0, most=87_600.0, unit="hours",
            help="Enter no later than this before the close.",
        ),
        "hours_most": Parameter(
            default=720.0, least=0.0, most=87_600.0, unit="hours",
            help="Enter no earlier than this before the close.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, seen: Seen) -> Ints:
        hours = seen.seconds_to_close / 3_600
        timely = (hours >= self.p.hours_least) & (hours <= self.p.hours_most)
        dear = exact(seen.bid - self.p.belief * seen.mid) >= self.p.edge
        narrow = seen.spread <= self.p.widest
        sold = self._longshots(seen) & dear & narrow & timely & seen.tradable
        return np.where(sold, -self.p.contracts, HOLD)

    def probabilities(self, seen: Seen) -> Floats:
        return np.where(self._longshots(seen), self.p.belief * seen.mid, np.nan)

    def _longshots(self, seen: Seen) -> Bools:
        longshots: Bools = (seen.mid >= self.p.floor) & (seen.mid <= self.p.ceiling)
        return longshots
