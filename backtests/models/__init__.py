"""Backtest runs with their journals, and searches of parameters; one noun a file."""

from backtests.models.executions import BacktestExecution, ExecutionKind
from backtests.models.requested import Engine, RequestedRun, SnapshotSources
from backtests.models.results import (
    ENTRY_COLUMNS,
    LONGEST_ERROR,
    LOST_AFTER,
    RUN_BACKTESTS,
    BacktestResult,
    BacktestStatus,
    HeartbeatReply,
)
from backtests.models.search_chunks import ChunkStatus, SearchChunk
from backtests.models.searches import Search, SearchPoint
from backtests.models.trials import Trial, TrialRow

__all__ = [
    "ENTRY_COLUMNS",
    "LONGEST_ERROR",
    "LOST_AFTER",
    "RUN_BACKTESTS",
    "BacktestExecution",
    "BacktestResult",
    "BacktestStatus",
    "ChunkStatus",
    "Engine",
    "ExecutionKind",
    "HeartbeatReply",
    "RequestedRun",
    "Search",
    "SearchChunk",
    "SearchPoint",
    "SnapshotSources",
    "Trial",
    "TrialRow",
]
