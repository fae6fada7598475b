"""A yardstick: most of what is listed does not happen."""

from typing import ClassVar

import numpy as np

from backtests.data.universe import Ints, Seen
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, Schema, Signal


class AlwaysNo(Signal):
    name = "always-no"
    version = "1"
    summary = "Buys NO in every market as soon as it has two sides, and holds it."
    schema: ClassVar[Schema] = {"contracts": CONTRACTS}

    def targets(self, seen: Seen) -> Ints:
        return np.where(indicators.two_sided(seen), -self.p.contracts, HOLD)
