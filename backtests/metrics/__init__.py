"""The figures of a run, computed from its journal and the books behind it."""

from backtests.metrics.coverage import CoverageFigures, coverage
from backtests.metrics.drawdown import Drawdown
from backtests.metrics.figures import BILL_RATE, Figures, measure
from backtests.metrics.marks import EquityPath, trace
from backtests.metrics.waits import Waits, waits
from backtests.metrics.words import Assumptions, dollars, verdict

__all__ = [
    "BILL_RATE",
    "Assumptions",
    "CoverageFigures",
    "Drawdown",
    "EquityPath",
    "Figures",
    "Waits",
    "coverage",
    "dollars",
    "measure",
    "trace",
    "verdict",
    "waits",
]
