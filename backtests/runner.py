"""The runner: claim a backtest, load its universe, run it, measure it, store the result."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections

from backtests import catalogue, loading, metrics
from backtests.analysis import evaluation, fingerprints, lookahead
from backtests.analysis.evaluation import (
    Evaluation,
    EvaluationResults,
    OnProgress,
    part_of_progress,
)
from backtests.analysis.no_orders import explain_no_orders
from backtests.analysis.signal_annotations import orders_of
from backtests.annotations.series import DrawnSeries
from backtests.data.origins import QUOTES
from backtests.data.universe import MONEY, Ints, Universe, microseconds
from backtests.models import ENTRY_COLUMNS, BacktestResult, Engine, TrialRow
from backtests.own import imports
from backtests.own.machine_paths import words_of
from backtests.requests import REMOVED, stored_execution, stored_selection
from backtests.rules import journal
from backtests.rules.execution import FillModel, RunOutcome
from backtests.rules.journal import JournalEntry
from backtests.signs_of_life import TOLD_TO_END, EndedBy, RunSignals, SignsOfLife, out_of_time
from backtests.strategies import UnknownStrategy, parameters
from kalshi_insights.bad_input import BadInput, writable
from markets import fees

LOADED = 0.35  # the progress of a run when its universe is loaded
EVALUATED = 0.7  # its progress before the look-ahead check, where there is one
# A strategy's error is cut, so that there is room for its place.
LONGEST_WORDS = 800
# A database that is away while a run is stored is tried again for so long.
STORE_SECONDS, STORE_AGAIN_SECONDS = 120.0, 0.5
# For so long once the process is told to end, since it is killed soon.
STORE_AT_END_SECONDS = 10.0
# The classes of SQLSTATE that say that a session is over: no connection, and a server that ends.
SESSION_GONE = ("08", "57P")
# A look-ahead check reads at most so many rows, which takes about ten seconds.
MAX_CHECKED, MAX_CHECKED_STEP_BY_STEP = 500_000, 20_000
# The message of these errors is meant for users.
USER_ERRORS = (BadInput, UnknownStrategy, parameters.BadParameter)

T = TypeVar("T")

log = structlog.get_logger(__name__)


def ignore_progress(progress: float, doing: str) -> None:
    """The callback of a caller who does not need the progress."""


def ignore_claimed(held: BacktestResult) -> None:
    """The callback of a caller who need not know when a run begins."""


def ignore_computed(computed: "ComputedRun") -> None:
    """The callback of a caller who needs no more of a run than is stored."""


def run(
    id: int,
    *,
    on_claimed: Callable[[BacktestResult], None] = ignore_claimed,
    on_progress: OnProgress = ignore_progress,
    on_computed: "OnComputed" = ignore_computed,
) -> None:
    """Run the queued backtest of this id, unless another worker has it; store what comes of it.

    Whatever ends it, its row says so. Raises KeyboardInterrupt and SystemExit where the process
    was told to end meanwhile.
    """
    with RunSignals() as signals:
        if signals.ended_by is not None:
            return  # the next worker has it
        held = BacktestResult.objects.claim(id, now=datetime.now(UTC))
        if held is not None:
            on_claimed(held)
            _run_claimed(held, SignsOfLife(held, signals, on_progress), on_computed)


def _run_claimed(held: BacktestResult, signs: SignsOfLife, on_computed: "OnComputed") -> None:
    is_callers_transaction = connection.in_atomic_block
    try:
        on_computed(_compute_and_store(held, signs))
    except BaseException as error:  # noqa: BLE001 (it is recorded)
        words = _words_of_end(error, held.strategy, signs.cut_off_by)
        is_expected = signs.cut_off_by is not None or isinstance(error, USER_ERRORS)
        trace = "" if is_expected else traceback.format_exc()
    else:
        return
    # The error is gone by now, with all that its frames held: memory may be short.
    if not is_callers_transaction:
        renew_connection()
    try:
        _store(lambda: _store_end(held, words), signs.signals)
    finally:
        if trace:
            log.error("backtest_failed", backtest=held.pk, strategy=held.strategy, exception=trace)


def _compute_and_store(held: BacktestResult, signs: SignsOfLife) -> "ComputedRun":
    runs = BacktestResult.objects
    with signs, signs.signals.interrupting():
        computed = compute(held, on_progress=signs.report, stop=signs.stop)
    columns, entries, drawn = computed.columns, computed.entries, list(computed.drawn())
    is_stored = _store(
        lambda: runs.finish(held, columns, entries(), drawn, [computed.trial]), signs.signals
    )
    if not is_stored:
        _store(lambda: runs.mark_cancelled(held, now=datetime.now(UTC)), signs.signals)
    return computed


def _store_end(held: BacktestResult, words: str | None) -> None:
    """Store that a run has failed, with words for the user, or without any that it is cancelled."""
    now = datetime.now(UTC)
    if words is None:
        BacktestResult.objects.mark_cancelled(held, now=now)
    else:
        BacktestResult.objects.fail(held, words, now=now)


def _store(store: Callable[[], T], signals: RunSignals) -> T:
    """Store the end of a run, and try again for a while where the database is away."""
    until = time.monotonic() + STORE_SECONDS
    while True:
        try:
            return store()
        except (OperationalError, InterfaceError) as error:
            if signals.ended_by:
                until = min(until, time.monotonic() + STORE_AT_END_SECONDS)
            # In a transaction of the caller all else is lost as well.
            is_lost = connection.in_atomic_block or not _is_session_gone(error)
            if is_lost or time.monotonic() > until:
                raise
            log.warning("backtest_not_stored_yet", error=str(error))
            connection.close()
            time.sleep(STORE_AGAIN_SECONDS)


def _is_session_gone(error: Exception) -> bool:
    """Return whether there is no session, rather than a statement that failed in one."""
    session = connection.connection
    if session is None or session.closed:
        return True
    return str(getattr(error.__cause__, "sqlstate", "")).startswith(SESSION_GONE)


def renew_connection() -> None:
    """Begin a new session: an interruption may have left the old one in the middle of anything."""
    connection.close()
    del connections[connection.alias]


# --- the words of an end -------------------------------------------------------------------------


def _words_of_end(error: BaseException, strategy: str, cut_off_by: EndedBy | None) -> str | None:
    """Put the reason for a failure into words for the user; None where the run is cancelled."""
    match cut_off_by:
        case EndedBy.DEADLINE:
            return out_of_time()
        case EndedBy.TERMINATION:
            return TOLD_TO_END
        case EndedBy.CANCELLATION | EndedBy.KEYBOARD:
            return None
    return error_for_user(error, strategy)


def error_for_user(error: BaseException, strategy: str) -> str:
    """Put an error into words: all of it where the strategy raised it, else no internal details."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if catalogue.is_of_strategy(strategy, frame.filename)]
    name, words = type(error).__name__, words_of(error)
    if inside and not isinstance(error, USER_ERRORS):
        raised = f"{name}: {words[:LONGEST_WORDS]}" if words else name
        return f"The strategy raised {raised} ({_place(inside[-1])})"
    if isinstance(error, (*USER_ERRORS, ValueError)):
        return words or name
    if isinstance(error, MemoryError):
        return "It needed more memory than there is. Choose fewer markets or a shorter time."
    return f"Internal error: {name} ({_place(frames[-1])}). See the log for details."


