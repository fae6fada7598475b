"""Backtest runs and their journals; one noun a file."""

from backtests.models.executions import BacktestExecution, ExecutionKind
from backtests.models.results import (
    ENTRY_COLUMNS,
    LONGEST_ERROR,
    LOST_AFTER,
    RUN_BACKTESTS,
    BacktestResult,
    BacktestStatus,
    Engine,
    HeartbeatReply,
    SnapshotSources,
)
from backtests.models.trials import Trial, TrialRow

__all__ = [
    "ENTRY_COLUMNS",
    "LONGEST_ERROR",
    "LOST_AFTER",
    "RUN_BACKTESTS",
    "BacktestExecution",
    "BacktestResult",
    "BacktestStatus",
    "Engine",
    "ExecutionKind",
    "HeartbeatReply",
    "SnapshotSources",
    "Trial",
    "TrialRow",
]
