"""A child process that measures the kernel: single runs on one core, and a sweep on all cores."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from backtests.data.universe import MONEY, Ints, QuoteHistory, Universe
from backtests.engine import kernel
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import Signal
from backtests.strategies.do_nothing import DoNothing
from backtests.strategies.mean_reversion import MeanReversion
from backtests.strategies.momentum import Momentum
from benchmarks import child_process, random_walks

MARKETS = 100
CASH = 1_000_000 * MONEY
TAKERS, MAKERS = ExecutionModel(), ExecutionModel(make=True)
RUNS = {
    "nothing": DoNothing(),
    "momentum": Momentum(),
    "mean reversion": MeanReversion(window=120),
}
SETS = [
    {"window": window, "enter": 1.25 + enter / 4, "leave": leave / 4}
    for window, enter, leave in product(range(20, 420, 20), range(10), range(5))
]


def random_universe(quotes: int) -> Universe:
    return random_walks.listed(random_walks.quotes(quotes, markets=MARKETS), markets=MARKETS)


def main() -> None:
    quotes, sets = map(int, sys.argv[1:])
    universe = random_universe(quotes)
    results = {name: measure_run(universe, signal) for name, signal in RUNS.items()}
    tape = random_walks.tape_of(universe.quotes, quotes, markets=MARKETS)
    taped = replace(universe, tape=tape)
    makers = {name: measure_run(taped, signal, MAKERS) for name, signal in RUNS.items()}
    candidates = [MeanReversion(**values) for values in SETS[:sets]]
    sweep = measure_sweep(universe, candidates)
    child_process.print_result({"runs": results, "makers": makers, "sweep": sweep})


def measure_run(
    universe: Universe, signal: Signal, execution: ExecutionModel = TAKERS
) -> dict[str, float]:
    """Measure the fastest of five runs, because the machine may be busy."""
    targets = targets_of(universe, signal)
    lines = len(run(universe, targets, execution).journal)
    seconds = min(timed(lambda: run(universe, targets, execution)) for _ in range(5))
    return {"seconds": seconds, "lines": lines}


def run(universe: Universe, targets: Ints, execution: ExecutionModel = TAKERS) -> Any:
    return kernel.run(universe, targets, execution, FillModel.EXPECTED, cash=CASH)


def targets_of(universe: Universe, signal: Signal) -> Ints:
    history = QuoteHistory.of(universe)
    return history.to_quote_order(signal.targets(history))


def measure_sweep(universe: Universe, candidates: Sequence[Signal]) -> dict[str, float]:
    worked = time.process_time()
    seconds = timed(
        lambda: kernel.run_many(
            universe, candidates, ExecutionModel(), FillModel.EXPECTED, cash=CASH
        )
    )
    return {"seconds": seconds, "cpu": time.process_time() - worked}


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
