"""The figures of a run, computed from its journal and the books behind it."""

from backtests.metrics.drawdown import Drawdown
from backtests.metrics.figures import BILL_RATE, Figures, measure
from backtests.metrics.marks import EquityPath, trace
from backtests.metrics.words import Assumptions, dollars, verdict

__all__ = [
    "BILL_RATE",
    "Assumptions",
    "Drawdown",
    "EquityPath",
    "Figures",
    "dollars",
    "measure",
    "trace",
    "verdict",
]