def _place(frame: traceback.FrameSummary) -> str:
    return f"{Path(frame.filename).name}, line {frame.lineno}"


# --- computing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ComputedRun:
    """The columns of a run to be stored, the sources of its journal, and its trial."""

    universe: Universe
    outcome: RunOutcome
    cash: int
    latency: int
    columns: Mapping[str, Any]
    trial: TrialRow

    def entries(self) -> Iterator[JournalEntry]:
        return journal.entries(self.universe, self.outcome, cash=self.cash, latency=self.latency)

    def drawn(self) -> Iterator[tuple[str, DrawnSeries]]:
        """The series of the charts, each with the ticker of its market."""
        for series in self.outcome.annotations.series.series:
            yield self.universe.listings[series.market].ticker, series


OnComputed = Callable[[ComputedRun], None]


def compute(
    requested: BacktestResult,
    *,
    on_progress: OnProgress = ignore_progress,
    stop: Ints | None = None,
) -> ComputedRun:
    """Run a backtest and store nothing. Raises BadInput, and whatever the strategy raises.

    Another thread may set the flag `stop`, which ends runs of the kernel by Interrupted.
    """
    prepared = prepare(requested, on_progress=on_progress)
    if stop is not None:
        prepared.stop = stop
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
    stored_selection(requested).check_imports()  # one may have been undone meanwhile
    latency, outcome = prepared.execution.latency, results.headline.outcome
    daily = results.headline.path.daily().equity
    trial = TrialRow.of_equity(prepared.strategy.name, prepared.params, daily, columns)
    return ComputedRun(prepared.universe, outcome, prepared.cash, latency, columns, trial)


