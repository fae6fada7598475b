"""The look-ahead check: a strategy's decisions must not depend on what comes later.

The check runs a strategy again and again on records with the same past and another future. Its
decisions up to the moment at which the records part must be identical. The check cannot find a
table of outcomes that somebody wrote into a strategy; it only notes that a strategy goes by the
markets' names, which proves nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, pairwise
from typing import Any

import numpy as np

from backtests.analysis import counterfactuals
from backtests.analysis.counterfactuals import Counterfactual
from backtests.analysis.signal_annotations import orders_of
from backtests.annotations.probabilities import StatedProbabilities
from backtests.data.decision_points import with_decision_points
from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    MONEY,
    Floats,
    Ints,
    QuoteHistory,
    Universe,
    instant,
)
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.metrics.marks import trace
from backtests.rules.execution import HOLD, JOURNAL_COLUMN, ExecutionModel, FillModel
from backtests.strategies import indicators
from backtests.strategies.base import Signal, Strategy

# How many rows a check shows a strategy in all, which bounds its duration, and how often it runs
# the strategy at least and at most.
ROWS_SHOWN = 20_000_000
ROWS_SHOWN_STEP_BY_STEP = 400_000
MIN_RUNS, MAX_RUNS = 12, 2_000
CASH = 10_000 * MONEY
# A report compares the gain with that of orders which take so many seconds, or so many times
# longer, whichever is more.
LATE_SECONDS, LATE_TIMES = 60.0, 10.0
# Errors of a strategy that misses the rows or the markets that it was made for.
MISSING_DATA_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
ORDER_COLUMNS = [JOURNAL_COLUMN[name] for name in ("at", "market", "side", "count", "price")]
AT, MARKET, TARGET = range(3)
NO_SIDE = 0  # of a row that states a probability and is no order


class LookaheadVerdict(StrEnum):
    CLEAN = "clean"
    LOOKS_AHEAD = "looks ahead"
    DEPENDS_ON_OTHERS = "depends on other markets"
    NOT_DETERMINISTIC = "not deterministic"
    FAILS = "fails with less data"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The first decision that differed, and the change of the record that made it differ."""

    at: int
    ticker: str
    decided: str
    instead: str
    change: str
    failed: bool = False

    def __str__(self) -> str:
        when = f"{instant(self.at):%Y-%m-%d %H:%M:%S.%f} UTC"
        return f"{self.ticker}, {when}: it {self.decided}, but {self.instead} {self.change}"


