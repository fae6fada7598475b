"""Backtests through backtrader, for strategies that are written for it."""
