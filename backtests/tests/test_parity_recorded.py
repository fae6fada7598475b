"""Both engines keep the same journal on recorded markets."""

import pytest

from backtests.data.universe import MONEY
from backtests.rules.execution import EntryKind, ExecutionModel, FillModel
from backtests.tests import weather_universe
from backtests.tests.random_tapes import with_tape
from backtests.tests.test_parity import SIGNALS, column, same

pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(
        not weather_universe.FOLDER.is_dir(),
        reason="the recordings (../shared/kalshi/recorded) are not here",
    ),
]
MARKETS = 36
CASH = 200 * MONEY


@pytest.fixture(scope="module")
def universe():
    """The last events before a fee rule changed, and the first ones after it."""
    settled = weather_universe.settled_markets().sort_values(
        ["closed_at", "ticker"], ignore_index=True
    )
    changed = int((settled["closed_at"] < "2026-03-12T12:00Z").sum())
    return weather_universe.weather_universe(
        settled[changed - MARKETS // 2 : changed + MARKETS // 2]
    )


@pytest.mark.parametrize("signal_type", SIGNALS, ids=lambda signal_type: signal_type.name)
def test_every_shipped_signal_takes_the_same_in_both(universe, signal_type):
    outcome = same(
        universe, signal_type(), ExecutionModel(assumed_size=25), FillModel.EXPECTED, cash=CASH
    )
    if signal_type.name in ("random-entry", "always-no", "always-favourite"):
        assert EntryKind.FILL in column(outcome.journal, "kind")


@pytest.mark.parametrize("fills", FillModel)
@pytest.mark.parametrize("signal_type", SIGNALS, ids=lambda signal_type: signal_type.name)
def test_every_shipped_signal_makes_the_same_in_both(universe, signal_type, fills):
    makers = ExecutionModel(assumed_size=25, assumed_queue=100, make=True)
    same(universe, signal_type(), makers, fills, cash=CASH)
    same(with_tape(universe, 1, trades=20_000), signal_type(), makers, fills, cash=CASH)


@pytest.mark.parametrize("signal_type", SIGNALS, ids=lambda signal_type: signal_type.name)
def test_without_sizes_nothing_is_taken_in_either(universe, signal_type):
    outcome = same(universe, signal_type(), ExecutionModel(), FillModel.EXPECTED, cash=CASH)
    assert EntryKind.FILL not in column(outcome.journal, "kind")
    assert outcome.cash == CASH
