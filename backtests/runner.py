"""Runs a backtest: claim -> load -> run -> measure -> store."""

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
from backtests.analysis.evaluation import Results, Tell, Trial, part
from backtests.choosing import BadInput, Selection
from backtests.data.universe import MONEY, Universe, microseconds
from backtests.models import BacktestResult, Engine
from backtests.querysets import COLUMNS, Heard
from backtests.rules import journal
from backtests.rules.execution import Execution, Fills, Outcome
from backtests.rules.journal import Line
from backtests.strategies import UnknownStrategy, parameters
from markets import fees

BEAT = 0.5  # seconds between two signs of life
LOADED = 0.35  # the share of a run's progress that loading is
RAN = 0.7  # its share before a check, where there is one
LONGEST_ERROR = 1_000
# Rows that a strategy is checked on for looking ahead: some ten seconds' worth.
MOST_CHECKED, MOST_CHECKED_STEP_BY_STEP = 500_000, 20_000
# Raised with words for people.
SAID = (BadInput, UnknownStrategy, parameters.BadParameter)

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The run is to end, and nothing of it is to be stored."""


class OutOfTime(Exception):
    """The run has taken longer than it may."""


class Watch:
    """Says that a run is alive, and ends it when it is to end."""

    def __init__(self, held: BacktestResult, also: Tell) -> None:
        self.held = held
        self.also = also
        self.deadline = time.monotonic() + settings.BACKTEST_SECONDS
        self.due = float("-inf")

    def tell(self, progress: float, doing: str) -> None:
        """Raises Stopped and OutOfTime."""
        now = time.monotonic()
        if now > self.deadline:
            raise OutOfTime(
                f"It took longer than {settings.BACKTEST_SECONDS:,} seconds. Choose fewer markets"
                " or a shorter time, or raise BACKTEST_SECONDS."
            )
        self.also(progress, doing)
        if now < self.due:
            return
        self.due = now + BEAT
        heard = BacktestResult.objects.heartbeat(
            self.held, progress=progress, doing=doing, now=datetime.now(UTC)
        )
        if heard is not Heard.GO_ON:
            raise Stopped


def quietly(progress: float, doing: str) -> None:
    """Tell nobody."""


def run(id: int, *, tell: Tell = quietly) -> None:
    """Run what is queued under an id, unless somebody else has taken it.

    Its row says what came of it, whatever that is.
    """
    held = BacktestResult.objects.claim(id, now=datetime.now(UTC))
    if held is None:
        return
    try:
        found = compute(held, tell=Watch(held, tell).tell)
        now = datetime.now(UTC)
        if not BacktestResult.objects.finish(held, found.columns, found.lines(), now=now):
            BacktestResult.objects.cancelled(held, now=now)
    except (Stopped, KeyboardInterrupt) as end:
        BacktestResult.objects.cancelled(held, now=datetime.now(UTC))
        if isinstance(end, KeyboardInterrupt):
            raise
    except Exception as error:
        if not isinstance(error, (*SAID, OutOfTime)):
            log.exception("backtest_failed", backtest=held.pk, strategy=held.strategy)
        BacktestResult.objects.fail(held, reason(error, held.strategy), now=datetime.now(UTC))


def reason(error: Exception, strategy: str) -> str:
    """What people may know: of what a strategy raised all, of what broke here its kind."""
    kind = strategies.STRATEGIES.get(strategy)
    own = inspect.getsourcefile(kind) if kind else None
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename == own]
    name, told = type(error).__name__, str(error)
    if inside and not isinstance(error, SAID):
        where = f"{Path(inside[-1].filename).name}, line {inside[-1].lineno}"
        told = f"The strategy raised {name}: {error} ({where})"
    elif not isinstance(error, (*SAID, OutOfTime, ValueError)):
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}"
        told = f"Something broke: {name} ({where}). The log tells more."
    return (told or name)[:LONGEST_ERROR]


# --- what is computed ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a run: the columns to be stored, and what its journal is read from."""

    universe: Universe
    outcome: Outcome
    cash: int
    columns: Mapping[str, Any]

    def lines(self) -> Iterator[Line]:
        return journal.lines(self.universe, self.outcome, cash=self.cash)


def compute(asked: BacktestResult, *, tell: Tell = quietly) -> Found:
    """Run what a row asks for; stores nothing. Raises BadInput, and what the strategy raises."""
    trial = prepare(asked, tell=tell)
    ran = RAN if asked.check_lookahead else 1
    results = trial.results(lambda share, doing: tell(LOADED + (ran - LOADED) * share, doing))
    columns = _columns(asked, trial, results)
    if asked.check_lookahead:
        checking = part(tell, "checking for looking ahead", begun=ran, ended=1)
        columns["lookahead"] = _checked(trial, checking)
    return Found(trial.universe, results.headline.outcome, trial.cash, columns)


def _checked(trial: Trial, done: Callable[[float], None]) -> dict[str, str]:
    """Whether the strategy's decisions rest on the future, on a part of the markets if many."""
    most = MOST_CHECKED if trial.signal else MOST_CHECKED_STEP_BY_STEP
    shown = trial.universe.first_within(most)
    report = lookahead.check(trial.kind, shown, parameters=trial.params, done=done)
    words = " ".join(report.sentences())
    if len(shown.listings) < len(trial.universe.listings):
        words = f"{words} Checked on {len(shown.listings):,} of the markets."
    return {"verdict": str(report.verdict), "words": words}


