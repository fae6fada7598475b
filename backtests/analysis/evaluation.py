"""Evaluation of a strategy on one universe: headline, band of fill models, and yardsticks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np

from backtests import metrics
from backtests.analysis import fingerprints
from backtests.analysis.permutation import significance_of
from backtests.analysis.signal_annotations import SignalStatements, orders_of
from backtests.annotations.series import KeptSeries, beside_book
from backtests.data.universe import MISSING, Ints, Universe
from backtests.engine import kernel
from backtests.engine.event_driven import cerebro
from backtests.engine.interruption import stop_flag
from backtests.metrics import Assumptions, EquityPath, Figures
from backtests.rules.execution import JOURNAL_COLUMN, ExecutionModel, FillModel, RunOutcome
from backtests.strategies import STRATEGIES, YARDSTICKS, StrategyClass
from backtests.strategies.base import Signal, StatedTargets

# Hears the share that is done and what is being done; it may raise to end the work.
OnProgress = Callable[[float, str], None]

# The progress when the headline, the band and the yardsticks are done.
HEADLINE, BAND, ALL = 0.4, 0.8, 1.0


def part_of_progress(
    on_progress: OnProgress, doing: str, *, begun: float, ended: float
) -> Callable[[float], None]:
    """A callback for one part of the work, which hears the share of that part alone."""
    return lambda share: on_progress(begun + (ended - begun) * share, doing)


class MeasuredRun(NamedTuple):
    outcome: RunOutcome
    figures: Figures
    path: EquityPath


class EvaluationResults(NamedTuple):
    """The run with `EXPECTED` fills, the figures under each fill model, and those of yardsticks.

    Of the other runs the figures alone are kept: their journals would fill the memory.
    """

    headline: MeasuredRun
    band: Mapping[FillModel, Figures]
    yardsticks: Mapping[str, Figures]


@dataclass
class Evaluation:
    """A strategy with all its parameters, to be run by one engine.

    `cash` is in millionths of a dollar, `start` and `end` in microseconds since 1970.
    """

    universe: Universe
    strategy: StrategyClass
    params: Mapping[str, Any]
    execution: ExecutionModel
    cash: int
    start: int
    end: int
    in_kernel: bool
    # Set by another thread, it ends runs of the kernel.
    stop: Ints = field(default_factory=stop_flag)
    _asked: dict[str, str] = field(default_factory=dict)

    def results(self, on_progress: OnProgress) -> EvaluationResults:
        on_share = part_of_progress(on_progress, "running the strategy", begun=0, ended=HEADLINE)
        outcome = self.annotated(self.run(FillModel.EXPECTED, on_share))
        headline = self._with_significance(self._measured(outcome))
        band = self._band(headline, on_progress)
        return EvaluationResults(headline, band, self._yardsticks(on_progress))

    def annotated(self, outcome: RunOutcome) -> RunOutcome:
        """The outcome with all that the strategy stated, after the run with expected fills.

        Raises BadAnnotation.
        """
        annotations = outcome.annotations
        if self._statements:
            annotations = replace(
                self._with_probabilities(outcome).annotations,
                reasons=self._statements.reasons(outcome),
                series=self._statements.series(outcome),
            )
        if len(orders_of(outcome)):
            annotations = replace(annotations, conditions=())
        elif self.signal and self.stated:
            counts = self.signal.counted_conditions(self.stated.universe).counts
            annotations = replace(annotations, conditions=tuple(counts.values()))
        drawn, notes = annotations.series
        series = KeptSeries(beside_book(drawn, self.universe.quotes), notes)
        self._asked = fingerprints.fingerprint_of_asked(self.universe)
        return replace(outcome, annotations=replace(annotations, series=series))

    def data_fingerprint(self) -> dict[str, str]:
        """The fingerprint of the universe, and of what the annotated run had asked for."""
        return fingerprints.data_fingerprint(self.universe) | self._asked

    @cached_property
    def _statements(self) -> SignalStatements | None:
        return SignalStatements(self.signal, self.stated) if self.signal and self.stated else None

    def _with_probabilities(self, outcome: RunOutcome) -> RunOutcome:
        """The outcome with the probabilities of a signal; a `Strategy` has stated its own."""
        if self._statements is None:
            return outcome
        stated = self._statements.stated_probabilities(outcome)
        return replace(outcome, annotations=replace(outcome.annotations, probabilities=stated))

    def run(self, fills: FillModel, on_share: Callable[[float], None]) -> RunOutcome:
        """Run the strategy once; `on_share` hears the share that is done."""
        on_share(0)
        if self.in_kernel and self.stated:
            return self._run_in_kernel(self.stated, fills)
        rows = len(self.universe.quotes)
        return cerebro.run(
            self.universe,
            self.signal or cast(Any, self.strategy),
            self.execution,
            fills,
            cash=self.cash,
            parameters=self.params,
            on_progress=lambda row: on_share(row / rows),
        ).outcome

    @cached_property
    def signal(self) -> Signal | None:
        return self.strategy(**self.params) if issubclass(self.strategy, Signal) else None

    @cached_property
    def stated(self) -> StatedTargets | None:
        """The targets of a signal, which are the same under every fill model."""
        return self.signal.stated(self.universe) if self.signal else None

    @cached_property
    def _kernel_markets(self) -> kernel.KernelMarkets:
        return kernel.KernelMarkets.of(self.universe, self.execution, stop=self.stop)

    def _run_in_kernel(self, stated: StatedTargets, fills: FillModel) -> RunOutcome:
        return self._kernel_markets.run_stated(stated, fills, cash=self.cash)

    def _with_significance(self, run: MeasuredRun) -> MeasuredRun:
        significance = significance_of(self.universe, run.outcome)
        return run._replace(figures=replace(run.figures, significance=significance))

    def _band(self, headline: MeasuredRun, on_progress: OnProgress) -> dict[FillModel, Figures]:
        band = dict.fromkeys(FillModel, headline.figures)
        if not headline.outcome.has_band:
            return band
        middle = (HEADLINE + BAND) / 2
        for fills, begun, ended in (
            (FillModel.FEWEST, HEADLINE, middle),
            (FillModel.MOST, middle, BAND),
        ):
            doing = f"running it with {fills.word} fills"
            on_share = part_of_progress(on_progress, doing, begun=begun, ended=ended)
            outcome = self._with_probabilities(self.run(fills, on_share))
            band[fills] = self._measured(outcome).figures
        return band

    def _yardsticks(self, on_progress: OnProgress) -> dict[str, Figures]:
        measured = {}
        for n, name in enumerate(YARDSTICKS):
            on_progress(BAND + (ALL - BAND) * n / len(YARDSTICKS), f"running {name}")
            yardstick = cast(type[Signal], STRATEGIES[name])
            shared = yardstick.schema.keys() & self.params.keys() & {"contracts"}
            signal = yardstick(**{key: self.params[key] for key in shared})
            stated = signal.stated(self.universe)
            measured[name] = self._measured(self._run_in_kernel(stated, FillModel.EXPECTED)).figures
        return measured

    def _measured(self, outcome: RunOutcome) -> MeasuredRun:
        path = metrics.trace(self.universe, outcome, cash=self.cash, start=self.start, end=self.end)
        figures = replace(
            metrics.measure(self.universe, outcome, path),
            waits=metrics.waits(self.universe, outcome, latency=self.execution.latency),
            coverage=metrics.coverage(
                self.universe, outcome, path, end=self.end, latency=self.execution.latency
            ),
        )
        return MeasuredRun(outcome, figures, path)


def assumptions(universe: Universe, outcome: RunOutcome, execution: ExecutionModel) -> Assumptions:
    """The assumptions behind the markets that a run traded."""
    traded = np.unique(outcome.journal[:, JOURNAL_COLUMN["market"]]).tolist()
    settlements = [universe.settlements[market] for market in traded]
    return Assumptions(
        unfilled=share_of_unknown_sizes(universe) if execution.assumed_size is None else 0.0,
        size=execution.assumed_size,
        queue=execution.assumed_queue,
        times=any(settlement.assumed for settlement in settlements if settlement),
        fees=any(terms.assumed for market in traded for terms in universe.terms[market]),
    )


def share_of_unknown_sizes(universe: Universe) -> float:
    """The share of quoted sides whose size is unknown."""
    quotes = universe.quotes
    quoted = unknown = 0
    for price, size in ((quotes.bid, quotes.bid_size), (quotes.ask, quotes.ask_size)):
        there = price != MISSING
        quoted += int(there.sum())
        unknown += int((there & (size == MISSING)).sum())
    return unknown / quoted if quoted else 0.0