@dataclass(frozen=True, slots=True)
class LookaheadReport:
    """The verdict, the number of runs, and the number of decisions on the original record."""

    verdict: LookaheadVerdict
    evidence: Evidence | None
    runs: int
    decisions: int
    notes: tuple[str, ...]

    def sentences(self) -> Iterator[str]:
        """The verdict in words, then what it is based on."""
        counted = f"{self.decisions:,} decisions compared over {self.runs:,} runs"
        yield f"{self.verdict.capitalize()}: {counted}."
        yield from (str(words) for words in (self.evidence, *self.notes) if words)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Rows of instant, market, decision and the probability that was stated with it; or the error
    that the strategy raised.

    The decision is a target of a signal, or side, count and price of an order of a strategy.
    """

    rows: Ints
    error: Exception | None = None

    def until(self, at: int) -> Ints:
        return self.rows[self.rows[:, AT] <= at]


def check(  # noqa: PLR0913
    strategy: type[Signal] | type[Strategy],
    universe: Universe,
    *,
    parameters: Mapping[str, Any] | None = None,
    execution: ExecutionModel | None = None,
    seed: int = 0,
    rows_shown: int | None = None,
    on_share: Callable[[float], None] = lambda share: None,
) -> LookaheadReport:
    """Compare a strategy's decisions on a universe with those on counterfactual ones.

    The orders of a `Strategy`, and the gains of the report, follow the `execution` model.
    `rows_shown` bounds the rows that the strategy is shown in all. The same seed gives the same
    report. An error that the strategy raises on the original universe is raised. `on_share` hears
    the share that is done, at least before every run, and may raise to end the check.
    """
    is_signal = issubclass(strategy, Signal)
    rows = rows_shown or (ROWS_SHOWN if is_signal else ROWS_SHOWN_STEP_BY_STEP)
    runs = min(MAX_RUNS, max(MIN_RUNS, rows // len(universe.quotes)))
    lookahead = LookaheadCheck(
        strategy,
        parameters or {},
        universe,
        execution or ExecutionModel(),
        np.random.default_rng(seed),
        on_run=lambda ran: on_share(min(1.0, ran / runs)),
    )
    verdict, evidence = lookahead.verdict(runs)
    decided = lookahead.decide(lookahead.original)
    notes = tuple(lookahead.notes(decided))
    decisions = len(lookahead.new_decisions(decided))
    return LookaheadReport(verdict, evidence, lookahead.runs, decisions, notes)


class LookaheadCheck:
    """One strategy, run on many records."""

    def __init__(  # noqa: PLR0913
        self,
        strategy: type[Signal] | type[Strategy],
        parameters: Mapping[str, Any],
        universe: Universe,
        execution: ExecutionModel,
        rng: np.random.Generator,
        *,
        on_run: Callable[[int], None],
    ) -> None:
        self.strategy = strategy
        self.parameters = parameters
        self.execution = execution
        self.universe = universe = counterfactuals.with_plain_observations(universe)
        self.rng = rng
        self.on_run = on_run
        self.runs = 0
        last, markets = int(universe.quotes.at[-1]), np.arange(len(universe.listings))
        self.original = Counterfactual(universe, last, markets, "in a second run")

    def verdict(self, runs: int) -> tuple[LookaheadVerdict, Evidence | None]:
        evidence = self._search(runs)
        first, again = self.decide(self.original), self.decide(self.original)
        if first.error:
            raise first.error
        if unstable := self._difference(first, again, self.original):
            return LookaheadVerdict.NOT_DETERMINISTIC, unstable
        if evidence and evidence.failed:
            return LookaheadVerdict.FAILS, evidence
        if evidence:
            return LookaheadVerdict.LOOKS_AHEAD, evidence
        if issubclass(self.strategy, Signal):
            fewer = counterfactuals.without_some_markets(self.universe, self.rng)
            if evidence := self._compare(first, fewer):
                return LookaheadVerdict.DEPENDS_ON_OTHERS, evidence
        return LookaheadVerdict.CLEAN, None

    def _search(self, runs: int) -> Evidence | None:
        """The first decision that differed; without one, the first failure."""
        failure = None
        for evidence in filter(None, self._differences(runs)):
            if not evidence.failed:
                return evidence
            failure = failure or evidence
        return failure

    def notes(self, decided: Decisions) -> Iterator[str]:
        """Observations that prove nothing and are worth knowing."""
        if not len(self.new_decisions(decided)):
            yield "It made no decision on this record, so the check could find nothing."
            return
        if other := self._compare(decided, counterfactuals.renamed(self.universe)):
            yield f"It goes by the markets' names. {other}."
        seconds = self.execution.latency_seconds
        later = max(LATE_SECONDS, LATE_TIMES * seconds)
        yield (
            f"It gains ${self._gain(seconds):,.2f} with orders that take {seconds:g}"
            f" {'second' if seconds == 1 else 'seconds'}, and ${self._gain(later):,.2f} with"
            f" {later:g} seconds."
        )

    def decide(self, record: Counterfactual) -> Decisions:
        self.on_run(self.runs)
        self.runs += 1
        try:
            rows = self._decision_rows(record.universe)
        except MISSING_DATA_ERRORS as error:
            return Decisions(np.empty((0, TARGET + 1), np.int64), error)
        rows[:, MARKET] = record.markets[rows[:, MARKET]]
        if issubclass(self.strategy, Signal):
            rows = rows[np.lexsort((rows[:, MARKET], rows[:, AT]))]
        return Decisions(rows)

    def new_decisions(self, decided: Decisions) -> Ints:
        """The rows that decide something new."""
        rows = decided.rows
        if not issubclass(self.strategy, Signal):
            return rows
        rows = rows[np.argsort(rows[:, MARKET], kind="stable")]
        same = (np.diff(rows[:, MARKET], prepend=-1) == 0) & (
            np.diff(rows[:, TARGET], prepend=0) == 0
        )
        changed: Ints = rows[~same & (rows[:, TARGET] != HOLD)]
        return changed

    def _decision_rows(self, universe: Universe) -> Ints:
        if issubclass(self.strategy, Signal):
            signal = self.strategy(**self.parameters)
            universe = with_decision_points(universe, signal.decide_every).universe
            history = QuoteHistory.of(universe)
            targets = signal.checked_targets(history)
            stated = _in_millionths(signal.checked_probabilities(history), len(targets))
            return np.column_stack((universe.quotes.at, universe.quotes.market, targets, stated))
        outcome = self._run_engine(universe, self.execution).outcome
        probabilities = outcome.annotations.probabilities or StatedProbabilities()
        rows = np.concatenate(
            (_order_rows(orders_of(outcome), probabilities), _statement_rows(probabilities))
        )
        return rows[np.argsort(rows[:, AT], kind="stable")]

    def _differences(self, runs: int) -> Iterator[Evidence | None]:
        """Records with less of the future come first: a strategy that keeps something from one
        run to the next cannot have learned the future from them."""
        yield from self._growing(telling_instants(self.universe, runs // 2, self.rng))
        decided = self.decide(self.original)
        for at in self._sample(self.new_decisions(decided)[:, AT], runs // 4):
            yield self._compare(decided, counterfactuals.truncated(self.universe, at))
        for at in self._sample(telling_instants(self.universe, runs // 8, self.rng), runs // 8):
            for other in (counterfactuals.mirrored, counterfactuals.shuffled):
                yield self._compare(decided, other(self.universe, at, self.rng))

    def _growing(self, instants: Ints) -> Iterator[Evidence | None]:
        cut = (counterfactuals.truncated(self.universe, at) for at in instants.tolist())
        decided = ((record, self.decide(record)) for record in chain(cut, [self.original]))
        for (record, shorter), (_, longer) in pairwise(decided):
            yield self._difference(longer, shorter, record)

    def _sample(self, instants: Ints, most: int) -> list[int]:
        distinct = np.unique(instants)
        sample = self.rng.choice(distinct, min(most, len(distinct)), replace=False)
        return sorted(sample.tolist())

    def _compare(self, decided: Decisions, record: Counterfactual) -> Evidence | None:
        shared = np.isin(decided.rows[:, MARKET], record.markets)
        same_markets = Decisions(decided.rows[shared], decided.error)
        return self._difference(same_markets, self.decide(record), record)

    def _difference(
        self, decided: Decisions, instead: Decisions, record: Counterfactual
    ) -> Evidence | None:
        """The first decision that differs before the records part."""
        if decided.error or instead.error:
            both_failed = decided.error and instead.error
            return None if both_failed else self._failure(decided, instead, record)
        mine, others = decided.until(record.until), instead.until(record.until)
        both = min(len(mine), len(others))
        unequal = np.flatnonzero((mine[:both] != others[:both]).any(axis=1))
        if not len(unequal) and len(mine) == len(others):
            return None
        first = int(unequal[0]) if len(unequal) else both
        return self._evidence(mine[first : first + 1], others[first : first + 1], record)

    def _evidence(self, mine: Ints, others: Ints, record: Counterfactual) -> Evidence:
        """The earlier of two rows names the place; the other record decided nothing like it."""
        where = min(row[: MARKET + 1] for row in [*mine.tolist(), *others.tolist()])
        decided, instead = (
            _in_words(row[TARGET:])
            if len(row) and row[: MARKET + 1] == where
            else "decided nothing"
            for row in ((mine.tolist() or [[]])[0], (others.tolist() or [[]])[0])
        )
        ticker = self.universe.listings[where[MARKET]].ticker
        return Evidence(where[AT], ticker, decided, instead, record.change)

    def _failure(self, decided: Decisions, instead: Decisions, record: Counterfactual) -> Evidence:
        ran, failed = (f"raised {d.error!r}" if d.error else "ran" for d in (decided, instead))
        ticker = self.universe.listings[record.markets[0]].ticker
        return Evidence(record.until, ticker, ran, failed, record.change, failed=True)

    def _gain(self, latency_seconds: float) -> float:
        """The gain in dollars, with open positions marked at the side they could be sold to."""
        execution = replace(self.execution, latency_seconds=latency_seconds)
        if issubclass(self.strategy, Signal):
            stated = self.strategy(**self.parameters).stated(self.universe)
            outcome = kernel.run_stated(stated, execution, FillModel.FEWEST, cash=CASH)
        else:
            outcome = self._run_engine(self.universe, execution).outcome
        start, end = self.universe.quotes.at[[0, -1]].tolist()
        path = trace(self.universe, outcome, cash=CASH, start=start, end=end)
        return (int(path.equity[-1]) - CASH) / MONEY

    def _run_engine(self, universe: Universe, execution: ExecutionModel) -> cerebro.FinishedRun:
        strategy: Any = self.strategy
        return cerebro.run(
            universe,
            strategy,
            execution,
            FillModel.FEWEST,
            cash=CASH,
            parameters=self.parameters,
            on_progress=lambda rows: self.on_run(self.runs),
        )


def telling_instants(universe: Universe, most: int, rng: np.random.Generator) -> Ints:
    """Instants shortly before much happens: price moves, changed schedules, first and last quotes
    of markets; then random ones. All instants, where there are at most `most`."""
    instants = np.unique(universe.quotes.at)[:-1]
    if len(instants) <= most:
        return instants
    history = QuoteHistory.of(universe)
    inside = np.flatnonzero(np.diff(history.market) == 0)
    moves = np.nan_to_num(np.abs(np.diff(indicators.carried_mid(history))[inside]))
    biggest = inside[np.argsort(-moves, kind="stable")][: most // 4]
    rescheduled = inside[np.diff(history.quotes.close_at)[inside] != 0]
    quoted = np.diff(history.starts) > 0
    firsts, lasts = history.starts[:-1][quoted], history.starts[1:][quoted] - 1
    before = np.concatenate(
        (history.at[rescheduled], history.at[firsts] - 1, history.at[lasts] - 1)
    )
    rare = rng.permutation(before[before >= instants[0]])[: most // 4]
    random = rng.choice(instants, most // 2, replace=False)
    return np.unique(np.concatenate((history.at[biggest], rare, random)))


def _order_rows(orders: Ints, probabilities: StatedProbabilities) -> Ints:
    """The orders of a strategy, each with the probability that stood when it was sent."""
    numbers = orders[:, JOURNAL_COLUMN["order"]].tolist()
    stated = np.array([probabilities.of_orders.get(each, np.nan) for each in numbers])
    return np.column_stack((orders[:, ORDER_COLUMNS], _in_millionths(stated, len(orders))))


def _statement_rows(probabilities: StatedProbabilities) -> Ints:
    """The probabilities that are scored whatever is traded, in the columns of orders."""
    first = sorted((each.at, m, each.probability) for m, each in probabilities.first.items())
    rows = np.zeros((len(first), len(ORDER_COLUMNS) + 1), np.int64)
    if first:
        at, market, stated = (np.array(column) for column in zip(*first, strict=True))
        rows[:, AT], rows[:, MARKET] = at, market
        rows[:, -1] = _in_millionths(stated, len(first))
    return rows


def _in_millionths(probabilities: Floats | None, rows: int) -> Ints:
    """Stated probabilities as integers; `MISSING` where there is none."""
    stated = np.full(rows, np.nan) if probabilities is None else probabilities
    return np.where(np.isnan(stated), MISSING, np.rint(np.nan_to_num(stated) * MONEY)).astype(
        np.int64
    )


def _in_words(decision: Sequence[int]) -> str:
    """A decision in words, with the probability that was stated with it."""
    *decided, probability = decision
    stated = f"a probability of {probability / MONEY}"
    if decided[:2] == [NO_SIDE, 0]:
        return f"stated {stated}"
    words = _decided_in_words(decided)
    return words if probability == MISSING else f"{words} at {stated}"


def _decided_in_words(decision: Sequence[int]) -> str:
    """A target, or side, count and price of an order."""
    if len(decision) == 1:
        (target,) = decision
        if target == HOLD:
            return "kept its position"
        return (
            f"wanted {abs(target):,} {'YES' if target > 0 else 'NO'}" if target else "wanted none"
        )
    side, count, price = decision
    name, paid = ("YES", price) if side > 0 else ("NO", DOLLAR - price)
    return f"bid for {count / CONTRACT:,.2f} {name} at {paid / DOLLAR:.4f}"
