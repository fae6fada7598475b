"""Both engines keep the same journal, to the millionth of a dollar."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import MISSING, MONEY, Universe
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import (
    HOLD,
    JOURNAL,
    JOURNAL_COLUMN,
    AcrossGaps,
    EntryKind,
    ExecutionModel,
    FillModel,
    Reason,
)
from backtests.rules.ledger import flow
from backtests.strategies import STRATEGIES
from backtests.strategies.base import Signal
from backtests.tests.random_tapes import with_candles, with_tape
from backtests.tests.random_universes import random_universe, watched

SIGNALS = [signal_type for signal_type in STRATEGIES.values() if issubclass(signal_type, Signal)]
MODELS = [
    ExecutionModel(assumed_size=20),
    ExecutionModel(make=True),
    ExecutionModel(latency_seconds=0, through_broker=True),
    ExecutionModel(latency_seconds=900, position_limit=7, across_gaps="wait"),
]


def column(journal, name):
    return journal[:, JOURNAL_COLUMN[name]]


def same(
    universe: Universe, signal: Signal, execution: ExecutionModel, fills: FillModel, *, cash: int
):
    """Run a signal in both engines, assert the same outcome, and return it."""
    fast = kernel.run_stated(signal.stated(universe), execution, fills, cash=cash)
    slow = cerebro.run(universe, signal, execution, fills, cash=cash).outcome
    assert np.array_equal(fast.journal, slow.journal)
    assert (fast.cash, fast.positions) == (slow.cash, slow.positions)
    assert fast.has_band == slow.has_band
    return fast


@pytest.mark.parametrize("fills", FillModel)
@pytest.mark.parametrize("execution", MODELS)
@pytest.mark.parametrize("signal_type", SIGNALS, ids=lambda signal_type: signal_type.name)
def test_every_shipped_signal_does_the_same_in_both(signal_type, execution, fills):
    for seed, cash in ((1, 10_000 * MONEY), (2, 12 * MONEY)):
        universe = random_universe(seed, rows=120)
        same(universe, signal_type(), execution, fills, cash=cash)
        taped = with_candles(with_tape(watched(universe, seed), seed), seed)
        same(taped, signal_type(), execution, fills, cash=cash)


class Noise(Signal):
    """Has random targets at some rows, and `HOLD` at most."""

    name, version, summary = "noise", "1", "Wants anything."
    decide_every = None

    def __init__(self, seed, every=None):
        super().__init__()
        self.seed = seed
        self.decide_every = every

    def targets(self, history):
        rng = np.random.default_rng(self.seed)
        wishes = rng.integers(-40, 41, len(history))
        return np.where(rng.random(len(history)) < 0.7, HOLD, wishes)


EXECUTIONS = st.builds(
    ExecutionModel,
    latency_seconds=st.sampled_from([0.0, 1.0, 100.0, 700.0]),
    across_gaps=st.sampled_from(AcrossGaps),
    patience_seconds=st.sampled_from([400.0, 7_200.0]),
    assumed_size=st.none() | st.integers(1, 30),
    assumed_queue=st.none() | st.integers(0, 60),
    clock_tolerance=st.sampled_from([0.0, 1.0, 400.0]),
    position_limit=st.none() | st.integers(1, 40),
    make=st.booleans(),
    through_broker=st.booleans(),
)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    execution=EXECUTIONS,
    fills=st.sampled_from(FillModel),
    cash=st.sampled_from([0, 3 * MONEY, 50 * MONEY, 10_000 * MONEY]),
    emptied=st.dictionaries(st.integers(0, 3), st.sampled_from(["bid", "ask"]))
    | st.just(dict.fromkeys(range(4), "bid")),
    is_watched=st.booleans(),
    has_tape=st.booleans(),
    has_candles=st.booleans(),
    every=st.none() | st.sampled_from([1.0, 200.0]),
)
def test_on_random_worlds_and_wishes_both_agree_and_the_journal_adds_up(
    *, seed, execution, fills, cash, emptied, is_watched, has_tape, has_candles, every
):
    universe = without_sides(random_universe(seed, markets=4, rows=60), emptied)
    universe = watched(universe, seed) if is_watched else universe
    universe = with_tape(universe, seed) if has_tape else universe
    universe = with_candles(universe, seed) if has_candles else universe
    outcome = same(universe, Noise(seed, every), execution, fills, cash=cash)
    adds_up(universe, outcome, cash)
    every_order_ends(outcome.journal)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), execution=EXECUTIONS)
def test_a_run_without_a_band_is_the_same_in_all_scenarios(seed, execution):
    universe = watched(random_universe(seed, markets=2, rows=40), seed)
    stated = Noise(seed).stated(universe)
    runs = [kernel.run_stated(stated, execution, fills, cash=MONEY * 9) for fills in FillModel]
    if not runs[FillModel.EXPECTED].has_band:
        assert all(np.array_equal(run.journal, runs[0].journal) for run in runs)


def without_sides(universe: Universe, emptied: dict[int, str]) -> Universe:
    """Markets by index, with the side of their books that is always empty."""
    quotes = universe.quotes
    for place, side in emptied.items():
        gone = np.where(quotes.market == place, MISSING, getattr(quotes, side))
        quotes = replace(quotes, **{side: gone})
    return replace(universe, quotes=quotes)


def adds_up(universe, outcome, cash):
    """Assert that the cash and the position of each journal entry follow from the entry."""
    held = dict.fromkeys(range(len(universe.listings)), 0)
    for values in outcome.journal.tolist():
        line = dict(zip(JOURNAL, values, strict=True))
        market, signed = line["market"], line["side"] * line["count"]
        if line["kind"] == EntryKind.FILL:
            cash += flow(held[market], line["side"], line["count"], line["price"]) - line["fee"]
            held[market] += signed
        elif line["kind"] == EntryKind.SETTLED:
            assert held[market] == signed
            worth = line["price"] if signed > 0 else MONEY - line["price"]
            cash += abs(signed) * worth // 100
            held[market] = 0
        assert (line["cash"], line["position"]) == (cash, held[market])
        assert cash >= 0
    assert cash == outcome.cash
    assert {market: count for market, count in held.items() if count} == outcome.positions


def test_a_grid_that_changes_in_mid_life_is_met_by_orders_on_either_side_of_the_change():
    universe = random_universe(5)
    journal = same(
        universe, Noise(5), ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY
    ).journal
    refused = column(journal, "reason") == Reason.OFF_GRID
    assert set(column(journal, "market")[refused]) == {1}
    finer, coarser = (grid.since for grid in universe.grids[1][1:])
    at = column(journal, "at")[refused]
    assert (at < finer).any()
    assert (at >= coarser).any()
    assert not ((at >= finer) & (at < coarser)).any()


def every_order_ends(journal):
    """Assert that fills, refusals and cancellations of each order sum up to it, unless it rests."""
    sent: dict[int, int] = {}
    ended: dict[int, int] = {}
    for values in journal.tolist():
        line = dict(zip(JOURNAL, values, strict=True))
        if line["kind"] == EntryKind.ORDER:
            sent[line["order"]] = line["count"]
        elif line["kind"] != EntryKind.SETTLED:
            ended[line["order"]] = ended.get(line["order"], 0) + line["count"]
    left = {number: sent[number] - ended.get(number, 0) for number in sent}
    assert all(count >= 0 for count in left.values())
    return sorted(left.values())


def test_every_order_comes_to_one_end():
    for universe in (random_universe(5), watched(random_universe(5), 5)):
        outcome = same(universe, Noise(5), ExecutionModel(), FillModel.EXPECTED, cash=1_000 * MONEY)
        assert set(every_order_ends(outcome.journal)) == {0}
