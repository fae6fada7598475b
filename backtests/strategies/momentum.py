"""Momentum: follow a price whose fast mean has moved away from its slow mean."""

from typing import ClassVar

from backtests.data.universe import Ints, QuoteHistory, exact
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, MAX_SPREAD, Parameter, Schema, Signal
from kalshi_insights.arrays import np


class Momentum(Signal):
    name = "momentum"
    version = "2"
    summary = "Follows a midpoint whose fast and slow means are apart, until they come closer."
    schema: ClassVar[Schema] = {
        "fast": Parameter(
            default=10, least=1, most=10_000, unit="quotes",
            help="Quotes over which the fast mean is computed.",
        ),
        "slow": Parameter(
            default=60, least=2, most=10_000, unit="quotes",
            help="Quotes over which the slow mean is computed.",
        ),
        "threshold": Parameter(
            default=0.02, least=0.0, most=0.5, unit="dollars",
            help="Enter where the means are further apart than this.",
        ),
        "widest": MAX_SPREAD,
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, history: QuoteHistory) -> Ints:
        windows = indicators.mid_windows(history)
        lead = exact(windows.mean(self.p.fast) - windows.mean(self.p.slow))
        self.condition("trading", history.tradable)
        narrow = self.condition("within the spread", history.spread <= self.p.widest)
        self.condition("windows of known prices", ~np.isnan(lead))
        rising, falling = lead > self.p.threshold, lead < -self.p.threshold
        self.condition("means far enough apart", rising | falling)
        targets = np.full(len(history), HOLD)
        # Leave half way back, since the means only meet long after the move is over.
        targets[np.abs(lead) <= self.p.threshold / 2] = 0
        targets[narrow & rising] = self.p.contracts
        targets[narrow & falling] = -self.p.contracts
        targets[~history.tradable] = HOLD
        return targets
