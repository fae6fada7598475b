"""Figures of a run: pure, from its journal and the books it was made on."""

from backtests.metrics.drawdown import Drawdown
from backtests.metrics.figures import BILL_RATE, Figures, measure
from backtests.metrics.marks import EquityPath, equity, trace
from backtests.metrics.words import Assumed, dollars, robust, verdict

__all__ = [
    "BILL_RATE",
    "Assumed",
    "Drawdown",
    "EquityPath",
    "Figures",
    "dollars",
    "equity",
    "measure",
    "robust",
    "trace",
    "verdict",
]
