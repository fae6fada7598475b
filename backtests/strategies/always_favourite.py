"""A yardstick: buy the favourite of every market."""

from typing import ClassVar

from backtests.data.universe import Ints, QuoteHistory
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, Schema, Signal
from kalshi_insights.arrays import np


class AlwaysFavourite(Signal):
    name = "always-favourite"
    version = "1"
    summary = "Buys the more expensive side when a market is first two-sided, and holds it."
    schema: ClassVar[Schema] = {"contracts": CONTRACTS}

    def targets(self, history: QuoteHistory) -> Ints:
        two_sided = self.condition("trading with both sides", indicators.two_sided(history))
        first = indicators.first_where(history, history.mid, two_sided)
        target = np.where(first > 0.5, self.p.contracts, -self.p.contracts)
        return np.where(two_sided, target, HOLD)