def _check_lookahead(prepared: Evaluation, on_share: Callable[[float], None]) -> dict[str, str]:
    """Check the strategy for look-ahead bias, on the first of the markets if there are many."""
    most = MAX_CHECKED if prepared.signal else MAX_CHECKED_STEP_BY_STEP
    checked = prepared.universe.first_markets_within(most)
    report = lookahead.check(
        prepared.strategy,
        checked,
        parameters=prepared.params,
        execution=prepared.execution,
        on_share=on_share,
    )
    words = " ".join(report.sentences())
    if len(checked.listings) < len(prepared.universe.listings):
        words = f"{words} Checked on {len(checked.listings):,} of the markets."
    return {"verdict": str(report.verdict), "words": writable(words)}


def prepare(requested: BacktestResult, *, on_progress: OnProgress = ignore_progress) -> Evaluation:
    strategy = catalogue.load(requested.strategy)
    selection = stored_selection(requested)
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
        "strategy_version": writable(prepared.strategy.version),
        "fees": fee_regime(requested.start, requested.end, broker=broker),
        "code_fingerprint": fingerprints.code_fingerprint(prepared.strategy),
        "strategy_files": imports.texts_of(prepared.strategy),
        "data_fingerprint": prepared.data_fingerprint(),
        "snapshots": universe.origins.total(QUOTES),
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
        "assumptions": [
            # What stood in the way comes before what came of it.
            *assumptions.sentences(),
            *annotation_notes(prepared, headline.outcome),
            *headline.outcome.notes,
            *_notes(prepared, headline.figures.waits),
        ],
        "analyses": dict(headline.outcome.annotations.analyses),
        "conditions": [asdict(each) for each in headline.outcome.annotations.conditions],
    }


def _notes(prepared: Evaluation, waits: metrics.Waits) -> Iterator[str]:
    """Further facts that a reader has to know before believing the result."""
    distance, latency = waits.between_observations, prepared.execution.latency_seconds
    if distance is not None and latency < distance:
        yield (
            f"Orders arrive after {latency:g} s, but the traded markets were observed every"
            f" {distance:,.1f} s (median): the record cannot tell what happened sooner."
        )
    yield from prepared.universe.origins.sentences()
    unsettled = sum(settlement is None for settlement in prepared.universe.settlements)
    if unsettled:
        markets = len(prepared.universe.listings)
        yield f"{unsettled:,} of {markets:,} markets have no result on record."
    if settings.SIMULATED:
        yield "Recorded from the simulated exchange."


def annotation_notes(prepared: Evaluation, outcome: RunOutcome) -> Iterator[str]:
    """Facts about what the strategy stated, and why it sent no order."""
    if not len(orders_of(outcome)):
        yield explain_no_orders(prepared.universe, prepared.execution)
    yield from outcome.annotations.series.notes
    if prepared.strategy.analyzers and prepared.in_kernel:
        yield "Its analyzers did not run: they need the engine backtrader."


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
    outcome = prepared.annotated(prepared.run(FillModel.EXPECTED, on_share))
    code = fingerprints.code_fingerprint(prepared.strategy)
    data = prepared.data_fingerprint()
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
