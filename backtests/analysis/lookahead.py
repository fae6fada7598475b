"""Whether a strategy looks ahead: what it decides must be the same, whatever comes later.

A strategy is run again and again on records of the same past and another future. Its decisions
up to the moment at which the records part have to be identical. What cannot be found in this way
is a table of outcomes that somebody wrote into a strategy: that it goes by the markets' names is
noted, and is no proof.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, pairwise
from typing import Any

import numpy as np

from backtests.analysis import counterfactuals
from backtests.analysis.counterfactuals import Alternative
from backtests.data.universe import CONTRACT, DOLLAR, MONEY, Ints, Seen, Universe, instant
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.metrics.marks import trace
from backtests.rules.execution import HOLD, JOURNAL, Execution, Fills, Kind
from backtests.strategies import indicators
from backtests.strategies.base import Signal, Strategy

# How many rows a strategy is shown in all, which bounds how long the check takes, and how often
# at least and at most it is run.
SHOWN = 20_000_000
SHOWN_STEP_BY_STEP = 400_000
FEWEST, MOST = 12, 2_000
CASH = 10_000 * MONEY
# What a strategy raises that misses the rows or the markets it was made for.
MISSED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
TOLD = [JOURNAL.index(name) for name in ("at", "market", "side", "count", "price")]
AT, PLACE, TARGET = range(3)


class Verdict(StrEnum):
    CLEAN = "clean"
    LOOKS_AHEAD = "looks ahead"
    MINDS_OTHERS = "minds other markets"
    NOT_DETERMINISTIC = "not deterministic"
    FAILS = "fails where less is known"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The first decision that differed, and what set the two records apart."""

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
class Report:
    """On how many records the strategy ran, and how often it decided on the original one."""

    verdict: Verdict
    evidence: Evidence | None
    runs: int
    decisions: int
    notes: tuple[str, ...]

    def sentences(self) -> Iterator[str]:
        """For people: the verdict first, then what it rests on."""
        counted = f"{self.decisions:,} decisions, compared over {self.runs:,} runs"
        yield f"{self.verdict.capitalize()}: {counted}."
        yield from (str(words) for words in (self.evidence, *self.notes) if words)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Lines of instant, place of the market, and what was decided; or what was raised."""

    lines: Ints
    raised: Exception | None = None

    def until(self, at: int) -> Ints:
        return self.lines[self.lines[:, AT] <= at]


def check(  # noqa: PLR0913
    kind: type[Signal] | type[Strategy],
    universe: Universe,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    shown: int | None = None,
    done: Callable[[float], None] = lambda share: None,
) -> Report:
    """Compare what a strategy decides on a universe and on others of the same past.

    `shown` is how many rows it is shown in all. The same seed finds the same. What the strategy
    raises on the universe as it is, is raised. `done` hears about which share of it is done,
    before every run at least, and may raise to end it.
    """
    rows = shown or (SHOWN if issubclass(kind, Signal) else SHOWN_STEP_BY_STEP)
    runs = min(MOST, max(FEWEST, rows // len(universe.quotes)))
    trial = Trial(
        kind,
        parameters or {},
        universe,
        np.random.default_rng(seed),
        tell=lambda ran: done(min(1.0, ran / runs)),
    )
    verdict, evidence = trial.judged(runs)
    decided = trial.decide(trial.original)
    notes = tuple(trial.notes(decided))
    return Report(verdict, evidence, trial.runs, len(trial.changes(decided)), notes)


class Trial:
    """One strategy, shown many records."""

    def __init__(
        self,
        kind: type[Signal] | type[Strategy],
        parameters: Mapping[str, Any],
        universe: Universe,
        rng: np.random.Generator,
        *,
        tell: Callable[[int], None],
    ) -> None:
        self.kind = kind
        self.parameters = parameters
        self.universe = universe
        self.rng = rng
        self.tell = tell
        self.runs = 0
        last, places = int(universe.quotes.at[-1]), np.arange(len(universe.listings))
        self.original = Alternative(universe, last, places, "when it ran once more")

    def judged(self, runs: int) -> tuple[Verdict, Evidence | None]:
        evidence = self._found(runs)
        first, again = self.decide(self.original), self.decide(self.original)
        if first.raised:
            raise first.raised
        if unstable := self._difference(first, again, self.original):
            return Verdict.NOT_DETERMINISTIC, unstable
        if evidence:
            return Verdict.FAILS if evidence.failed else Verdict.LOOKS_AHEAD, evidence
        if issubclass(self.kind, Signal):
            evidence = self._compared(first, counterfactuals.among_others(self.universe, self.rng))
        return Verdict.MINDS_OTHERS if evidence else Verdict.CLEAN, evidence

    def _found(self, runs: int) -> Evidence | None:
        """A decision that differed, or else that there was none where others were."""
        failure = None
        for evidence in filter(None, self._differences(runs)):
            if not evidence.failed:
                return evidence
            failure = failure or evidence
        return failure

    def notes(self, decided: Decisions) -> Iterator[str]:
        """What is no proof of anything, and worth knowing."""
        if not len(self.changes(decided)):
            yield "It decided nothing on this record, so there was nothing to find."
            return
        if other := self._compared(decided, counterfactuals.renamed(self.universe)):
            yield f"It goes by the markets' names. {other}."
        now, later = (self._gain(decided, snapshots) for snapshots in (1, 2))
        yield f"It gains ${now:,.2f} here, and ${later:,.2f} one snapshot later."

    def decide(self, record: Alternative) -> Decisions:
        self.tell(self.runs)
        self.runs += 1
        try:
            lines = self._lines(record.universe)
        except MISSED as error:
            return Decisions(np.empty((0, TARGET + 1), np.int64), error)
        lines[:, PLACE] = record.places[lines[:, PLACE]]
        if issubclass(self.kind, Signal):
            lines = lines[np.lexsort((lines[:, PLACE], lines[:, AT]))]
        return Decisions(lines)

    def changes(self, decided: Decisions) -> Ints:
        """The lines that decide something new."""
        lines = decided.lines
        if not issubclass(self.kind, Signal):
            return lines
        lines = lines[np.argsort(lines[:, PLACE], kind="stable")]
        same = (np.diff(lines[:, PLACE], prepend=-1) == 0) & (
            np.diff(lines[:, TARGET], prepend=0) == 0
        )
        changed: Ints = lines[~same & (lines[:, TARGET] != HOLD)]
        return changed

    def _lines(self, universe: Universe) -> Ints:
        if issubclass(self.kind, Signal):
            seen = Seen(universe.quotes, universe.listings)
            targets = seen.in_time(self.kind(**self.parameters).targets(seen))
            whole = targets.astype(np.int64, casting="same_kind")
            return np.column_stack((universe.quotes.at, universe.quotes.market, whole))
        journal = self._engine(universe, snapshots=1).outcome.journal
        orders: Ints = journal[journal[:, JOURNAL.index("kind")] == Kind.ORDER][:, TOLD]
        return orders

    def _differences(self, runs: int) -> Iterator[Evidence | None]:
        """Records with less of the future come first: nothing that a strategy may keep from one
        run to the next can have told it."""
        yield from self._growing(telling(self.universe, runs // 2, self.rng))
        decided = self.decide(self.original)
        for at in self._some(self.changes(decided)[:, AT], runs // 4):
            yield self._compared(decided, counterfactuals.cut_off(self.universe, at))
        for at in self._some(telling(self.universe, runs // 8, self.rng), runs // 8):
            for other in (counterfactuals.turned_over, counterfactuals.shuffled):
                yield self._compared(decided, other(self.universe, at, self.rng))

    def _growing(self, instants: Ints) -> Iterator[Evidence | None]:
        cut = (counterfactuals.cut_off(self.universe, at) for at in instants.tolist())
        decided = ((record, self.decide(record)) for record in chain(cut, [self.original]))
        for (record, shorter), (_, longer) in pairwise(decided):
            yield self._difference(longer, shorter, record)

    def _some(self, instants: Ints, most: int) -> list[int]:
        there = np.unique(instants)
        chosen = self.rng.choice(there, min(most, len(there)), replace=False)
        return sorted(chosen.tolist())

    def _compared(self, decided: Decisions, record: Alternative) -> Evidence | None:
        there = np.isin(decided.lines[:, PLACE], record.places)
        same_markets = Decisions(decided.lines[there], decided.raised)
        return self._difference(same_markets, self.decide(record), record)

    def _difference(
        self, decided: Decisions, instead: Decisions, record: Alternative
    ) -> Evidence | None:
        """The first decision before the records part that is not the same."""
        if decided.raised or instead.raised:
            both_failed = decided.raised and instead.raised
            return None if both_failed else self._failure(decided, instead, record)
        mine, others = decided.until(record.until), instead.until(record.until)
        both = min(len(mine), len(others))
        unequal = np.flatnonzero((mine[:both] != others[:both]).any(axis=1))
        if not len(unequal) and len(mine) == len(others):
            return None
        first = int(unequal[0]) if len(unequal) else both
        return self._evidence(mine[first : first + 1], others[first : first + 1], record)

    def _evidence(self, mine: Ints, others: Ints, record: Alternative) -> Evidence:
        """Of two lines, the earlier one tells where; at the other's place is none like it."""
        where = min(line[: PLACE + 1] for line in [*mine.tolist(), *others.tolist()])
        decided, instead = (
            _told(line[TARGET:]) if len(line) and line[: PLACE + 1] == where else "decided nothing"
            for line in ((mine.tolist() or [[]])[0], (others.tolist() or [[]])[0])
        )
        ticker = self.universe.listings[where[PLACE]].ticker
        return Evidence(where[AT], ticker, decided, instead, record.change)

    def _failure(self, decided: Decisions, instead: Decisions, record: Alternative) -> Evidence:
        ran, failed = (f"raised {d.raised!r}" if d.raised else "ran" for d in (decided, instead))
        ticker = self.universe.listings[record.places[0]].ticker
        return Evidence(record.until, ticker, ran, failed, record.change, failed=True)

    def _gain(self, decided: Decisions, snapshots: int) -> float:
        """In dollars, with positions that are left marked at the side they could be sold to."""
        if issubclass(self.kind, Signal):
            targets = np.ascontiguousarray(decided.lines[:, TARGET])
            execution = Execution(latency_snapshots=snapshots)
            outcome = kernel.run(self.universe, targets, execution, Fills.PESSIMISTIC, cash=CASH)
        else:
            outcome = self._engine(self.universe, snapshots=snapshots).outcome
        start, end = self.universe.quotes.at[[0, -1]].tolist()
        path = trace(self.universe, outcome, cash=CASH, start=start, end=end)
        return (int(path.equity[-1]) - CASH) / MONEY

    def _engine(self, universe: Universe, *, snapshots: int) -> cerebro.Finished:
        kind: Any = self.kind
        return cerebro.run(
            universe,
            kind,
            Execution(latency_snapshots=snapshots),
            Fills.PESSIMISTIC,
            cash=CASH,
            parameters=self.parameters,
            progress=lambda rows: self.tell(self.runs),
        )


