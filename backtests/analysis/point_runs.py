"""Runs of the points of a search: one strategy with many parameter sets on one universe.

Each point runs on all markets, and for every fold of a walk-forward on the markets to train on and
on those to test on, each time from the same cash. All with expected fills.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from backtests.analysis.folds import Fold, mask_of
from backtests.data.universe import Bools, Ints, Universe
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.engine.interruption import stop_flag
from backtests.engine.kernel import KernelMarkets, SweepInput
from backtests.metrics import BILL_RATE
from backtests.metrics.periods import Moments, PeriodInstants, PeriodMarks
from backtests.rules.execution import (
    HOLD,
    JOURNAL_COLUMN,
    EntryKind,
    ExecutionModel,
    FillModel,
    RunOutcome,
)
from backtests.strategies import StrategyClass
from backtests.strategies.base import Signal

# Hears the share that is done; it may raise to end the work.
OnShare = Callable[[float], None]


class FoldResult(NamedTuple):
    """A point in one fold: the P&L on the markets to train on and on those to test on, and the
    changes of equity in each period of the test."""

    train: int
    test: int
    changes: Ints


class PointResult(NamedTuple):
    """A point on all markets. Money is in millionths of a dollar; `events` is the number of events
    that it traded in and `won` of those with a gain, `changes` those of equity in each period."""

    pnl: int
    fees: int
    fills: int
    events: int
    won: int
    moments: Moments
    changes: Ints
    folds: Sequence[FoldResult]


@dataclass(frozen=True)
class RunPart:
    """Some markets of the universe on which a point runs, and the marks of its equity there."""

    universe: Universe
    marks: PeriodMarks
    # The markets to trade in, where they are not all of the universe's.
    mask: Bools | None = None


@dataclass
class SearchedUniverse:
    """A universe, the rules for orders, and the folds, for all points of a search.

    `cash` is in millionths of a dollar, `start` and `end` are in microseconds since 1970. Another
    thread may set `stop`, which ends runs of the kernel by Interrupted.
    """

    universe: Universe
    execution: ExecutionModel
    cash: int
    start: int
    end: int
    folds: Sequence[Fold] = ()
    stop: Ints = field(default_factory=stop_flag)
    _inputs: dict[float | None, SweepInput] = field(default_factory=dict)
    _inputs_lock: Lock = field(default_factory=Lock)

    @cached_property
    def instants(self) -> PeriodInstants:
        return PeriodInstants.of(self.universe, start=self.start, end=self.end)

    def run(
        self, strategy: StrategyClass, params: Mapping[str, Any], *, in_kernel: bool, on: OnShare
    ) -> PointResult:
        """Run one point. Raises whatever its strategy does, and Interrupted."""
        if in_kernel and issubclass(strategy, Signal):
            runs = self._kernel_runs(strategy(**params))
        else:
            runs = self._event_driven_runs(strategy, params, on)
        return self._result(runs)

    def _result(self, runs: Iterator[tuple[RunPart, RunOutcome]]) -> PointResult:
        part, outcome = next(runs)
        equity = part.marks.equity(outcome, cash=self.cash)
        fills = outcome.journal[outcome.journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL]
        events = part.marks.pnl_by_event(outcome, cash=self.cash)
        return PointResult(
            pnl=int(equity[-1]) - self.cash,
            fees=int(fills[:, JOURNAL_COLUMN["fee"]].sum()),
            fills=len(fills),
            events=len(events),
            won=sum(gained > 0 for gained in events.values()),
            moments=part.marks.moments(equity, outcome, end=self.end, rate=BILL_RATE),
            changes=part.marks.changes(equity),
            folds=list(self._folds(runs)),
        )

    def _folds(self, runs: Iterator[tuple[RunPart, RunOutcome]]) -> Iterator[FoldResult]:
        """The results of the folds, each of which ran twice."""
        for part, outcome in runs:
            train = part.marks.equity(outcome, cash=self.cash)
            tested, test_outcome = next(runs)
            test = tested.marks.equity(test_outcome, cash=self.cash)
            yield FoldResult(
                train=int(train[-1]) - self.cash,
                test=int(test[-1]) - self.cash,
                changes=tested.marks.changes(test),
            )

    # --- the kernel ------------------------------------------------------------------------------

    def _kernel_runs(self, signal: Signal) -> Iterator[tuple[RunPart, RunOutcome]]:
        """Run a signal on each part. Its targets are those of all markets: each goes by the rows
        of its own market alone."""
        shared = self._input(signal.decide_every)
        targets = shared.targets(signal)
        markets = self._kernel_markets._replace(stop=self.stop)
        for part in self._masked_parts:
            wanted = targets
            if part.mask is not None:
                wanted = np.where(part.mask[shared.quotes.market], targets, HOLD)
            yield (
                part,
                markets.run_columns(shared.quotes, wanted, FillModel.EXPECTED, cash=self.cash),
            )

    def _input(self, every: float | None) -> SweepInput:
        """The rows for signals that decide so often; those of the signal before are forgotten."""
        # Points run in threads, which may ask for others meanwhile.
        with self._inputs_lock:
            found = self._inputs.get(every)
            if found is None:
                self._inputs.clear()
                found = self._inputs[every] = SweepInput.of(self.universe, every)
            return found

    @cached_property
    def _kernel_markets(self) -> KernelMarkets:
        return kernel.KernelMarkets.of(self.universe, self.execution, stop=self.stop)

    @cached_property
    def _masked_parts(self) -> list[RunPart]:
        count, marks = len(self.universe.listings), PeriodMarks(self.universe, self.instants)
        masks = [mask_of(markets, count) for fold in self.folds for markets in _parts(fold)]
        return [RunPart(self.universe, marks, mask) for mask in (None, *masks)]

    # --- backtrader ------------------------------------------------------------------------------

    def _event_driven_runs(
        self, strategy: StrategyClass, params: Mapping[str, Any], on: OnShare
    ) -> Iterator[tuple[RunPart, RunOutcome]]:
        given: Any = strategy(**params) if issubclass(strategy, Signal) else strategy
        for part, begun, ended in self._own_parts:
            done = _share_of(part, on, begun=begun, ended=ended)
            yield (
                part,
                cerebro.run(
                    part.universe,
                    given,
                    self.execution,
                    FillModel.EXPECTED,
                    cash=self.cash,
                    parameters=params,
                    on_progress=done,
                ).outcome,
            )

    @cached_property
    def _own_parts(self) -> list[tuple[RunPart, float, float]]:
        """Each part as a universe of its own, and the share of all rows before and after it."""
        chosen = [markets for fold in self.folds for markets in _parts(fold)]
        universes = [self.universe, *(self.universe.subset(each.tolist()) for each in chosen)]
        rows = np.cumsum([0, *(len(universe.quotes) for universe in universes)])
        shares = (rows / max(1, rows[-1])).tolist()
        parts = [RunPart(each, PeriodMarks(each, self.instants)) for each in universes]
        return list(zip(parts, shares[:-1], shares[1:], strict=True))


def _parts(fold: Fold) -> tuple[Ints, Ints]:
    return fold.train, fold.test


def _share_of(part: RunPart, on: OnShare, *, begun: float, ended: float) -> Callable[[int], None]:
    rows = max(1, len(part.universe.quotes))
    return lambda row: on(begun + (ended - begun) * row / rows)
