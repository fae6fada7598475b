"""The targets and probabilities that a signal states are checked, in both engines alike."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.data.universe import QuoteHistory
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import HOLD, ExecutionModel, FillModel
from backtests.strategies.base import Signal
from backtests.strategies.statements import BadStatement
from backtests.tests.test_execution import CASH, book, universe_of

UNIVERSE = universe_of(*[book(42, 45)] * 3)


class Stating(Signal):
    """States what a test tells it."""

    name, version, summary = "stating", "1", "States what it is told."

    def __init__(self, told):
        super().__init__()
        self.told = told

    def targets(self, history):
        return self.told

    def probabilities(self, history):
        return self.told


def in_kernel(signal):
    return kernel.run_stated(
        signal.stated(UNIVERSE), ExecutionModel(), FillModel.EXPECTED, cash=CASH
    )


def step_by_step(signal):
    return cerebro.run(UNIVERSE, signal, ExecutionModel(), FillModel.EXPECTED, cash=CASH)


def in_a_sweep(signal):
    return kernel.run_many(UNIVERSE, [signal], ExecutionModel(), FillModel.EXPECTED, cash=CASH)


BAD_TARGETS = [
    (np.array([1.0, 2.7, 3.0]), r"targets\(\) \(test_statements.py, line \d+\) .* 2.7 at row 1"),
    (np.array([1, np.nan, 3]), "nan at row 1"),
    (np.array([1, 2, np.inf]), "inf at row 2"),
    (np.array([-np.inf, 2, 3]), "-inf at row 0"),
    (np.array([1, 2]), "must return 3 values, not 2 values"),
    (np.array([[1, 2, 3]]), r"not the shape \(1, 3\)"),
    (7, r"not the shape \(\)"),
    (np.array(["1", "2", "3"]), "must return numbers"),
    (np.array([0, 1_000_001, 0]), "at most 1,000,000 contracts: found 1000001 at row 1"),
    (np.array([0, 0, -1_000_001.0]), "at most 1,000,000 contracts"),
    (np.array([0, 0, 1e300]), "at most 1,000,000 contracts"),
    (np.array([2**64 - 1, 0, 0], np.uint64), "at most 1,000,000 contracts"),
]


@pytest.mark.parametrize("run", [in_kernel, step_by_step, in_a_sweep])
@pytest.mark.parametrize(("told", "words"), BAD_TARGETS)
def test_what_is_no_target_is_refused_by_the_name_of_the_method(run, told, words):
    with pytest.raises(BadStatement, match=words):
        run(Stating(told))


def test_whole_floats_are_targets_and_hold_stays_hold():
    stated = Stating(np.array([5.0, HOLD, -5.0])).stated(UNIVERSE)
    assert stated.targets.tolist() == [5, HOLD, -5]


@given(st.lists(st.floats(width=64), min_size=3, max_size=3))
def test_a_target_is_kept_to_the_digit_or_refused(told):
    try:
        stated = Stating(np.array(told)).stated(UNIVERSE).targets.tolist()
    except BadStatement:
        assert any(n != HOLD and (abs(n) > 1_000_000 or n % 1 != 0) for n in told)
    else:
        assert stated == told


HISTORY = QuoteHistory(UNIVERSE.quotes, UNIVERSE.listings)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (np.array([0.5, 1.2, 0]), r"probabilities\(\) .* from 0 to 1, or NaN.* 1.2 at row 1"),
        (np.array([0.5, 0.2, -0.1]), "-0.1 at row 2"),
        (np.array([np.inf, 0.2, 0]), "inf at row 0"),
        (np.array([0.5]), "must return 3 values, not 1 values"),
    ],
)
def test_what_is_no_probability_is_refused(told, words):
    with pytest.raises(BadStatement, match=words):
        Stating(told).checked_probabilities(HISTORY)


def test_a_probability_may_be_unknown():
    told = Stating(np.array([0, np.nan, 1])).checked_probabilities(HISTORY)
    np.testing.assert_array_equal(told, [0, np.nan, 1])
