"""The live feeds, kept event by event, are those that asking every market would find."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import MONEY
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.strategies.base import Strategy
from backtests.tests.random_universes import random_universe, watched
from backtests.tests.test_execution import book, universe_of
from markets.observed import last_observation

CASH = 1_000 * MONEY


def found_by_asking_all(broker):
    since = broker.now - broker.execution.patience
    return [
        each.feed
        for each in broker.books
        if each.tradable
        and len(each.feed)
        and last_observation(broker.observed, each.market, broker.now + 1) >= since
    ]


class Compares(Strategy):
    """Asks for the live feeds at every so many steps, and compares them."""

    name, version, summary = "compares", "1", "Compares."
    more_params = (("every", 1),)

    def __init__(self):
        self.steps, self.counts = 0, set()

    def next(self):
        self.steps += 1
        if self.steps % self.p.every == 0:
            live = self.live
            assert live == found_by_asking_all(self.broker)
            self.counts.add(len(live))


def compare(universe, *, patience, every=1):
    execution = ExecutionModel(patience_seconds=patience)
    return cerebro.run(
        universe,
        Compares,
        execution,
        FillModel.EXPECTED,
        cash=CASH,
        parameters={"every": every},
    ).strategy


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    patience=st.sampled_from([1, 60, 400, 7_200]),
    every=st.sampled_from([1, 3, 50]),
    is_watched=st.booleans(),
)
def test_they_are_those_that_asking_every_market_finds(seed, patience, every, is_watched):
    universe = random_universe(seed, markets=6, rows=60)
    compare(watched(universe, seed) if is_watched else universe, patience=patience, every=every)


def test_markets_come_and_go():
    seen = compare(watched(random_universe(3, rows=80), 3), patience=300).counts
    assert {0, 1, 2, 3} <= seen


@pytest.mark.parametrize("patience", [2, 30])
def test_a_market_that_pauses_leaves_at_once_and_one_unobserved_when_patience_ends(patience):
    rows = [book(40, 45, at=0), book(40, 45, at=0, market=1)]
    rows += [book(41, 45, at=at, market=1) for at in (4, 5)]
    rows += [book(42, 45, at=6, tradable=False, market=1)]
    assert compare(universe_of(*rows, markets=2), patience=patience).counts == (
        {0, 1, 2} if patience == 2 else {1, 2}
    )


def test_what_a_strategy_does_to_its_list_is_its_own_affair():
    class Clears(Compares):
        def next(self):
            super().next()
            self.live.clear()

    universe, execution = random_universe(1, rows=40), ExecutionModel()
    finished = cerebro.run(universe, Clears, execution, FillModel.EXPECTED, cash=CASH)
    assert max(finished.strategy.counts) > 1
