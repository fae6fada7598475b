"""A strategy that is chosen on one part of the time earns on a later one, where there is
something to earn: on the simulated exchange, whose crowd overpays longshots unless told not to.
"""

from datetime import UTC, datetime

import pytest

from backtests.data.universe import DAY, MONEY, microseconds
from backtests.rules.execution import ExecutionModel
from backtests.strategies.favourite_hold import FavouriteHold
from backtests.tests import parameter_study, simulated_universes

START = microseconds(datetime(2026, 9, 1, tzinfo=UTC))
CHOSEN_ON, SHOWN_ON = 30, 100  # days
CASH = 2_500 * MONEY
GRID = {"threshold": (0.93, 0.95, 0.97), "belief": (0.6, 0.8), "edge": (0.0, 0.005)}


def hours(start, days, *, bias):
    """The hourly Bitcoin and Ether markets of `days` days."""
    events = simulated_universes.simulated_events(("KXBTCD", "KXETHD"), start=start, days=days)
    return simulated_universes.simulated_universe(events, bias=bias, step=240)


@pytest.fixture(scope="module")
def best_signal():
    early = hours(START, CHOSEN_ON, bias=True)
    candidates = parameter_study.signals(FavouriteHold, GRID)
    return parameter_study.best(early, candidates, ExecutionModel(), cash=CASH)


def later(signal, *, bias):
    start = START + CHOSEN_ON * DAY
    universe = hours(start, SHOWN_ON, bias=bias)
    return parameter_study.run_figures(
        universe, signal, ExecutionModel(), cash=CASH, start=start, days=SHOWN_ON
    )


def test_where_longshots_are_overpaid_it_earns_after_fees(best_signal):
    figures = later(best_signal, bias=True)
    assert figures.money.pnl > 0
    assert figures.money.fees > 0
    assert figures.events.traded > 4_000
    assert figures.ratios.sharpe > 0.5
    assert figures.ratios.sharpe_low < figures.ratios.sharpe < figures.ratios.sharpe_high


def test_where_prices_are_fair_it_does_not(best_signal):
    figures = later(best_signal, bias=False)
    assert figures.events.traded > 1_000
    assert figures.money.pnl <= 0
    assert figures.ratios.sharpe_low < 0
