"""Points of a search: alike in both engines, and like runs on their markets alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.analysis.folds import Fold
from backtests.analysis.point_runs import SearchedUniverse
from backtests.data.universe import MONEY, SECOND
from backtests.engine import kernel
from backtests.metrics import trace
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies import ExclusiveArbitrage, MeanReversion, RandomEntry
from backtests.tests.random_universes import random_universe

CASH = 1_000 * MONEY
STRATEGIES = ((MeanReversion, {"window": 5, "enter": 1.0}), (RandomEntry, {"hours": 3.0}))


def searched(universe, *folds, make=False):
    start, end = int(universe.quotes.at[0]), int(universe.quotes.at[-1]) + SECOND
    execution = ExecutionModel(make=make)
    return SearchedUniverse(universe, execution, CASH, start, end, folds)


def fold(train, test):
    return Fold(0, 0, np.array(train, np.int64), np.array(test, np.int64))


def ran(world, strategy, params, *, in_kernel=True):
    return world.run(strategy, params, in_kernel=in_kernel, on=lambda share: None)


def same(one, other):
    assert one[:6] == other[:6]
    assert one.changes.tolist() == other.changes.tolist()
    for ours, theirs in zip(one.folds, other.folds, strict=True):
        assert (ours.train, ours.test) == (theirs.train, theirs.test)
        assert ours.changes.tolist() == theirs.changes.tolist()


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(STRATEGIES), st.booleans())
def test_both_engines_have_the_same_points_and_folds(seed, strategy, make):
    universe = random_universe(seed, rows=60)
    world = searched(universe, fold([0, 3], [1, 4]), fold([0, 1, 3], [5]), make=make)
    fast = ran(world, *strategy)
    same(fast, ran(world, *strategy, in_kernel=False))


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(STRATEGIES))
def test_a_fold_is_a_run_on_its_markets_alone(seed, strategy):
    universe = random_universe(seed, rows=60)
    world = searched(universe, fold([0, 2], [1, 4]))
    [found] = ran(world, *strategy).folds
    for markets, pnl in (([0, 2], found.train), ([1, 4], found.test)):
        alone = universe.subset(markets)
        kind, params = strategy
        stated = kind(**params).stated(alone)
        outcome = kernel.run_stated(stated, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
        path = trace(alone, outcome, cash=CASH, start=world.start, end=world.end)
        assert pnl == path.equity[-1] - CASH


def test_the_changes_of_a_point_add_up_to_its_pnl():
    world = searched(random_universe(5, rows=200), fold([0], [1, 2]))
    found = ran(world, *STRATEGIES[0])
    assert found.fills
    assert found.changes.sum() == found.pnl
    assert len(found.changes) == len(world.instants.periods) - 1
    assert found.folds[0].changes.sum() == found.folds[0].test


def test_points_do_not_depend_on_those_before_them():
    universe = random_universe(5, rows=200)
    world = searched(universe, fold([0], [1, 2]))
    hours = [{"hours": h} for h in (1.0, 3.0, 1.0)]
    first, _, again = (ran(world, RandomEntry, each) for each in hours)
    same(first, again)
    same(first, ran(searched(universe, fold([0], [1, 2])), RandomEntry, hours[0]))


def test_strategies_with_orders_of_their_own_run_on_each_part():
    world = searched(random_universe(5, rows=60), fold([0, 1, 2], [3, 4, 5]))
    shares: list[float] = []
    found = world.run(ExclusiveArbitrage, {"contracts": 3}, in_kernel=False, on=shares.append)
    assert len(found.folds) == 1
    assert shares == sorted(shares)
    assert max(shares) <= 1


def test_a_point_whose_targets_are_too_large_says_so():
    world = searched(random_universe(5, rows=60))
    with pytest.raises(ValueError, match="at most 1,000,000 contracts"):
        ran(world, Large, {})


class Large(MeanReversion):
    def targets(self, history):
        return np.full(len(history), 2**50)
