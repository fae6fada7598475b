"""A yardstick: to believe the market, and no more."""

from typing import ClassVar

import numpy as np

from backtests.data.universe import Ints, Seen
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, Schema, Signal


class AlwaysFavourite(Signal):
    name = "always-favourite"
    version = "1"
    summary = "Buys the side that is dearer when a market first has two sides, and holds it."
    schema: ClassVar[Schema] = {"contracts": CONTRACTS}

    def targets(self, seen: Seen) -> Ints:
        sides = indicators.two_sided(seen)
        first = indicators.first(seen, seen.mid, sides)
        side = np.where(first > 0.5, self.p.contracts, -self.p.contracts)
        return np.where(sides, side, HOLD)
