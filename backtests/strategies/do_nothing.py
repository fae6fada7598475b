"""A yardstick: keep the cash."""

from backtests.data.universe import Ints, QuoteHistory
from backtests.strategies.base import HOLD, Signal
from kalshi_insights.arrays import np


class DoNothing(Signal):
    name = "do-nothing"
    version = "1"
    summary = "Keeps its cash."

    def targets(self, history: QuoteHistory) -> Ints:
        return np.full(len(history), HOLD)
