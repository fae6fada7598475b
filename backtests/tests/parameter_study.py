"""Choose parameters on one universe, and measure them on another."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from backtests import metrics
from backtests.data.universe import DAY, Universe
from backtests.engine import kernel
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import Signal

ParameterValues = Mapping[str, Sequence[Any]]


def signals(strategy: type[Signal], varied: ParameterValues) -> list[Signal]:
    return [
        strategy(**dict(zip(varied, values, strict=True))) for values in product(*varied.values())
    ]


def best(
    universe: Universe, candidates: Sequence[Signal], execution: ExecutionModel, *, cash: int
) -> Signal:
    """The signal with the highest final equity; of equals the first."""
    ended = kernel.run_many(universe, candidates, execution, FillModel.EXPECTED, cash=cash)
    return max(zip(candidates, ended, strict=True), key=lambda pair: pair[1].equity)[0]


def run_figures(
    universe: Universe,
    signal: Signal,
    execution: ExecutionModel,
    *,
    cash: int,
    start: int,
    days: int,
    fills: FillModel = FillModel.EXPECTED,
) -> metrics.Figures:
    """The figures of a run over `days`."""
    outcome = kernel.run_stated(signal.stated(universe), execution, fills, cash=cash)
    path = metrics.trace(universe, outcome, cash=cash, start=start, end=start + days * DAY)
    return metrics.measure(universe, outcome, path)
