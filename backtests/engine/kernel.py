"""The kernel: the fast engine for strategies that state target positions, compiled by numba.

It follows the same rules as `event_driven`, with the same functions of `fees`, `ledger` and
`execution`, and keeps the same journal: entry by entry, to the millionth of a dollar.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from backtests.data.decision_points import with_decision_points
from backtests.data.universe import CONTRACT, Ints, QuoteHistory, Universe, quote_histories
from backtests.engine.compiled import compiled
from backtests.engine.interruption import Interrupted, stop_flag
from backtests.engine.kernel_arrays import (
    FillEvidence,
    MarketTables,
    QuoteColumns,
    TapeColumns,
    WholeStretches,
    columns_of,
    evidence_of,
    gaps_of,
    rules,
    stretches_of,
    tables_of,
    tape_of,
)
from backtests.engine.kernel_arrivals import add_waiting, next_waiting, send
from backtests.engine.kernel_books import update_book, update_volume
from backtests.engine.kernel_money import settle
from backtests.engine.kernel_orders import decide, end_way
from backtests.engine.kernel_resting import (
    MOST,
    match_rest,
    meet_recent_trades,
    note_tape,
    read_tape,
)
from backtests.engine.kernel_state import (
    ASK_TAKEN,
    BAND,
    BID_TAKEN,
    CASH,
    ENDS_AT,
    ENTRIES,
    FAR_FUTURE,
    FEES,
    FILLED,
    LEFT,
    MET,
    NEXT,
    POSITION,
    ROW,
    SENT,
    KernelRun,
    Spot,
    Ways,
    empty_journal,
    initial_state,
)
from backtests.metrics.marks import last_sides
from backtests.rules.execution import HOLD, ExecutionModel, FillModel, RunOutcome
from markets.fees import MOST_COUNT

if TYPE_CHECKING:
    from backtests.data.gaps import MarketGaps
    from backtests.data.universe import Quotes
    from backtests.strategies.base import Signal, StatedTargets

FIRST_JOURNAL_LENGTH = 65_536


class KernelMarkets(NamedTuple):
    """The input that all runs on some markets under one execution model share, whatever rows."""

    execution: ExecutionModel
    tables: MarketTables
    gaps: MarketGaps
    tape: TapeColumns
    whole: WholeStretches
    evidence: FillEvidence
    last: int
    stop: Ints

    @classmethod
    def of(cls, universe: Universe, execution: ExecutionModel, *, stop: Ints | None = None) -> Self:
        """Gather the input; a `stop` flag ends its runs from another thread."""
        return cls(
            execution,
            tables_of(universe, execution),
            gaps_of(universe),
            tape_of(universe),
            stretches_of(universe),
            evidence_of(universe),
            universe.last_instant(),
            stop_flag() if stop is None else stop,
        )

    def run_stated(self, stated: StatedTargets, fills: FillModel, *, cash: int) -> RunOutcome:
        """Run a signal; the outcome's rows are those of the original universe.

        Raises as `run` does.
        """
        outcome = self.run(stated.universe.quotes, stated.targets, fills, cash=cash)
        return outcome.on_rows(stated.rows)

    def run(self, quotes: Quotes, targets: Ints, fills: FillModel, *, cash: int) -> RunOutcome:
        """Trade towards targets, one for each row: a number of contracts, or `HOLD`.

        `cash` is in millionths of a dollar. Raises ValueError for a target too large for its fee,
        and Interrupted once the flag is set.
        """
        check_targets(targets)
        return self.run_columns(columns_of(quotes), targets, fills, cash=cash)

    def run_columns(
        self, columns: QuoteColumns, targets: Ints, fills: FillModel, *, cash: int
    ) -> RunOutcome:
        """The same for columns that several runs share, and targets that have been checked."""
        length = FIRST_JOURNAL_LENGTH
        while True:
            run = self.traded(columns, targets, fills, cash, empty_journal(length))
            if run.figures[ENTRIES] <= length:
                return _outcome(run)
            length = int(run.figures[ENTRIES])
            del run  # its journal was too short

    def traded(
        self, quotes: QuoteColumns, targets: Ints, fills: FillModel, cash: int, journal: Ints
    ) -> KernelRun:
        """Trade towards targets from a fresh state; a journal without room is cut off."""
        markets, kernel_rules = len(self.gaps.spans) - 1, rules(self.execution, fills)
        run = KernelRun(self.tables, kernel_rules, *initial_state(markets, cash), journal)
        waiting = np.empty(markets, np.int64)
        ways = Ways(self.evidence.observed, self.gaps, waiting, self.last)
        tape = self.tape.for_run(kernel_rules)
        trade(quotes, targets, run, tape, self.whole, self.evidence, ways, self.stop)
        if self.stop[0]:
            raise Interrupted
        return run


def _outcome(run: KernelRun) -> RunOutcome:
    held = {int(m): int(run.states[m, POSITION]) for m in np.flatnonzero(run.states[:, POSITION])}
    entries = int(run.figures[ENTRIES])
    # One that was made to measure is not copied: it may be large.
    journal = run.journal if entries == len(run.journal) else run.journal[:entries].copy()
    return RunOutcome(journal, int(run.figures[CASH]), held, bool(run.figures[BAND]))


def run_stated(
    stated: StatedTargets, execution: ExecutionModel, fills: FillModel, *, cash: int
) -> RunOutcome:
    """Run a signal once, as `KernelMarkets.run_stated` does."""
    return KernelMarkets.of(stated.universe, execution).run_stated(stated, fills, cash=cash)


def run(
    universe: Universe, targets: Ints, execution: ExecutionModel, fills: FillModel, *, cash: int
) -> RunOutcome:
    """Trade towards targets once, as `KernelMarkets.run` does."""
    return KernelMarkets.of(universe, execution).run(universe.quotes, targets, fills, cash=cash)


class RunSummary(NamedTuple):
    """The result of one of many runs; money is in millionths of a dollar."""

    cash: int
    equity: int
    fees: int
    fills: int


class SweepInput(NamedTuple):
    """The rows of all signals with the same `decide_every`, and their histories."""

    quotes: QuoteColumns
    parts: list[tuple[Ints, QuoteHistory]]

    @classmethod
    def of(cls, universe: Universe, every: float | None) -> Self:
        points = with_decision_points(universe, every).universe
        return cls(columns_of(points.quotes), list(quote_histories(points)))

    def targets(self, signal: Signal) -> Ints:
        targets = np.empty(sum(len(rows) for rows, _ in self.parts), np.int64)
        for rows, history in self.parts:
            targets[rows] = signal.checked_targets(history)
        return targets


def run_many(
    universe: Universe,
    signals: Sequence[Signal],
    execution: ExecutionModel,
    fills: FillModel,
    *,
    cash: int,
) -> list[RunSummary]:
    """Run each signal, on all cores, without journals; equity is marked at the end.

    Raises ValueError as `run` does.
    """
    marks, markets = last_sides(universe), KernelMarkets.of(universe, execution)
    inputs = {
        every: SweepInput.of(universe, every)
        for every in {signal.decide_every for signal in signals}
    }

    def one(signal: Signal) -> RunSummary:
        shared = inputs[signal.decide_every]
        targets = shared.targets(signal)
        run = markets.traded(shared.quotes, targets, fills, cash, empty_journal(0))
        return _summary(run.states, run.figures, marks)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, signals))


def _summary(states: Ints, figures: Ints, marks: Ints) -> RunSummary:
    held = states[:, POSITION]
    worth = np.abs(held) * np.where(held > 0, marks[:, 0], marks[:, 1])
    cash = int(figures[CASH])
    return RunSummary(cash, cash + int(worth.sum()), int(figures[FEES]), int(figures[FILLED]))


def check_targets(targets: Ints) -> Ints:
    """Raise ValueError for a target that is too large for its fee."""
    most = MOST_COUNT // CONTRACT
    if np.any((targets > most) | ((targets < -most) & (targets != HOLD))):
        raise ValueError(f"a target exceeds {most:,} contracts")
    return targets


@partial(compiled, from_python=True)
def trade(
    quotes: QuoteColumns,
    targets: Ints,
    run: KernelRun,
    tape: TapeColumns,
    whole: WholeStretches,
    evidence: FillEvidence,
    ways: Ways,
    stop: Ints,
) -> None:
    """Pass over all rows once: settlements, trades, books, arrivals, decisions of each instant.

    Another thread may set the flag `stop`, which ends the pass at the next instant.

    Between two instants with rows, settlements, trades and arrivals have instants of their own. A
    book is read only where an order could meet it or be sent, which most rows are not.
    """
    # A call with the whole run costs more than most rows do, so the loop checks first.
    at, market, states, figures = quotes.at, quotes.market, run.states, run.figures
    due, make, assumed = run.tables.settlements, run.rules.make, run.rules.assumed
    tape_at = tape.at
    settled, traded, row, rows, trades = 0, 0, 0, len(at), len(tape_at)
    while row < rows and not stop[0]:
        now, end = at[row], row + 1
        while end < rows and at[end] == now:
            end += 1
        if (
            figures[NEXT] < now
            or (settled < len(due) and due[settled, 0] <= now)
            or (traded < trades and tape_at[traded] <= now)
        ):
            settled, traded = _pass_time(run, tape, ways.waiting, settled, traded, now, now)
        for r in range(row, end):
            m = market[r]
            if make:
                update_volume(states[m], quotes.volume[r])
            if states[m, SENT] or states[m, LEFT] or states[m, BID_TAKEN] or states[m, ASK_TAKEN]:
                update_book(quotes, assumed, r, states[m])
                if states[m, LEFT]:
                    note_tape(tape, whole, run.rules, states[m], Spot(now, m, r))
                    match_rest(run, evidence, Spot(now, m, r), states[m])
        if figures[NEXT] <= now:
            settled, traded = _pass_time(run, tape, ways.waiting, settled, traded, now, now + 1)
        for r in range(row, end):
            target, m = targets[r], market[r]
            if target == HOLD or states[m, SENT]:
                continue
            if target * 100 != states[m, POSITION] or states[m, LEFT]:
                update_book(quotes, assumed, r, states[m])
                sent = decide(run, Spot(now, m, r), states[m], target)
                if sent:
                    send(ways, run.rules, states[m], m, now, sent)
                    add_waiting(ways.waiting, states, figures, m)
        row = end
    until = FAR_FUTURE if row >= rows else 0
    _pass_time(run, tape, ways.waiting, settled, traded, until, until)


@compiled
def _pass_time(
    run: KernelRun,
    tape: TapeColumns,
    waiting: Ints,
    settled: int,
    traded: int,
    now: int,
    arrivals_before: int,
) -> tuple[int, int]:
    """Let orders arrive before an instant, and settle and read the tape up to `now`.

    Return how many settlements and how many trades are done.
    """
    figures = run.figures
    while True:
        until = min(figures[NEXT], now)
        settled, traded = read_tape(run, tape, settled, traded, until)
        settled = settle(run, settled, until)
        if figures[NEXT] >= arrivals_before:
            return settled, traded
        market = next_waiting(waiting, run.states, figures)
        end_way(run, market)
        state = run.states[market]
        spot = Spot(state[ENDS_AT], market, state[ROW])
        if run.rules.fills == MOST and state[LEFT] and state[MET] == spot.at:
            meet_recent_trades(run, tape, spot)