def telling(universe: Universe, most: int, rng: np.random.Generator) -> Ints:
    """Instants after which much is to come: moves, other schedules, first and last quotes of
    markets; then others by chance. All there are, where they are no more than `most`."""
    instants = np.unique(universe.quotes.at)[:-1]
    if len(instants) <= most:
        return instants
    seen = Seen(universe.quotes, universe.listings)
    inside = np.flatnonzero(np.diff(seen.market) == 0)
    moves = np.nan_to_num(np.abs(np.diff(indicators.mid(seen))[inside]))
    biggest = inside[np.argsort(-moves, kind="stable")][: most // 4]
    other_close = inside[np.diff(seen.quotes.close_at)[inside] != 0]
    there = np.diff(seen.starts) > 0
    firsts, lasts = seen.starts[:-1][there], seen.starts[1:][there] - 1
    before = np.concatenate((seen.at[other_close], seen.at[firsts] - 1, seen.at[lasts] - 1))
    rare = rng.permutation(before[before >= instants[0]])[: most // 4]
    chance = rng.choice(instants, most // 2, replace=False)
    return np.unique(np.concatenate((seen.at[biggest], rare, chance)))


def _told(what: Sequence[int]) -> str:
    """What a line decides: a target, or side, count and price of an order."""
    if len(what) == 1:
        (target,) = what
        if target == HOLD:
            return "left its position as it was"
        return (
            f"wanted {abs(target):,} {'YES' if target > 0 else 'NO'}" if target else "wanted none"
        )
    side, count, price = what
    name, paid = ("YES", price) if side > 0 else ("NO", DOLLAR - price)
    return f"bid for {count / CONTRACT:,.2f} {name} at {paid / DOLLAR:.4f}"
