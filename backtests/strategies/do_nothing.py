"""A yardstick: what cash alone would have come to."""

import numpy as np

from backtests.data.universe import Ints, Seen
from backtests.strategies.base import HOLD, Signal


class DoNothing(Signal):
    name = "do-nothing"
    version = "1"
    summary = "Keeps its cash."

    def targets(self, seen: Seen) -> Ints:
        return np.full(len(seen), HOLD)
