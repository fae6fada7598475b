"""Bet on the way back."""

from typing import ClassVar

import numpy as np

from backtests.data.universe import Ints, Seen
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, WIDEST, Parameter, Schema, Signal


class MeanReversion(Signal):
    name = "mean-reversion"
    version = "2"
    summary = "Trades against a midpoint far from its recent mean, until it is back."
    schema: ClassVar[Schema] = {
        "window": Parameter(
            default=60, least=2, most=10_000, unit="quotes",
            help="Over how many quotes mean and deviation are taken.",
        ),
        "enter": Parameter(
            default=2.0, least=0.1, most=20.0, unit="deviations",
            help="Enter this far from the mean.",
        ),
        "leave": Parameter(
            default=0.5, least=0.0, most=20.0, unit="deviations",
            help="Leave this near to the mean; entering goes first.",
        ),
        "widest": WIDEST,
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, seen: Seen) -> Ints:
        score = indicators.mid_windows(seen).score(self.p.window)
        narrow = seen.tradable & (seen.spread <= self.p.widest)
        back = seen.tradable & (score <= self.p.leave) & (score >= -self.p.leave)
        targets = np.full(len(seen), HOLD)
        np.putmask(targets, back, 0)
        np.putmask(targets, narrow & (score >= self.p.enter), -self.p.contracts)
        np.putmask(targets, narrow & (score <= -self.p.enter), self.p.contracts)
        return targets
