"""A child process that asks for the live feeds at every step of many markets.

Each market has rows at instants of its own, so that there is a step for each row of any market.
Usage: `python -m benchmarks.live_markets MARKETS EACH`.
"""

import sys
import time
from dataclasses import replace

import numpy as np

from backtests.data.universe import MONEY, Universe
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import Strategy
from benchmarks import child_process, random_walks


class AsksForLive(Strategy):
    """Counts the live feeds at every step."""

    name, version, summary = "asks-for-live", "1", "Counts the live feeds."

    def __init__(self) -> None:
        self.steps = self.live_feeds = 0

    def next(self) -> None:
        self.steps += 1
        self.live_feeds += len(self.live)


def main() -> None:
    markets, each = map(int, sys.argv[1:])
    universe = one_after_another(markets, each)
    began, worked = time.perf_counter(), time.process_time()
    finished = cerebro.run(
        universe, AsksForLive, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY
    )
    strategy = finished.strategy
    assert isinstance(strategy, AsksForLive)
    child_process.print_result(
        {
            "seconds": time.perf_counter() - began,
            "cpu": time.process_time() - worked,
            "rows": len(universe.quotes),
            "steps": strategy.steps,
            "live": strategy.live_feeds / strategy.steps,
        }
    )


def one_after_another(markets: int, each: int) -> Universe:
    """Make markets whose rows come in turn, and which are known at their rows alone."""
    together = random_walks.quotes(markets * each, markets=markets)
    quotes = replace(together, at=together.at + together.market * random_walks.INTERVAL // markets)
    listed = random_walks.listed(quotes, markets=markets)
    assert len(np.unique(quotes.at)) == len(quotes)
    return replace(listed, observed=None)


if __name__ == "__main__":
    main()
