"""Bet on more of the same."""

from typing import ClassVar

import numpy as np

from backtests.data.universe import Ints, Seen, exact
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, WIDEST, Parameter, Schema, Signal


class Momentum(Signal):
    name = "momentum"
    version = "2"
    summary = "Goes with a midpoint whose fast mean has left its slow one, until they come closer."
    schema: ClassVar[Schema] = {
        "fast": Parameter(
            default=10, least=1, most=10_000, unit="quotes",
            help="Over how many quotes the fast mean is taken.",
        ),
        "slow": Parameter(
            default=60, least=2, most=10_000, unit="quotes",
            help="Over how many quotes the slow mean is taken.",
        ),
        "threshold": Parameter(
            default=0.02, least=0.0, most=0.5, unit="dollars",
            help="How far apart the means have to be.",
        ),
        "widest": WIDEST,
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, seen: Seen) -> Ints:
        windows = indicators.mid_windows(seen)
        lead = exact(windows.mean(self.p.fast) - windows.mean(self.p.slow))
        narrow = seen.spread <= self.p.widest
        targets = np.full(len(seen), HOLD)
        # Half way back is near enough: the means meet long after the move is over.
        targets[np.abs(lead) <= self.p.threshold / 2] = 0
        targets[narrow & (lead > self.p.threshold)] = self.p.contracts
        targets[narrow & (lead < -self.p.threshold)] = -self.p.contracts
        targets[~seen.tradable] = HOLD
        return targets
