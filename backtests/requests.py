"""Requests for backtests: their markets and window, their validation, and the queue of runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, Self

from django.contrib.auth.models import User
from django.db import transaction

from backtests import catalogue
from backtests.data.universe import MONEY
from backtests.models import BacktestResult, Engine, RequestedRun, SnapshotSources
from backtests.record import SnapshotReads, TickerReads, record
from backtests.rules.execution import AcrossGaps, ExecutionModel
from backtests.strategies import UnknownStrategy, parameters
from backtests.strategies.descriptions import StrategyDescription
from kalshi_insights.bad_input import UNWRITABLE, BadInput
from kalshi_insights.processes.broker import sender
from markets.models import Source

MAX_SNAPSHOTS = 20_000_000  # loading that many takes about two gigabytes
MAX_NAMES_SHOWN = 5
MAX_CASH = Decimal(1_000_000_000)
MAX_CONTRACTS = 1_000_000
# The smallest and the largest value of each number of an `ExecutionModel`.
LIMITS: Mapping[str, tuple[float, float]] = {
    "latency_seconds": (0, 86_400),
    "patience_seconds": (0, 31_536_000),
    "assumed_size": (1, MAX_CONTRACTS),
    "assumed_queue": (0, MAX_CONTRACTS),
    "clock_tolerance": (0, 3_600),
    "position_limit": (1, MAX_CONTRACTS),
}
OPTIONAL = ("assumed_size", "assumed_queue", "position_limit")
# The words that a field of an `ExecutionModel` can have.
CHOICES: Mapping[str, Sequence[str]] = {"across_gaps": [str(each) for each in AcrossGaps]}
# What came instead of fields that there no longer are; results keep those that they ran with.
REMOVED = {
    "latency_snapshots": "It is gone: orders meet the first observation after `latency_seconds`."
}
# With these sources, a run reads the imports that it names.
WITH_IMPORTS = (SnapshotSources.BEST.value, SnapshotSources.IMPORTED.value)
# The sources of the rows of a run that does not read the best ones.
ROW_SOURCES: Mapping[str, Sequence[str]] = {
    SnapshotSources.RECORDED: (Source.POLL, Source.WEBSOCKET),
    SnapshotSources.BACKFILLED: (Source.BACKFILL,),
    SnapshotSources.IMPORTED: (Source.IMPORT,),
}
# `BadInput` names these fields as the command's options do; form and API have lists of names.
LIST_FIELDS = {"event": "events", "ticker": "tickers", "import": "imports"}

# The task goes by name: its module imports the engines, which a web process does not need.
RUN_TASK = "backtests.tasks.run_backtest"
MAX_UNFINISHED = 5


class TooManyUnfinished(Exception):
    """The user has to wait for other runs of theirs to finish."""

    def __init__(self) -> None:
        super().__init__(
            f"You already have {MAX_UNFINISHED} unfinished backtests. Wait for one to finish, or"
            " cancel one."
        )


# --- markets and window --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSelection:
    """All markets of the named series and events, and the named markets, from `start` on and
    before `end`, or with `ends_with_quotes` until just after their newest quote before it."""

    start: datetime
    end: datetime
    series: Sequence[str] = ()
    events: Sequence[str] = ()
    tickers: Sequence[str] = ()
    sources: str = SnapshotSources.BEST
    imports: Sequence[int] = ()
    ends_with_quotes: bool = False

    @classmethod
    def until(cls, end: datetime | None, *, now: datetime, **others: Any) -> Self:
        """Make a selection that ends before an instant; without one, it ends with its quotes."""
        return cls(end=end or now, ends_with_quotes=end is None, **others)

    @property
    def field(self) -> str:
        """The field that names the markets, for error messages."""
        return "series" if self.series else "event" if self.events else "ticker"

    def check(self, *, now: datetime) -> "MarketSelection":
        """Return this selection with its names as they are written on record, and with its end.

        Raises `BadInput` for what can be checked without reading quotes.
        """
        if self.sources not in SnapshotSources.values:
            raise BadInput("sources", f"Must be one of {', '.join(SnapshotSources.values)}.")
        self.check_imports()
        _check_window(self.start, self.end, now=now)
        if not (self.series or self.events or self.tickers):
            raise BadInput("ticker", "Name a series, an event or a market.")
        return self.as_written().with_end()

    def with_end(self) -> "MarketSelection":
        """Return this selection with the instant before which it ends.

        A run counts its days up to there, so days without a quote would make its returns smaller.
        """
        if not self.ends_with_quotes:
            return self
        sources = ROW_SOURCES.get(self.sources, ())
        newest = self._snapshots.newest_of(self.market_ids(), self.start, self.end, sources=sources)
        # Forms have whole seconds.
        end = newest.replace(microsecond=0) + timedelta(seconds=1) if newest else self.end
        return replace(self, end=end, ends_with_quotes=False)

    def check_imports(self) -> None:
        """Raise `BadInput` for an import that is not there, and where none would be read."""
        for id, why in record.imports.why_unusable(self.imports).items():
            raise BadInput("import", f"Import {id} {why}.")
        if self.sources == SnapshotSources.IMPORTED and not self.imports:
            raise BadInput("import", "Name the imports to read, or choose other sources.")
        if self.imports and self.sources not in WITH_IMPORTS:
            raise BadInput("sources", f"Imports are read with {' and '.join(WITH_IMPORTS)} alone.")

    def as_written(self) -> "MarketSelection":
        """Return this selection with its names as they are written on record.

        Names may be given in any case. Raises `BadInput` for one that is not on record.
        """
        return replace(
            self,
            series=_as_written("series", self.series, record.series),
            events=_as_written("event", self.events, record.events),
            tickers=_as_written("ticker", self.tickers, record.markets),
        )

    def market_ids(self) -> list[int]:
        """The ids of the selected markets. Raises `BadInput` where none is on record."""
        names = self.as_written()
        ids = record.markets.ids_of(series=names.series, events=names.events, tickers=names.tickers)
        if not ids:
            raise BadInput(self.field, "No market of it is on record.")
        return ids

    def check_quotes(self) -> None:
        """Raise `BadInput` where the window has no quotes; the run itself counts them."""
        ids = self.market_ids()
        if not self._snapshots.has_any(ids, self.start, self.end):
            raise self.no_quotes(ids)

    @property
    def _snapshots(self) -> SnapshotReads:
        return record.snapshots.readable(self.imports)

    def count_snapshots(self, ids: Sequence[int]) -> int:
        """The number of snapshots to load. Raises `BadInput` for none, and for too many."""
        count = self._snapshots.count_up_to(MAX_SNAPSHOTS + 1, ids, self.start, self.end)
        if count > MAX_SNAPSHOTS:
            raise BadInput(
                "end",
                f"More than {MAX_SNAPSHOTS:,} snapshots. Choose fewer markets or a shorter time.",
            )
        if not count:
            raise self.no_quotes(ids)
        return count

    def no_quotes(self, ids: Sequence[int]) -> BadInput:
        """The error that says where quotes of these markets are recorded instead."""
        sources = ROW_SOURCES.get(self.sources, ())
        before, after = self._snapshots.around(ids, self.start, self.end, sources=sources)
        if before is None and after is None:
            imports = record.imported_spans.imports_of(ids)
            named = f" Name an import of it: {', '.join(map(str, imports))}." if imports else ""
            return BadInput(self.field, f"No quotes are recorded for it.{named}")
        found = [f"the last quote before it is of {_minute(before)}"] if before else []
        found += [f"the first quote after it is of {_minute(after)}"] if after else []
        words = f"Nothing was observed in this window; {', '.join(found)}."
        return BadInput("start" if before else "end", words)


def _check_window(start: datetime, end: datetime, *, now: datetime) -> None:
    for name, instant in (("start", start), ("end", end)):
        if instant.tzinfo is None:
            raise BadInput(name, "Needs a time zone.")
    if start >= now:
        raise BadInput("start", f"{_minute(start)} is in the future.")
    if end > now:
        raise BadInput("end", f"{_minute(end)} is in the future.")
    if start >= end:
        raise BadInput("end", "Must be after the start.")


def _as_written(field: str, names: Sequence[str], nouns: TickerReads) -> list[str]:
    if any(map(UNWRITABLE.search, names)):
        raise BadInput(field, "A name contains a character that cannot be written.")
    written = nouns.as_written(names)
    unknown = [name for name in names if name not in written]
    if unknown:
        rest = len(unknown) - MAX_NAMES_SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        raise BadInput(field, f"Not on record: {', '.join(unknown[:MAX_NAMES_SHOWN])}{more}.")
    return list(dict.fromkeys(written[name] for name in names))


def _minute(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# --- the request ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestRequest:
    """One run to be made. Without an `engine`, strategies that can run in the kernel do."""

    strategy: str
    selection: MarketSelection
    params: Mapping[str, Any] = field(default_factory=dict)
    cash: Decimal = Decimal(10_000)
    engine: str = ""
    execution: ExecutionModel = field(default_factory=ExecutionModel)
    check_lookahead: bool = False

    def validated(self, *, now: datetime) -> dict[str, Any]:
        """The columns of a `BacktestResult`. Raises `BadInput`, naming the field."""
        strategy = find_strategy(self.strategy)
        try:
            params = parameters.read(strategy.schema, self.params)
        except parameters.BadParameter as fault:
            raise BadInput(f"params.{fault.name}", fault.message) from None
        _check_cash(self.cash)
        _check_execution(self.execution)
        engine = self._engine(strategy)
        selection = self.selection.check(now=now)
        return {
            "strategy": strategy.name,
            "strategy_version": strategy.version,
            "params": params,
            "series": list(selection.series),
            "events": list(selection.events),
            "tickers": list(selection.tickers),
            "sources": selection.sources,
            "imports": list(selection.imports),
            "start": selection.start,
            "end": selection.end,
            "cash": self.cash,
            "engine": engine,
            "execution": asdict(self.execution),
            "check_lookahead": self.check_lookahead,
        }

    def _engine(self, strategy: StrategyDescription) -> str:
        is_signal = strategy.is_signal
        engine = self.engine or (Engine.KERNEL if is_signal else Engine.BACKTRADER)
        if engine not in Engine.values:
            raise BadInput("engine", f"Must be one of {', '.join(Engine.values)}.")
        if not is_signal and engine == Engine.KERNEL:
            raise BadInput(
                "engine", f"{strategy.name} sends its own orders, so it needs backtrader."
            )
        if not is_signal and self.execution.make:
            raise BadInput("make", f"{strategy.name} decides itself which of its orders rest.")
        return str(engine)


def check_execution_names(names: Iterable[str]) -> None:
    """Raise `BadInput` for a field that no `ExecutionModel` has, saying what replaced it if
    anything did."""
    known = [field.name for field in fields(ExecutionModel)]
    for name in names:
        if name not in known:
            unknown = f"Unknown field. Known fields: {', '.join(known)}."
            raise BadInput(name, REMOVED.get(name, unknown))


def stored_execution(stored: Mapping[str, Any]) -> ExecutionModel:
    """The execution model of a stored run, without fields that there no longer are."""
    return ExecutionModel(**{name: each for name, each in stored.items() if name not in REMOVED})


def stored_selection(stored: RequestedRun) -> MarketSelection:
    """The markets and the window of a stored run or search."""
    return MarketSelection(
        start=stored.start,
        end=stored.end,
        series=stored.series,
        events=stored.events,
        tickers=stored.tickers,
        sources=stored.sources,
        imports=stored.imports,
    )


def find_strategy(name: str) -> StrategyDescription:
    """Describe a strategy by its name. Raises BadInput."""
    try:
        return catalogue.find(name)
    except UnknownStrategy as fault:
        raise BadInput("strategy", str(fault)) from None


def _check_cash(cash: Decimal) -> None:
    if not cash.is_finite() or not 0 < cash <= MAX_CASH:
        raise BadInput("cash", f"Must be above 0 and at most {MAX_CASH:,} dollars.")
    if cash * MONEY % 1:
        raise BadInput("cash", "Must not have more than six decimal places.")


def _check_execution(execution: ExecutionModel) -> None:
    for name, (least, most) in LIMITS.items():
        value = getattr(execution, name)
        if value is None and name in OPTIONAL:
            continue
        if not isfinite(value) or not least <= value <= most:
            raise BadInput(name, f"Must be between {least:,} and {most:,}.")
    for name, words in CHOICES.items():
        if getattr(execution, name) not in words:
            raise BadInput(name, f"Must be one of {', '.join(words)}.")


# --- the queue -----------------------------------------------------------------------------------


def submit(request: BacktestRequest, *, user: User, now: datetime) -> BacktestResult:
    """Queue a run and call a worker. Raises `BadInput` and `TooManyUnfinished`."""
    columns = request.validated(now=now)
    request.selection.check_quotes()
    with transaction.atomic():
        # One request of a user at a time, so that the count holds.
        User.objects.select_for_update().get(pk=user.pk)
        if BacktestResult.objects.of_user(user).unfinished().count() >= MAX_UNFINISHED:
            raise TooManyUnfinished
        result = BacktestResult.objects.queue(columns, user=user, now=now)
        # Without the broker, the run waits until maintenance finds that nobody has claimed it.
        transaction.on_commit(lambda: sender.send_task(RUN_TASK, (result.pk,)), robust=True)
    return result
