"""A yardstick: buy NO in every market, since most listed outcomes do not happen."""

from typing import ClassVar

from backtests.data.universe import Ints, QuoteHistory
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, Schema, Signal
from kalshi_insights.arrays import np


class AlwaysNo(Signal):
    name = "always-no"
    version = "1"
    summary = "Buys NO in every market as soon as it is two-sided, and holds it."
    schema: ClassVar[Schema] = {"contracts": CONTRACTS}

    def targets(self, history: QuoteHistory) -> Ints:
        two_sided = self.condition("trading with both sides", indicators.two_sided(history))
        return np.where(two_sided, -self.p.contracts, HOLD)
