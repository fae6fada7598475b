"""Backtests through backtrader, for strategies that are written for it."""

from backtests.engine.running import Finished, run

__all__ = ["Finished", "run"]
