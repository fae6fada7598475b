"""The runner: claim a backtest, load its universe, run it, measure it, store the result."""

import inspect
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from django.conf import settings

from backtests import loading, metrics, strategies
from backtests.analysis import evaluation, fingerprints, lookahead
from backtests.analysis.evaluation import (
    Evaluation,
    EvaluationResults,
    OnProgress,
    part_of_progress,
)
from backtests.data.universe import MONEY, Universe, microseconds
from backtests.models import ENTRY_COLUMNS, BacktestResult, Engine, HeartbeatReply
from backtests.requests import REMOVED, MarketSelection, stored_execution
from backtests.rules import journal
from backtests.rules.execution import FillModel, RunOutcome
from backtests.rules.journal import JournalEntry
from backtests.strategies import UnknownStrategy, parameters
from kalshi_insights.bad_input import BadInput
from markets import fees

HEARTBEAT_SECONDS = 0.5
LOADED = 0.35  # the progress of a run when its universe is loaded
EVALUATED = 0.7  # its progress before the look-ahead check, where there is one
LONGEST_ERROR = 1_000
# A look-ahead check reads at most so many rows, which takes about ten seconds.
MAX_CHECKED, MAX_CHECKED_STEP_BY_STEP = 500_000, 20_000
# The message of these errors is meant for users.
USER_ERRORS = (BadInput, UnknownStrategy, parameters.BadParameter)

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The run was cancelled or taken over; nothing of it is stored."""


class OutOfTime(Exception):
    """The run took longer than `BACKTEST_SECONDS`."""


class SignsOfLife:
    """Sends heartbeats for a run, and stops it when it is cancelled, taken over or too slow."""

    def __init__(self, held: BacktestResult, on_progress: OnProgress) -> None:
        self.held = held
        self.on_progress = on_progress
        self.deadline = time.monotonic() + settings.BACKTEST_SECONDS
        self.due = float("-inf")

    def report(self, progress: float, doing: str) -> None:
        """Raises Stopped and OutOfTime."""
        now = time.monotonic()
        if now > self.deadline:
            raise OutOfTime(
                f"It took longer than {settings.BACKTEST_SECONDS:,} seconds. Choose fewer markets"
                " or a shorter time, or raise BACKTEST_SECONDS."
            )
        self.on_progress(progress, doing)
        if now < self.due:
            return
        self.due = now + HEARTBEAT_SECONDS
        reply = BacktestResult.objects.heartbeat(
            self.held, progress=progress, doing=doing, now=datetime.now(UTC)
        )
        if reply is not HeartbeatReply.GO_ON:
            raise Stopped


def ignore_progress(progress: float, doing: str) -> None:
    """The callback of a caller who does not need the progress."""


def run(id: int, *, on_progress: OnProgress = ignore_progress) -> None:
    """Run the queued backtest of this id, unless another worker has it; store what comes of it."""
    held = BacktestResult.objects.claim(id, now=datetime.now(UTC))
    if held is None:
        return
    try:
        computed = compute(held, on_progress=SignsOfLife(held, on_progress).report)
        if not BacktestResult.objects.finish(held, computed.columns, computed.entries()):
            BacktestResult.objects.mark_cancelled(held, now=datetime.now(UTC))
    except (Stopped, KeyboardInterrupt) as end:
        BacktestResult.objects.mark_cancelled(held, now=datetime.now(UTC))
        if isinstance(end, KeyboardInterrupt):
            raise
    except Exception as error:
        if not isinstance(error, (*USER_ERRORS, OutOfTime)):
            log.exception("backtest_failed", backtest=held.pk, strategy=held.strategy)
        words = error_for_user(error, held.strategy)
        BacktestResult.objects.fail(held, words, now=datetime.now(UTC))


def error_for_user(error: Exception, strategy: str) -> str:
    """The error in words: in full where the strategy raised it, else without internal details."""
    found = strategies.STRATEGIES.get(strategy)
    source = inspect.getsourcefile(found) if found else None
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename == source]
    name, words = type(error).__name__, str(error)
    if inside and not isinstance(error, USER_ERRORS):
        where = f"{Path(inside[-1].filename).name}, line {inside[-1].lineno}"
        words = f"The strategy raised {name}: {error} ({where})"
    elif not isinstance(error, (*USER_ERRORS, OutOfTime, ValueError)):
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}"
        words = f"Internal error: {name} ({where}). See the log for details."
    return (words or name)[:LONGEST_ERROR]


# --- computing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ComputedRun:
    """The columns of a run to be stored, and the sources of its journal."""

    universe: Universe
    outcome: RunOutcome
    cash: int
    latency: int
    columns: Mapping[str, Any]

    def entries(self) -> Iterator[JournalEntry]:
        return journal.entries(self.universe, self.outcome, cash=self.cash, latency=self.latency)


def compute(requested: BacktestResult, *, on_progress: OnProgress = ignore_progress) -> ComputedRun:
    """Run a backtest and store nothing. Raises BadInput, and whatever the strategy raises."""
    prepared = prepare(requested, on_progress=on_progress)
    evaluated = EVALUATED if requested.check_lookahead else 1
    results = prepared.results(
        lambda share, doing: on_progress(LOADED + (evaluated - LOADED) * share, doing)
    )
    columns = _columns(requested, prepared, results)
    if requested.check_lookahead:
        on_share = part_of_progress(
            on_progress, "checking for look-ahead bias", begun=evaluated, ended=1
        )
        columns["lookahead"] = _check_lookahead(prepared, on_share)
    latency = prepared.execution.latency
    return ComputedRun(prepared.universe, results.headline.outcome, prepared.cash, latency, columns)


def _check_lookahead(prepared: Evaluation, on_share: Callable[[float], None]) -> dict[str, str]:
    """Check the strategy for look-ahead bias, on the first of the markets if there are many."""
    most = MAX_CHECKED if prepared.signal else MAX_CHECKED_STEP_BY_STEP
    checked = prepared.universe.first_markets_within(most)
    report = lookahead.check(
        prepared.strategy, checked, parameters=prepared.params, on_share=on_share
    )
    words = " ".join(report.sentences())
    if len(checked.listings) < len(prepared.universe.listings):
        words = f"{words} Checked on {len(checked.listings):,} of the markets."
    return {"verdict": str(report.verdict), "words": words}


def prepare(requested: BacktestResult, *, on_progress: OnProgress = ignore_progress) -> Evaluation:
    strategy = strategies.find(requested.strategy)
    selection = MarketSelection(
        start=requested.start,
        end=requested.end,
        series=requested.series,
        events=requested.events,
        tickers=requested.tickers,
        sources=requested.sources,
        imports=requested.imports,
    )
    selection.check_imports()
    on_progress(0, "reading quotes")
    on_share = part_of_progress(on_progress, "reading quotes", begun=0, ended=LOADED)
    universe = loading.load(selection, known_by=requested.created_at, on_progress=on_share)
    return Evaluation(
        universe=universe,
        strategy=strategy,
        params=parameters.read(strategy.schema, requested.params),
        execution=stored_execution(requested.execution),
        cash=int(requested.cash * MONEY),
        start=microseconds(requested.start),
        end=microseconds(requested.end),
        in_kernel=requested.engine == Engine.KERNEL,
    )


def _columns(
    requested: BacktestResult, prepared: Evaluation, results: EvaluationResults
) -> dict[str, Any]:
    headline, universe = results.headline, prepared.universe
    pnls = [figures.money.pnl for figures in results.band.values()]
    assumptions = evaluation.assumptions(universe, headline.outcome, prepared.execution)
    broker = prepared.execution.through_broker
    return {
        "strategy_version": prepared.strategy.version,
        "fees": fee_regime(requested.start, requested.end, broker=broker),
        "code_fingerprint": fingerprints.code_fingerprint(prepared.strategy),
        "data_fingerprint": fingerprints.data_fingerprint(universe),
        "snapshots": len(universe.quotes),
        "markets": len(universe.listings),
        "final_cash": Decimal(headline.outcome.cash) / MONEY,
        "figures": headline.figures.as_json(),
        "band": {each.word: figures.as_json() for each, figures in results.band.items()},
        "yardsticks": {name: figures.as_json() for name, figures in results.yardsticks.items()},
        "curve": headline.path.curve().as_json(),
        "verdict": metrics.verdict(
            headline.figures,
            low=min(pnls),
            high=max(pnls),
            yardsticks={name: f.money.pnl for name, f in results.yardsticks.items()},
            assumptions=assumptions,
        ),
        "assumptions": [*assumptions.sentences(), *_notes(prepared, headline.figures.waits)],
    }


def _notes(prepared: Evaluation, waits: metrics.Waits) -> Iterator[str]:
    """Further facts that a reader has to know before believing the result."""
    distance, latency = waits.between_observations, prepared.execution.latency_seconds
    if distance is not None and latency < distance:
        yield (
            f"Orders arrive after {latency:g} s, but the traded markets were observed every"
            f" {distance:,.1f} s (median): the record cannot tell what happened sooner."
        )
    unknown = evaluation.share_of_unknown_sizes(prepared.universe)
    if unknown and prepared.execution.assumed_size is None:
        yield f"{unknown:.0%} of the quoted prices have no known size; they filled nothing."
    yield from origin_notes(prepared.universe.origins)
    unsettled = sum(settlement is None for settlement in prepared.universe.settlements)
    if unsettled:
        markets = len(prepared.universe.listings)
        yield f"{unsettled:,} of {markets:,} markets have no result on record."
    if settings.SIMULATED:
        yield "Recorded from the simulated exchange."


def origin_notes(origins: Mapping[str, int]) -> Iterator[str]:
    """Tell where the quotes came from, if not all were recorded or backfilled."""
    counts = [f"{count:,} {origin}" for origin, count in origins.items()]
    if "imported" in origins and len(counts) > 1:
        yield f"The quotes are of several origins: {', '.join(counts)}."
    elif "imported" in origins:
        yield "All quotes were imported."


def fee_regime(start: datetime, end: datetime, *, broker: bool) -> dict[str, Any]:
    """The rounding of fees for fills in a window, in millionths of a dollar."""
    first = fees.rounding(start, broker=broker)
    later = [era for era in fees.roundings(broker=broker) if start < era.since < end]
    units = ("step", "grid", "rebate")
    return {
        "account": "through a broker" if broker else "direct",
        "roundings": [
            {"since": max(era.since, start).isoformat()} | dict(zip(units, era[1:], strict=True))
            for era in (first, *later)
        ],
    }


# --- reproducing ---------------------------------------------------------------------------------


class Reproduction(NamedTuple):
    """A finished run compared with a new one.

    `difference` describes the first entry that differs; `changed` names what has changed of the
    code and the data behind the run.
    """

    identical: bool
    changed: list[str]
    difference: str

    @property
    def rules_changed(self) -> bool:
        return "rules" in self.changed or any(
            each.startswith(tuple(REMOVED)) for each in self.changed
        )


def reproduce(done: BacktestResult, *, on_progress: OnProgress = ignore_progress) -> Reproduction:
    """Run a finished backtest once more and compare every journal entry with the stored one."""
    prepared = prepare(done, on_progress=on_progress)
    on_share = part_of_progress(on_progress, "running the strategy", begun=LOADED, ended=1)
    outcome = prepared.run(FillModel.EXPECTED, on_share)
    code = fingerprints.code_fingerprint(prepared.strategy)
    data = fingerprints.data_fingerprint(prepared.universe)
    changed = [
        *(f"{n}={done.execution[n]}: {REMOVED[n]}" for n in REMOVED if n in done.execution),
        *fingerprints.differences(done.code_fingerprint, code),
        *fingerprints.differences(done.data_fingerprint, data),
    ]
    stored = done.executions.order_by("number").values_list(*ENTRY_COLUMNS).iterator()
    now = journal.entries(
        prepared.universe, outcome, cash=prepared.cash, latency=prepared.execution.latency
    )
    for was, entry in zip_longest(stored, now):
        if was != entry:
            return Reproduction(False, changed, _difference(was, entry))
    same_cash = done.final_cash == Decimal(outcome.cash) / MONEY
    return Reproduction(same_cash, changed, "")


def _difference(was: tuple[Any, ...] | None, entry: JournalEntry | None) -> str:
    named = JournalEntry(*was) if was else entry
    if named is None:
        return ""
    where = f"entry {named.number}, {named.at:%Y-%m-%d %H:%M:%S} {named.kind} {named.ticker}: "
    if was is None or entry is None:
        return where + ("not there before" if was is None else "not there now")
    unequal = [
        f"{name} was {before}, is {now}"
        for name, before, now in zip(ENTRY_COLUMNS, was, entry, strict=True)
        if before != now
    ]
    return where + "; ".join(unequal)
