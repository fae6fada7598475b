"""The annotations that a backtrader strategy makes while it runs."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import backtrader as bt

from backtests.annotations import analyses
from backtests.annotations.analyses import MOST_ANALYZERS, Analysis
from backtests.annotations.checks import BadAnnotation, names_of, probability
from backtests.annotations.conditions import ConditionCounts
from backtests.annotations.probabilities import FirstStatement, StatedProbabilities
from backtests.annotations.run import Annotations
from backtests.annotations.series import SeriesRecorder
from backtests.data.universe import DOLLAR
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backtests.engine.event_driven.order_book import Book


# backtrader keeps analyzers as attributes beside its own.
NAMES_OF_A_COLLECTION = dir(bt.metabase.ItemCollection())
READS_OBSERVERS = (
    "is a return of years by backtrader's observers, of which a run has none: take"
    " (bt.analyzers.TimeReturn, {'timeframe': bt.TimeFrame.Years})"
)


class Clock(Protocol):
    """The broker, as far as annotations need it."""

    now: int


class Annotator:
    """Keeps the probabilities, reasons, series and conditions of a strategy."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._probabilities = StatedProbabilities()
        self._standing: dict[int, float] = {}  # the newest probability of each market
        self._has_stated = False
        self._reasons: dict[int, str] = {}
        self._series = SeriesRecorder()
        self._conditions = ConditionCounts()
        self.analyses: Mapping[str, Analysis] = {}
        self.failed: dict[str, Analysis] = {}  # of analyzers that raised an error at the end

    def state_probability(self, book: Book, value: Any) -> None:
        """State the probability of YES from now on; NaN takes it back. Raises BadAnnotation."""
        stated = probability(value)
        self._check_begun("state_probability")
        self._has_stated = True
        self._series.add_probability(book.market, at=self._clock.now, value=stated)
        if math.isnan(stated):
            self._standing.pop(book.market, None)
            return
        self._standing[book.market] = stated
        top = book.top
        is_two_sided = top.bid >= 0 and top.ask >= 0
        if book.tradable and is_two_sided and book.market not in self._probabilities.first:
            midpoint = (top.bid + top.ask) / (2 * DOLLAR)
            first = FirstStatement(self._clock.now, stated, midpoint)
            self._probabilities.first[book.market] = first

    def plot(self, name: Any, book: Book, value: Any) -> None:
        """Draw a value that stands from now on; NaN is none. Raises BadAnnotation."""
        self._check_begun("plot")
        self._series.add(name, book.market, at=self._clock.now, value=value)

    def condition(self, name: Any, held: object) -> bool:
        return self._conditions.count(name, held)

    def note_order(self, number: int, market: int, reason: str) -> None:
        """Keep the reason of an order that is sent now, and the probability that stands."""
        if reason:
            self._reasons[number] = reason
        if market in self._standing:
            self._probabilities.of_orders[number] = self._standing[market]

    def reason_of(self, number: int) -> str:
        return self._reasons.get(number, "")

    def annotations(self, journal: Sequence[Sequence[int]]) -> Annotations:
        kind, market = JOURNAL_COLUMN["kind"], JOURNAL_COLUMN["market"]
        fills = Counter(line[market] for line in journal if line[kind] == EntryKind.FILL)
        return Annotations(
            probabilities=self._probabilities if self._has_stated else None,
            reasons=self._reasons,
            series=self._series.kept(fills),
            conditions=tuple(self._conditions.counts.values()),
            analyses=self.analyses,
        )

    def _check_begun(self, method: str) -> None:
        if not self._clock.now:
            raise BadAnnotation(f"{method}() is for the first step and later ones")


def add_analyzers(cerebro: bt.Cerebro, named: Mapping[str, Any]) -> None:
    """Add the analyzers that a strategy names: classes, or pairs of class and arguments.

    Raises BadAnnotation.
    """
    if len(named) > MOST_ANALYZERS:
        raise BadAnnotation(f"analyzers: at most {MOST_ANALYZERS}, not {len(named)}")
    for name, asked in zip(names_of("analyzers", named), named.values(), strict=True):
        pair = asked if isinstance(asked, tuple) else (asked, {})
        cerebro.addanalyzer(_analyzer(name, *pair), _name=name, **pair[1])


def _analyzer(name: str, made: Any = None, arguments: Any = None, *more: Any) -> Any:
    """Return the class of an analyzer. Raises BadAnnotation for what cannot be one in a run."""
    is_analyzer = isinstance(made, type) and issubclass(made, bt.Analyzer)
    if not is_analyzer:
        raise BadAnnotation(f"analyzers: {name!r} must be a backtrader analyzer, not {made!r}")
    if more or not isinstance(arguments, dict):
        raise BadAnnotation(f"analyzers: {name!r} must be a class, or a class and its arguments")
    if made.stop is bt.analyzers.AnnualReturn.stop or arguments.get("legacyannual"):
        raise BadAnnotation(f"analyzers: {name!r} {READS_OBSERVERS}")
    if name in NAMES_OF_A_COLLECTION:
        raise BadAnnotation(f"analyzers: backtrader has the name {name!r} itself; choose another")
    return made


def read_analyses(strategy: bt.Strategy, named: Mapping[str, Any]) -> dict[str, Analysis]:
    """The analyses of a strategy that has run, as a result keeps them."""
    failed = strategy.broker.annotator.failed
    return {
        name: failed.get(name) or analyses.stored(strategy.analyzers.getbyname(name).get_analysis)
        for name in names_of("analyzers", named)
    }
