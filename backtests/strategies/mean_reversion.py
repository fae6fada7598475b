"""Mean reversion: trade against a price that is far from its recent mean."""

from typing import ClassVar

from backtests.data.universe import Ints, QuoteHistory
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, MAX_SPREAD, Parameter, Schema, Signal
from kalshi_insights.arrays import np


class MeanReversion(Signal):
    name = "mean-reversion"
    version = "2"
    summary = "Trades against a midpoint far from its recent mean, until it returns."
    schema: ClassVar[Schema] = {
        "window": Parameter(
            default=60, least=2, most=10_000, unit="quotes",
            help="Quotes over which the mean and the standard deviation are computed.",
        ),
        "enter": Parameter(
            default=2.0, least=0.1, most=20.0, unit="deviations",
            help="Enter this far from the mean.",
        ),
        "leave": Parameter(
            default=0.5, least=0.0, most=20.0, unit="deviations",
            help="Leave this close to the mean; entering takes precedence.",
        ),
        "widest": MAX_SPREAD,
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, history: QuoteHistory) -> Ints:
        score = indicators.mid_windows(history).z_score(self.p.window)
        narrow = self.condition("trading", history.tradable) & self.condition(
            "within the spread", history.spread <= self.p.widest
        )
        returned = history.tradable & (score <= self.p.leave) & (score >= -self.p.leave)
        self.condition("a window of known prices", ~np.isnan(score))
        above, below = score >= self.p.enter, score <= -self.p.enter
        self.condition("far from the mean", above | below)
        targets = np.full(len(history), HOLD)
        np.putmask(targets, returned, 0)
        np.putmask(targets, narrow & above, -self.p.contracts)
        np.putmask(targets, narrow & below, self.p.contracts)
        return targets
