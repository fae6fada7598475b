"""The event-driven engine, for strategies that are written for backtrader."""
