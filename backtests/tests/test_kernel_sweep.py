"""Many runs go through the markets in parts, which must not change their results."""

import pytest

from backtests.data import universe
from backtests.data.universe import MONEY
from backtests.engine import kernel
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.mean_reversion import MeanReversion
from backtests.strategies.random_entry import RandomEntry
from backtests.tests.random_universes import random_universe

SIGNALS = [MeanReversion(window=5, enter=1.0), RandomEntry(hours=3)]


@pytest.mark.parametrize("rows", [1, 150, 1_000])
def test_the_size_of_the_parts_changes_nothing(monkeypatch, rows):
    world = random_universe(3, rows=120)
    whole = kernel.run_many(
        world, SIGNALS, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY
    )
    monkeypatch.setattr(universe, "HISTORY_ROWS", rows)
    parts = kernel.run_many(
        world, SIGNALS, ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY
    )
    assert parts == whole
    assert all(summary.fills for summary in whole)
