"""Whether a strategy looks ahead: what it decides must be the same, whatever comes later.

A strategy is run again and again on records of the same past and another future. Its decisions
up to the moment at which the records part have to be identical. What cannot be found in this way
is a table of outcomes that somebody wrote into a strategy: that it goes by the markets' names is
noted, and is no proof.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from backtests import alternatives, engine, kernel, signals
from backtests.alternatives import Alternative
from backtests.execution import HOLD, JOURNAL, Execution, Fills, Kind
from backtests.metrics.marks import trace
from backtests.quotes import CONTRACT, DOLLAR, MONEY, Ints, Seen, Universe, instant
from backtests.strategies.base import Signal, Strategy

# How many rows a strategy is shown in all, which bounds how long the check takes, and how often
# at least and at most it is run.
SHOWN = 20_000_000
SHOWN_STEP_BY_STEP = 400_000
FEWEST, MOST = 12, 2_000
CASH = 10_000 * MONEY
# What a strategy raises that misses the rows or the markets it was made for.
MISSED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
COLUMN = {name: place for place, name in enumerate(JOURNAL)}
TOLD = [COLUMN[name] for name in ("at", "market", "side", "count", "price")]


class Verdict(StrEnum):
    CLEAN = "clean"
    LOOKS_AHEAD = "looks ahead"
    MINDS_OTHERS = "minds other markets"
    NOT_DETERMINISTIC = "not deterministic"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The first decision that differed, and what set the two records apart."""

    at: int
    ticker: str
    decided: str
    instead: str
    change: str

    def __str__(self) -> str:
        when = f"{instant(self.at):%Y-%m-%d %H:%M:%S.%f} UTC"
        return f"{self.ticker}, {when}: {self.decided}, but {self.instead} {self.change}"


@dataclass(frozen=True, slots=True)
class Report:
    """On how many records the strategy ran, and how often it decided on the original one."""

    verdict: Verdict
    evidence: Evidence | None
    runs: int
    decisions: int
    notes: tuple[str, ...]


def check(
    kind: type[Signal] | type[Strategy],
    universe: Universe,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    shown: int | None = None,
) -> Report:
    """Run a strategy on other futures of a universe and compare what it decides.

    `shown` is how many rows it is shown in all. The same seed finds the same.
    """
    trial = Trial(kind, parameters or {}, universe, np.random.default_rng(seed))
    rows = shown or (SHOWN if issubclass(kind, Signal) else SHOWN_STEP_BY_STEP)
    runs = min(MOST, max(FEWEST, rows // len(universe.quotes)))
    evidence = next(trial.differences(runs), None)
    minds_others = None if evidence else trial.minds_others()
    first, again = trial.decide(trial.original), trial.decide(trial.original)
    if first.raised:
        raise first.raised
    verdict = Verdict.CLEAN
    if unstable := trial.difference(first, again, trial.original):
        verdict, evidence = Verdict.NOT_DETERMINISTIC, unstable
    elif evidence:
        verdict = Verdict.LOOKS_AHEAD
    elif minds_others:
        verdict, evidence = Verdict.MINDS_OTHERS, minds_others
    notes = tuple(trial.notes(first))
    return Report(verdict, evidence, trial.runs, len(trial.changes(first)), notes)


@dataclass(frozen=True, slots=True)
class Decisions:
    """Lines of instant, place of the market, and what was decided; or what was raised."""

    lines: Ints
    raised: Exception | None = None

    def until(self, at: int) -> Ints:
        return self.lines[self.lines[:, 0] <= at]


class Trial:
    """One strategy, shown many records."""

    def __init__(
        self,
        kind: type[Signal] | type[Strategy],
        parameters: Mapping[str, Any],
        universe: Universe,
        rng: np.random.Generator,
    ) -> None:
        self.kind = kind
        self.parameters = parameters
        self.universe = universe
        self.rng = rng
        self.runs = 0
        last, places = int(universe.quotes.at[-1]), np.arange(len(universe.listings))
        self.original = Alternative(universe, last, places, "on the same record, run once more")

    def differences(self, runs: int) -> Iterator[Evidence]:
        """What gives the strategy away; records with less of the future come first, so that
        nothing it may remember from one run to the next can have told it."""
        decided = self.decide(self.original) if runs < 0 else None
        yield from self._growing(_telling(self.universe, runs // 2, self.rng))
        decided = self.decide(self.original)
        for at in self._some(self.changes(decided), runs // 4):
            yield from self._compared(decided, alternatives.cut_off(self.universe, at))
        for at in self._some(_telling(self.universe, runs // 8, self.rng), runs // 8):
            for other in (alternatives.turned_over, alternatives.shuffled):
                yield from self._compared(decided, other(self.universe, at, self.rng))

    def _growing(self, instants: Ints) -> Iterator[Evidence]:
        """Each record goes on from where the one before was cut off."""
        shorter = None
        for at in [*instants.tolist(), self.original.until]:
            record = alternatives.cut_off(self.universe, at)
            decided = self.decide(record)
            if shorter:
                ...