def prepare(asked: BacktestResult, *, tell: Tell = quietly) -> Trial:
    kind = strategies.find(asked.strategy)
    selection = Selection(
        start=asked.start,
        end=asked.end,
        series=asked.series,
        events=asked.events,
        tickers=asked.tickers,
        sources=asked.sources,
    )
    tell(0, "reading quotes")
    reading = part(tell, "reading quotes", begun=0, ended=LOADED)
    universe = loading.load(selection, known_by=asked.created_at, tell=reading)
    return Trial(
        universe=universe,
        kind=kind,
        params=parameters.read(kind.schema, asked.params),
        execution=Execution(**asked.execution),
        cash=int(asked.cash * MONEY),
        start=microseconds(asked.start),
        end=microseconds(asked.end),
        in_kernel=asked.engine == Engine.KERNEL,
    )


def _columns(asked: BacktestResult, trial: Trial, results: Results) -> dict[str, Any]:
    headline, universe = results.headline, trial.universe
    pnls = [measured.pnl for measured in results.band.values()]
    assumed = evaluation.assumed(universe, headline.outcome, trial.execution)
    return {
        "strategy_version": trial.kind.version,
        "fees": fee_regime(asked.start, asked.end, broker=trial.execution.through_broker),
        "code_fingerprint": fingerprints.of_code(trial.kind),
        "data_fingerprint": fingerprints.of_data(universe),
        "snapshots": len(universe.quotes),
        "markets": len(universe.listings),
        "final_cash": Decimal(headline.outcome.cash) / MONEY,
        "figures": headline.figures.as_json(),
        "band": {each.name.lower(): m.figures.as_json() for each, m in results.band.items()},
        "yardsticks": {name: m.figures.as_json() for name, m in results.yardsticks.items()},
        "curve": headline.path.curve().as_json(),
        "verdict": metrics.verdict(
            headline.figures,
            low=min(pnls),
            high=max(pnls),
            yardsticks={name: m.pnl for name, m in results.yardsticks.items()},
            assumed=assumed,
        ),
        "assumptions": [*assumed.sentences(), *_notes(trial)],
    }


def _notes(trial: Trial) -> Iterator[str]:
    """What else is to be known before a result is believed."""
    unknown = evaluation.unknown_sizes(trial.universe)
    if unknown and trial.execution.assumed_size is None:
        yield f"Of {unknown:.0%} of the prices no size is known; they filled nothing."
    unsettled = sum(settlement is None for settlement in trial.universe.settlements)
    if unsettled:
        yield f"{unsettled:,} of {len(trial.universe.listings):,} markets have no result on record."
    if settings.SIMULATED:
        yield "Recorded from the simulated exchange."


def fee_regime(start: datetime, end: datetime, *, broker: bool) -> dict[str, Any]:
    """How the fees of fills in a window are rounded, in millionths of a dollar."""
    first = fees.rounding(start, broker=broker)
    later = [era for era in fees.roundings(broker=broker) if start < era.since < end]
    return {
        "account": "through a broker" if broker else "direct",
        "roundings": [
            {"since": max(era.since, start).isoformat()} | dict(zip(UNITS, era[1:], strict=True))
            for era in (first, *later)
        ],
    }


UNITS = ("step", "grid", "rebate")


# --- the same again ------------------------------------------------------------------------------


class Reproduction(NamedTuple):
    """What a run that is done comes to now. `difference` tells of the first line that is not the
    same, `changed` names what the run rests on that is not what it was."""

    identical: bool
    changed: list[str]
    difference: str


def reproduce(done: BacktestResult, *, tell: Tell = quietly) -> Reproduction:
    """Run a finished backtest once more and compare every line with what is on record."""
    trial = prepare(done, tell=tell)
    running = part(tell, "running the strategy", begun=LOADED, ended=1)
    outcome = trial.outcome(Fills.EXPECTED, running)
    changed = [
        *fingerprints.changes(done.code_fingerprint, fingerprints.of_code(trial.kind)),
        *fingerprints.changes(done.data_fingerprint, fingerprints.of_data(trial.universe)),
    ]
    recorded = done.executions.order_by("number").values_list(*COLUMNS).iterator()
    now = journal.lines(trial.universe, outcome, cash=trial.cash)
    for was, line in zip_longest(recorded, now):
        if was != line:
            return Reproduction(False, changed, _difference(was, line))
    same_cash = done.final_cash == Decimal(outcome.cash) / MONEY
    return Reproduction(same_cash, changed, "")


def _difference(was: tuple[Any, ...] | None, line: Line | None) -> str:
    told = Line(*was) if was else line
    if told is None:
        return ""
    where = f"line {told.number}, {told.at:%Y-%m-%d %H:%M:%S} {told.kind} {told.ticker}: "
    if was is None or line is None:
        return where + ("not there before" if was is None else "not there now")
    unequal = [
        f"{name} was {before}, is {now}"
        for name, before, now in zip(COLUMNS, was, line, strict=True)
        if before != now
    ]
    return where + "; ".join(unequal)
