"""Bounds that hold for resting orders on any record, in both engines."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from backtests.data.universe import MONEY, Grid, Terms, Universe
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import (
    JOURNAL_COLUMN,
    EntryKind,
    ExecutionModel,
    FillModel,
)
from backtests.strategies.base import Strategy, bt
from backtests.tests.random_tapes import with_candles, with_tape
from backtests.tests.random_universes import random_universe, watched
from backtests.tests.test_execution import MAKE, book, run_both, universe_of
from backtests.tests.test_makers import taped

CASH = 10_000_000 * MONEY
EXECUTIONS = st.builds(
    ExecutionModel,
    latency_seconds=st.sampled_from([0.0, 1.0, 700.0]),
    assumed_size=st.none() | st.integers(1, 30),
    assumed_queue=st.none() | st.integers(0, 60),
    clock_tolerance=st.sampled_from([0.0, 1.0, 400.0]),
    make=st.just(True),
)


def worlds(
    seed: int,
    *,
    markets: int,
    has_tape: bool,
    has_candles: bool = False,
    is_watched: bool = False,
) -> Universe:
    """A random universe without fees, grids and limits that could refuse an order."""
    universe = random_universe(seed, markets=markets, rows=60)
    universe = replace(
        universe,
        terms=[(Terms(0, 0, 1, 0, 1),)] * markets,
        grids=[(Grid(0),)] * markets,
    )
    universe = with_candles(universe, seed) if has_candles else universe
    universe = with_tape(universe, seed) if has_tape else universe
    return watched(universe, seed) if is_watched else universe


def fills_over_time(lines):
    """The instant and the contracts of each fill."""
    return [(line["at"], line["count"]) for line in lines if line["kind"] == EntryKind.FILL]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    execution=EXECUTIONS,
    contracts=st.integers(-60, 60).filter(bool),
    row=st.integers(0, 30),
    has_tape=st.booleans(),
    has_candles=st.booleans(),
    is_watched=st.booleans(),
)
def test_one_order_fills_in_the_fewest_at_most_as_in_the_expected_and_in_the_most(
    *, seed, execution, contracts, row, has_tape, has_candles, is_watched
):
    """Up to every instant: alone in its market, sent once, and with ample cash."""
    world = {"has_tape": has_tape, "has_candles": has_candles, "is_watched": is_watched}
    universe = worlds(seed, markets=1, **world)
    targets = [None] * len(universe.quotes)
    targets[min(row, len(targets) - 1)] = contracts
    runs = [
        fills_over_time(run_both(universe, targets, execution, fills=fills, cash=CASH))
        for fills in FillModel
    ]
    for instant in sorted({at for fills in runs for at, _ in fills}):
        fewest, expected, most = (
            sum(count for at, count in fills if at <= instant) for fills in runs
        )
        assert fewest <= expected <= most


class Scattering(Strategy):
    """Sends limit orders of both sides around the first quotes, some of which cross."""

    name, version, summary = "scattering", "1", "Bids and asks at random."
    seed = 0

    def __init__(self):
        self.rng = np.random.default_rng(self.seed)

    def next(self):
        for data in self.fresh:
            if self.rng.random() < 0.3:
                send = self.buy if self.rng.random() < 0.5 else self.sell
                price = data.close[0] + float(self.rng.integers(-6, 7)) / 100
                price = round(min(0.99, max(0.01, price)), 2)
                how = "maker" if self.rng.random() < 0.5 else "taker_at_cross"
                send(
                    data,
                    int(self.rng.integers(1, 30)),
                    price,
                    exectype=bt.Order.Limit,
                    self_trade_prevention=how,
                )


def scattered(universe, seed, fills):
    strategy = type("Scattered", (Scattering,), {"seed": seed})
    execution = ExecutionModel(clock_tolerance=0)
    return cerebro.run(universe, strategy, execution, fills, cash=CASH).outcome.journal


def column(journal, name):
    return journal[:, JOURNAL_COLUMN[name]]


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), fills=st.sampled_from(FillModel))
def test_several_orders_together_fill_no_more_than_traded_at_an_instant(seed, fills):
    universe = worlds(seed, markets=2, has_tape=True)
    journal = scattered(universe, seed, fills)
    maker = journal[
        (column(journal, "kind") == EntryKind.FILL) & (column(journal, "liquidity") == 1)
    ]
    at_rows = np.isin(column(maker, "at"), universe.quotes.at)
    for at, market in {(at, m) for at, _, m, *_ in maker[~at_rows].tolist()}:
        here = (column(maker, "at") == at) & (column(maker, "market") == market)
        of_tape = (universe.tape.at == at) & (universe.tape.market == market)
        assert column(maker[here], "count").sum() <= universe.tape.contracts[of_tape].sum()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    execution=EXECUTIONS,
    fills=st.sampled_from(FillModel),
    contracts=st.integers(-60, 60).filter(bool),
)
def test_looking_more_often_at_an_unchanged_book_changes_nothing(seed, execution, fills, contracts):
    universe = worlds(seed, markets=1, has_tape=False)
    met = universe.quotes.at[0] + max(1, execution.latency)
    targets = [contracts, *[None] * (len(universe.quotes) - 1)]
    once = run_both(universe, targets, execution, fills=fills, cash=CASH)
    often = with_second_looks(universe, int(np.searchsorted(universe.quotes.at, met)))
    targets = [contracts, *[None] * (len(often.quotes) - 1)]
    again = run_both(often, targets, execution, fills=fills, cash=CASH)
    assert [line | {"row": None} for line in again] == [line | {"row": None} for line in once]


def with_second_looks(universe: Universe, first: int) -> Universe:
    """Each book from a row on is recorded a second time, a microsecond later."""
    quotes = universe.quotes
    rows = np.sort(np.concatenate((np.arange(len(quotes)), np.arange(first, len(quotes)))))
    is_second = np.diff(rows, prepend=-1) == 0
    return replace(universe, quotes=replace(quotes.select(rows), at=quotes.at[rows] + is_second))


@settings(max_examples=60)
@given(
    trades=st.lists(
        st.tuples(st.integers(0, 600), st.integers(-9, 9), st.integers(1, 9)), max_size=25
    ),
    edges=st.lists(st.integers(0, 60), max_size=6, unique=True).map(sorted),
    ahead=st.sampled_from([0, 20]),
    cents=st.sampled_from([41, 42]),
)
def test_each_trade_counts_once_although_the_clocks_differ_and_in_the_most_at_least_once(
    trades, edges, ahead, cents
):
    """The volume of a row has the trades up to it by a clock that is off by up to a second."""
    rows = [
        book(42, 45, at=at, volume=100 * sum(c for t, _, c in trades if t <= at * 10), last=4_100)
        | {"bid_size": ahead * 100}
        for at in range(0, 66, 3)
    ]
    whole = list(zip(edges[::2], edges[1::2], strict=False))
    on_tape = [
        ((t + error) / 10, cents, c, -1)
        for t, error, c in trades
        if any(a <= (t + error) / 10 <= b for a, b in whole)
    ]
    universe = taped(universe_of(*rows), *on_tape, whole=whole)
    targets = [10_000, *[None] * (len(rows) - 1)]
    runs = [run_both(universe, targets, MAKE, fills=fills, cash=CASH) for fills in FillModel]
    fewest, expected, most = (sum(count for _, count in fills_over_time(run)) for run in runs)
    assert fewest <= expected <= min(most, 100 * sum(c for _, _, c in trades))
    # The order joined at the row of three seconds.
    assert most >= 100 * (sum(c for t, _, c in trades if t > 30) - ahead)
