"""A child process that backtests many simulated markets, observed every 5 seconds.

The markets share one cash balance, and the strategy runs under all three fill models. Usage:
`python -m benchmarks.many_markets MARKETS INSTANTS ENGINE`; ENGINE is `kernel` or `backtrader`.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from backtests.data.universe import (
    DAY,
    MONEY,
    SECOND,
    Universe,
    microseconds,
)
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import ExecutionModel, FillModel, RunOutcome
from backtests.strategies.mean_reversion import MeanReversion
from backtests.tests import simulated_universes
from backtests.tests.random_universes import in_order
from benchmarks import child_process, random_walks
from markets.simulator import universe as exchange
from markets.simulator.cadence import STEP
from markets.simulator.prices import Prices

START = microseconds(datetime(2026, 9, 1, tzinfo=UTC))
CASH = 100_000 * MONEY
SIGNAL = MeanReversion(window=120)
EXECUTION = ExecutionModel(make=True)


def main() -> None:
    markets, instants, which = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    universe = universe_of_day(open_all_day(), markets, instants)
    began, worked = time.perf_counter(), time.process_time()
    run = by_kernel if which == "kernel" else by_backtrader
    outcomes = run(universe)
    child_process.print_result(
        {
            "seconds": time.perf_counter() - began,
            "cpu": time.process_time() - worked,
            "rows": len(universe.quotes),
            "looks": len(universe.listings) * instants,
            "settled": sum(each is not None for each in universe.settlements),
            "lines": [len(outcome.journal) for outcome in outcomes],
            "cash": [outcome.cash for outcome in outcomes],
        }
    )


def open_all_day() -> list[exchange.SimulatedEvent]:
    first, last = START // SECOND, (START + DAY) // SECOND
    every = exchange.SimulatedUniverse(markets=20_000)
    found = (
        simulated_universes.HOURS.fit(every.event(line, number))
        for line in every.lines
        for number in line.numbers(first, last)
    )
    within = (e for e in found if e is not None and e.opened <= first and e.ended >= last)
    # The markets that end first move most.
    return sorted(within, key=lambda event: (event.ended, event.ticker))


def universe_of_day(
    events: Sequence[exchange.SimulatedEvent], markets: int, instants: int
) -> Universe:
    """Observe every market at every instant, with a row where its quote has changed.

    Events are taken whole, so the last one may bring more markets than requested.
    """
    ends = np.cumsum([len(event.outcomes) for event in events])
    selected = events[: int(np.searchsorted(ends, markets)) + 1]
    prices = Prices.of(selected, bias=True, hours=simulated_universes.HOURS)
    listed, seconds = len(prices.traits.event), START // SECOND + np.arange(instants) * STEP
    columns_of = partial(simulated_universes.quote_columns, prices)
    rows = [simulated_universes.changes(columns_of, market, seconds) for market in range(listed)]
    universe = simulated_universes.with_listings(in_order(rows), selected)
    observed = random_walks.observed_together(seconds * SECOND, markets=listed)
    return replace(universe, observed=observed)


def by_kernel(universe: Universe) -> list[RunOutcome]:
    targets = SIGNAL.all_targets(universe)
    return [kernel.run(universe, targets, EXECUTION, fills, cash=CASH) for fills in FillModel]


def by_backtrader(universe: Universe) -> list[RunOutcome]:
    return [
        cerebro.run(universe, SIGNAL, EXECUTION, fills, cash=CASH).outcome for fills in FillModel
    ]


if __name__ == "__main__":
    main()
