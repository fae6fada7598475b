"""Runs of the kernel end where another thread says so."""

import threading
from contextlib import suppress

import numpy as np
import pytest

from backtests.data.universe import MONEY
from backtests.engine import kernel
from backtests.engine.interruption import Interrupted, stop_flag
from backtests.engine.kernel_arrays import columns_of
from backtests.engine.kernel_state import empty_journal
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.random_universes import random_universe

EXECUTION, CASH = ExecutionModel(), 1_000 * MONEY


def test_a_run_of_the_kernel_ends_while_it_is_under_way():
    universe, stop = random_universe(1, rows=100), stop_flag()
    markets = kernel.KernelMarkets.of(universe, EXECUTION, stop=stop)
    targets = np.zeros(len(universe.quotes), np.int64)
    threading.Timer(0.2, stop.fill, [1]).start()

    def run_again_and_again():
        while True:
            markets.run(universe.quotes, targets, FillModel.EXPECTED, cash=CASH)

    with pytest.raises(Interrupted):
        run_again_and_again()


def trade(*, stop):
    """Trade with a journal that shows by its first entry what has been written."""
    universe, journal = random_universe(1, rows=50), empty_journal(1_000)
    journal.fill(-1)
    markets = kernel.KernelMarkets.of(universe, EXECUTION, stop=stop)
    columns, targets = columns_of(universe.quotes), np.full(len(universe.quotes), 10)
    with suppress(Interrupted):
        markets.traded(columns, targets, FillModel.EXPECTED, CASH, journal)
    return journal


def test_a_pass_that_is_told_to_end_trades_nothing():
    stop = stop_flag()
    assert np.any(trade(stop=stop) != -1)
    stop[0] = 1
    assert np.all(trade(stop=stop) == -1)
