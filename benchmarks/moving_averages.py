"""A child process that runs a crossing of two moving averages in our engine.

Usage: `python -m benchmarks.moving_averages QUOTES WAY`, where WAY is `signal` or `indicators`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, cast

import backtrader as bt
import numpy as np

from backtests.data.universe import CONTRACT, MONEY, Ints, QuoteHistory, Quotes
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import HOLD, ExecutionModel, FillModel
from backtests.strategies import indicators
from backtests.strategies.base import Signal, Strategy
from benchmarks import child_process, random_walks

FAST, SLOW, CONTRACTS = 20, 100, 10


class Crossing(Signal):
    name, version, summary = "crossing", "1", "Goes with the fast mean when it crosses the slow."

    def targets(self, history: QuoteHistory) -> Ints:
        windows = indicators.mid_windows(history)
        lead = np.sign(windows.mean(FAST) - windows.mean(SLOW))
        apart = np.flatnonzero(np.abs(lead) > 0)
        crossed = apart[1:][lead[apart[1:]] != lead[apart[:-1]]]
        self.rows = crossed.tolist()
        targets = np.full(len(history), HOLD)
        targets[crossed] = lead[crossed].astype(np.int64) * CONTRACTS
        return targets


class Crosses:
    """The crossing with backtrader's indicators, on prices in cents.

    Midpoints in cents are exact, so two means are equal where they should be.
    """

    rows: list[int]

    def watch(self: Any, cents: Any) -> None:
        fast, slow = (bt.ind.SMA(cents, period=rows) for rows in (FAST, SLOW))
        self.crossing = bt.ind.CrossOver(fast, slow)
        self.rows = []

    def next(self: Any) -> None:
        if self.crossing[0] in (1, -1):
            self.rows.append(len(self) - 1)
            self.order_target_size(target=CONTRACTS * self.crossing[0])


class Indicators(Crosses, Strategy):
    name, version, summary = "crossing-indicators", "1", "The same by backtrader's indicators."

    def __init__(self) -> None:
        self.watch(self.data.close * CONTRACT)


def in_our_engine(quotes: Quotes, strategy: Crossing | type[Indicators]) -> list[int]:
    universe = random_walks.listed(quotes, markets=1)
    ran = cerebro.run(universe, strategy, ExecutionModel(), FillModel.EXPECTED, cash=10_000 * MONEY)
    return strategy.rows if isinstance(strategy, Crossing) else cast(Indicators, ran.strategy).rows


def run_measured(work: Callable[[Quotes], list[int]]) -> None:
    """Print the cost of a run that starts from prepared columns."""
    quotes = random_walks.quotes(int(sys.argv[1]), markets=1)
    began, worked = time.perf_counter(), time.process_time()
    rows = work(quotes)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    child_process.print_result({"seconds": seconds, "cpu": cpu, "rows": rows})


if __name__ == "__main__":
    strategy = Crossing() if sys.argv[2] == "signal" else Indicators
    run_measured(lambda quotes: in_our_engine(quotes, strategy))
