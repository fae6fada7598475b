"""Choose parameters on one part of the time, see what they come to on another."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from backtests import metrics
from backtests.data.universe import DAY, Seen, Universe
from backtests.engine import kernel
from backtests.rules.execution import Execution, Fills
from backtests.strategies.base import Signal

Grid = Mapping[str, Sequence[Any]]


def combinations(made: type[Signal], grid: Grid) -> list[Signal]:
    return [made(**dict(zip(grid, values, strict=True))) for values in product(*grid.values())]


def best(
    universe: Universe, candidates: Sequence[Signal], execution: Execution, *, cash: int
) -> Signal:
    """The one that ended with the most; of equals the first."""
    ended = kernel.sweep(universe, candidates, execution, Fills.EXPECTED, cash=cash)
    return max(zip(candidates, ended, strict=True), key=lambda pair: pair[1].equity)[0]


def figures(
    universe: Universe,
    signal: Signal,
    execution: Execution,
    *,
    cash: int,
    start: int,
    days: int,
    fills: Fills = Fills.EXPECTED,
) -> metrics.Figures:
    """Of a run over so many days."""
    seen = Seen(universe.quotes, universe.listings)
    targets = seen.in_time(signal.targets(seen))
    outcome = kernel.run(universe, targets, execution, fills, cash=cash)
    path = metrics.trace(universe, outcome, cash=cash, start=start, end=start + days * DAY)
    return metrics.measure(universe, outcome, path)
