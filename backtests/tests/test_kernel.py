"""Many runs at once give what single runs give."""

import numpy as np
import pytest

from backtests.data.universe import DOLLAR, MONEY
from backtests.engine import kernel
from backtests.rules.execution import (
    HOLD,
    JOURNAL_COLUMN,
    EntryKind,
    ExecutionModel,
    FillModel,
)
from backtests.strategies import find
from backtests.tests.journal_builders import equity_at
from backtests.tests.random_universes import random_universe
from backtests.tests.test_execution import FixedTargets, book, universe_of

CASH = 1_000 * MONEY


def test_a_sweep_tells_of_each_run_what_the_run_tells():
    universe = random_universe(11)
    strategy = find("mean-reversion")
    signals = [strategy(enter=enter) for enter in (1.0, 1.5, 2.0, 3.0)]
    summaries = kernel.run_many(universe, signals, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
    for signal, summary in zip(signals, summaries, strict=True):
        stated = signal.stated(universe)
        outcome = kernel.run_stated(stated, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
        filled = outcome.journal[outcome.journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL]
        assert summary.cash == outcome.cash
        assert summary.fills == len(filled)
        assert summary.fees == filled[:, JOURNAL_COLUMN["fee"]].sum()
    assert len({summary.fills for summary in summaries}) > 1


def test_a_sweep_marks_open_positions_as_the_figures_do():
    universe = random_universe(11, ended=0)
    signals = [find("random-entry")(seed=seed) for seed in range(5)]
    summaries = kernel.run_many(universe, signals, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
    end = universe.quotes.at[-1:]
    for signal, summary in zip(signals, summaries, strict=True):
        stated = signal.stated(universe)
        outcome = kernel.run_stated(stated, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
        assert outcome.positions
        assert [summary.equity] == equity_at(universe, outcome, end, cash=CASH).tolist()


def test_what_is_left_at_the_end_of_a_sweep_counts_as_what_it_could_be_sold_for():
    books = [
        book(42, 45),
        book(42, 45),
        book(50, 53),
        book(None, None, tradable=False),
    ]
    (kept,) = kernel.run_many(
        universe_of(*books),
        [FixedTargets([10, HOLD, HOLD, HOLD])],
        ExecutionModel(),
        FillModel.EXPECTED,
        cash=CASH,
    )
    assert kept.equity - kept.cash == 10 * 100 * 5_000
    (against,) = kernel.run_many(
        universe_of(*books),
        [FixedTargets([-10, HOLD, HOLD, HOLD])],
        ExecutionModel(),
        FillModel.EXPECTED,
        cash=CASH,
    )
    assert against.equity - against.cash == 10 * 100 * (DOLLAR - 5_300)


def test_a_journal_longer_than_was_thought_is_told_whole(monkeypatch):
    universe = random_universe(4)
    wishes = np.where(np.arange(len(universe.quotes)) % 2, 5, -5)
    whole = kernel.run(universe, wishes, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
    monkeypatch.setattr(kernel, "FIRST_JOURNAL_LENGTH", 3)
    again = kernel.run(universe, wishes, ExecutionModel(), FillModel.EXPECTED, cash=CASH)
    assert np.array_equal(whole.journal, again.journal)
    assert len(whole.journal) > 3


def test_a_sweep_refuses_what_a_run_refuses():
    with pytest.raises(ValueError, match="1,000,000 contracts"):
        kernel.run_many(
            universe_of(book(42, 45)),
            [FixedTargets([2_000_000])],
            ExecutionModel(),
            FillModel.EXPECTED,
            cash=CASH,
        )
