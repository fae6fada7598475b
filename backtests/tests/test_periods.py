"""Equity at a few instants is the equity that every instant has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import DAY, MONEY, SECOND
from backtests.engine import kernel
from backtests.metrics import BILL_RATE, periods, ratios, trace
from backtests.metrics.periods import MINUTE, PeriodInstants, PeriodMarks
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.mean_reversion import MeanReversion
from backtests.strategies.momentum import Momentum
from backtests.strategies.random_entry import RandomEntry
from backtests.tests.random_universes import random_universe

CASH = 1_000 * MONEY
SIGNALS = (MeanReversion(window=5, enter=1.0), RandomEntry(hours=3), Momentum())


def ran(universe, signal):
    stated = signal.stated(universe)
    return kernel.run_stated(stated, ExecutionModel(), FillModel.EXPECTED, cash=CASH)


def window(universe):
    return int(universe.quotes.at[0]) - 7 * SECOND, int(universe.quotes.at[-1]) + 5 * MINUTE


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(SIGNALS), st.sampled_from([1, 3, 1_000]))
def test_equity_is_that_of_the_whole_path_at_every_instant(seed, signal, batch):
    universe = random_universe(seed, rows=60)
    start, end = window(universe)
    outcome = ran(universe, signal)
    marks = PeriodMarks(universe, PeriodInstants.of(universe, start=start, end=end))
    before, periods.BATCH_MARKETS = periods.BATCH_MARKETS, batch
    try:
        equity = marks.equity(outcome, cash=CASH)
    finally:
        periods.BATCH_MARKETS = before
    path = trace(universe, outcome, cash=CASH, start=start, end=end)
    assert equity.tolist() == path.equity_at(marks.instants.at).tolist()
    assert equity[-1] == path.equity[-1]
    assert marks.changes(equity).sum() == equity[-1] - CASH
    assert sum(marks.pnl_by_event(outcome, cash=CASH).values()) == equity[-1] - CASH


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_the_sharpe_ratio_is_the_one_of_a_result(seed):
    universe = random_universe(seed, rows=900)
    start, end = window(universe)
    outcome = ran(universe, MeanReversion(window=5, enter=1.0))
    marks = PeriodMarks(universe, PeriodInstants.of(universe, start=start, end=end))
    equity = marks.equity(outcome, cash=CASH)
    found = marks.moments(equity, outcome, end=end, rate=BILL_RATE)
    daily = trace(universe, outcome, cash=CASH, start=start, end=end).daily()
    shown = ratios.ratios(daily.equity, days=1, rate=BILL_RATE)
    assert found.periods == len(daily.equity) - 1
    assert (found.sharpe is None) == (shown.sharpe is None)
    if found.sharpe is not None:
        assert found.sharpe * np.sqrt(365) == pytest.approx(shown.sharpe)
        assert found.kurtosis is not None
        assert found.skewness is not None
        assert found.kurtosis >= 1 + found.skewness**2 - 1e-9


@pytest.mark.parametrize(
    ("days", "length"),
    [(1, 15), (0.01, 1), (7, 60), (30, 360), (64, 1440), (1_000, 1440)],
)
def test_a_period_is_a_part_of_a_day_or_a_day(days, length):
    assert periods.period_length(0, round(days * DAY)) == length * MINUTE


def test_a_run_without_orders_changes_nothing():
    universe = random_universe(3, rows=60)
    start, end = window(universe)
    marks = PeriodMarks(universe, PeriodInstants.of(universe, start=start, end=end))
    outcome = ran(universe, RandomEntry(hours=3, contracts=1))
    empty = type(outcome)(outcome.journal[:0], CASH, {})
    equity = marks.equity(empty, cash=CASH)
    assert (equity == CASH).all()
    assert marks.moments(equity, empty, end=end, rate=BILL_RATE).sharpe is None
