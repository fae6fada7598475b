"""The command that runs one backtest in its own process."""

import json
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from backtests import catalogue, runner
from backtests.models import BacktestResult, BacktestStatus, Engine, SnapshotSources, Trial
from backtests.own import folder, imports
from backtests.report import TERMINAL_WIDTH, deflation, first_fills, summary
from backtests.requests import (
    CHOICES,
    REMOVED,
    BacktestRequest,
    MarketSelection,
    check_execution_names,
)
from backtests.rules.execution import ExecutionModel
from backtests.runner import ComputedRun, OnComputed
from backtests.strategies import UnknownStrategy
from backtests.strategies.descriptions import StrategyDescription
from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import ProgressBar, parse_instant
from kalshi_insights.lazy import LazyModule

if TYPE_CHECKING:
    from backtests.engine import plotting
else:
    # It needs matplotlib, which only those have who draw.
    plotting = LazyModule("backtests.engine.plotting")

FAILED, MISUSED = 1, 2
PICTURES = (".png", ".svg", ".pdf")
DEFAULTS = ExecutionModel()
# The columns of a result that `--json` prints, and those of them that are dollars.
JSON_COLUMNS = (
    "id", "status", "error", "strategy", "strategy_version", "params", "series", "events",
    "tickers", "sources", "imports", "start", "end", "cash", "engine", "execution", "fees",
    "snapshots", "markets", "final_cash", "verdict", "assumptions", "lookahead", "figures", "band",
    "yardsticks", "code_fingerprint", "data_fingerprint", "strategy_files",
)  # fmt: skip
DOLLARS = ("cash", "final_cash")


class Command(BaseCommand):
    help = (
        "Run a strategy on recorded quotes and print the result. Exits with 1 if the run fails,"
        " and with 2 if an argument is wrong, naming that argument."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add_strategy_arguments(parser)
        add("--list", action="store_true", help="list all strategies with their parameters")
        add_selection_arguments(parser)
        add("--engine", default="", choices=["", *Engine.values],
            help="engine (the kernel for signals, else backtrader)")  # fmt: skip
        add_execution_arguments(parser)
        add("--check-lookahead", action="store_true",
            help="also check the strategy for look-ahead bias")  # fmt: skip
        add("--plot", default="", metavar="FILE",
            help="draw quotes and fills of the most traded markets into this PNG, SVG or PDF file",
        )  # fmt: skip
        add("--json", action="store_true",
            help="print the result as JSON: cash and final_cash in dollars as text, and all money"
            " within figures, band and yardsticks in whole millionths of a dollar")  # fmt: skip
        add("--save", action="store_true", default=True, help="store the result (the default)")
        add("--no-save", dest="save", action="store_false",
            help="do not store the result; it counts as a trial all the same")  # fmt: skip

    def handle(self, **options: Any) -> None:
        if options["list"]:
            self.stdout.write("\n".join(list_strategies()))
            return
        with ExitStack() as stack:
            try:
                choose_strategy(options, stack, warn=self.stderr.write)
                now = datetime.now(UTC)
                request = request_from(options, now=now)
                columns = request.validated(now=now)
                if options["file"]:
                    # No other process may run it, which goes by this column.
                    strategy = catalogue.load(request.strategy)
                    columns["strategy_files"] = imports.texts_of(strategy)
                check_picture(options["plot"])
                request.selection.count_snapshots(request.selection.market_ids())
            except BadInput as fault:
                raise CommandError(str(fault), returncode=MISUSED) from None
            computed: list[ComputedRun] = []
            result = self.run(columns, options, computed, now=now)
        self.print_result(result, computed, as_json=options["json"])

    def run(
        self,
        columns: dict[str, Any],
        options: dict[str, Any],
        computed: list[ComputedRun],
        *,
        now: datetime,
    ) -> BacktestResult:
        """Run and draw; the list gets what was computed, if the run came so far."""
        run = run_and_store if options["save"] else run_unstored
        try:
            with ProgressBar(sys.stderr) as bar:
                result = run(columns, bar, computed.append, now=now)
                if options["plot"] and computed:
                    bar.update(1, "drawing")
                    draw(computed[0], options["plot"])
        except BadInput as fault:
            raise CommandError(str(fault), returncode=FAILED) from None
        return result

    def print_result(
        self, result: BacktestResult, computed: Sequence[ComputedRun], *, as_json: bool
    ) -> None:
        if as_json:
            self.stdout.write(json.dumps(as_columns(result), cls=DjangoJSONEncoder, indent=2))
        elif result.status == BacktestStatus.DONE:
            fills = [line for run in computed for line in first_fills(result, run.entries())]
            self.stdout.write("\n".join([*summary(result), *([""] if fills else []), *fills]))
        if result.status != BacktestStatus.DONE:
            number = f"Backtest {result.pk} " if result.pk else "The backtest "
            raise CommandError(f"{number}{result.status}: {result.error}", returncode=FAILED)


# --- arguments that other commands share ---------------------------------------------------------


def add_strategy_arguments(parser: ArgumentParser) -> None:
    """Add the arguments for the strategy and its parameters."""
    add = parser.add_argument
    add("strategy", nargs="?", default="",
        help="name of the strategy; see runbacktest --list. Of a --file with one strategy, it can"
        " be left out")  # fmt: skip
    add("--file", default="", metavar="PATH",
        help="file or package of a strategy that is not installed")  # fmt: skip
    add("--param", action="append", default=[], metavar="NAME=VALUE",
        help="parameter of the strategy")  # fmt: skip


def choose_strategy(
    options: dict[str, Any], stack: ExitStack, *, warn: Callable[[str], None]
) -> None:
    """Put the name of the strategy into the options, and that of `--file` into the catalogue while
    the stack is there. Raises BadInput."""
    if not (options["file"] or options["strategy"]):
        raise BadInput("strategy", "Name one, or a --file that has one.")
    if not options["file"]:
        warning = warning_of(options["strategy"])
    else:
        try:
            file = folder.file_at(Path(options["file"]))
            strategy = stack.enter_context(catalogue.installed(file, options["strategy"]))
        except (folder.BadFolder, UnknownStrategy) as fault:
            raise BadInput("file", str(fault)) from None
        options["strategy"] = strategy.name
        warning = folder.warning_of(file, imports.contents_of(strategy))
    if warning:
        warn(f"Warning: {warning}")


def warning_of(name: str) -> str:
    found = catalogue.listed(name)
    return found.warning if found else ""


def add_selection_arguments(parser: ArgumentParser) -> None:
    """Add the arguments for markets, window and starting cash."""
    add = parser.add_argument
    add("--series", nargs="+", action="extend", default=[], help="all markets of these series")
    add("--event", nargs="+", action="extend", default=[], help="all markets of these events")
    add("--ticker", nargs="+", action="extend", default=[], help="single markets")
    add("--start", default="", help="first day (UTC) or instant, such as 2026-11-01T12:00Z")
    add("--end", default="",
        help="day or instant before which the run ends (just after the newest quote)")  # fmt: skip
    add("--sources", default=SnapshotSources.BEST, choices=SnapshotSources.values,
        help="snapshots to use (best)")  # fmt: skip
    add("--import", dest="imports", nargs="+", action="extend", type=int, default=[],
        metavar="ID", help="imports to read beside the record (none); `manage.py imports` lists"
        " them")  # fmt: skip
    add("--cash", default="10000", help="starting cash in dollars (10000)")


def add_execution_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the execution model."""
    add = parser.add_argument
    add("--latency-seconds", type=float, default=DEFAULTS.latency_seconds,
        help="seconds until an order arrives; it meets the first observation after that (1)",
    )  # fmt: skip
    add("--patience-seconds", type=float, default=DEFAULTS.patience_seconds,
        help="seconds after which an order that met no observation expires (7200)")  # fmt: skip
    add("--across-gaps", default=DEFAULTS.across_gaps, choices=CHOICES["across_gaps"],
        help="what becomes of an order on its way into a gap of the record (expire)",
    )  # fmt: skip
    add("--assumed-size", type=int, help="contracts that takers assume where no size is shown")
    add("--assumed-queue", type=int,
        help="contracts to assume before a resting order where nobody knows its queue")  # fmt: skip
    add("--clock-tolerance", type=float, default=DEFAULTS.clock_tolerance,
        help="seconds by which the exchange's clock may differ (1)")  # fmt: skip
    add("--position-limit", type=int, help="maximum contracts held in a market")
    add("--make", action="store_true", help="join the best price on the own side and wait")
    add("--broker", dest="through_broker", action="store_true",
        help="fees of an account with a broker, in whole cents")  # fmt: skip
    for name in REMOVED:
        add(f"--{name.replace('_', '-')}", help=SUPPRESS)


def request_from(options: dict[str, Any], *, now: datetime) -> BacktestRequest:
    """Read the request from a command's options. Raises BadInput."""
    if not options["start"]:
        raise BadInput("start", "Name a first day or instant, such as --start 2026-11-01.")
    selection = MarketSelection.until(
        parse_instant("end", options["end"]) if options["end"] else None,
        now=now,
        start=parse_instant("start", options["start"]),
        series=options["series"],
        events=options["event"],
        tickers=options["ticker"],
        sources=options["sources"],
        imports=list(dict.fromkeys(options["imports"])),
    )
    return BacktestRequest(
        strategy=options["strategy"],
        selection=selection,
        params=parse_pairs(options["param"]),
        cash=parse_dollars(options["cash"]),
        check_lookahead=options.get("check_lookahead", False),
        engine=options["engine"],
        execution=execution_from(options),
    )


def execution_from(options: dict[str, Any]) -> ExecutionModel:
    """Read the execution model from a command's options. Raises BadInput."""
    check_execution_names(name for name in REMOVED if options.get(name) is not None)
    return ExecutionModel(**{field.name: options[field.name] for field in fields(ExecutionModel)})


def parse_pairs(texts: Iterable[str], option: str = "params") -> dict[str, str]:
    """Split texts of the form name=value, each name once. Raises BadInput."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"{option}.{name}", "Must be written as name=value.")
        if name in pairs:
            raise BadInput(f"{option}.{name}", "It is given twice.")
        pairs[name] = value
    return pairs


def parse_dollars(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadInput("cash", f"{text!r} is not a number.") from None


# --- running -------------------------------------------------------------------------------------


def run_and_store(
    columns: dict[str, Any], bar: ProgressBar, on_computed: OnComputed, *, now: datetime
) -> BacktestResult:
    result = BacktestResult.objects.queue(columns, user=None, now=now)
    runner.run(result.pk, on_progress=bar.update, on_computed=on_computed)
    result.refresh_from_db()
    return result


def run_unstored(
    columns: dict[str, Any], bar: ProgressBar, on_computed: OnComputed, *, now: datetime
) -> BacktestResult:
    """Run and store nothing but a trial. Raises BadInput, and whatever the strategy raises."""
    result = BacktestResult(**columns, created_at=now, status=BacktestStatus.DONE)
    computed = runner.compute(result, on_progress=bar.update)
    Trial.objects.record_all([computed.trial])
    for name, value in computed.columns.items():
        setattr(result, name, value)
    on_computed(computed)
    return result


def as_columns(result: BacktestResult) -> dict[str, Any]:
    """A result as `--json` prints it."""
    columns = {name: getattr(result, name) for name in JSON_COLUMNS}
    known = [name for name in DOLLARS if columns[name] is not None]
    columns |= {name: f"{columns[name]:.6f}" for name in known}
    columns["overfitting"] = deflation(result).as_json() if result.figures else None
    return columns


# --- the picture ---------------------------------------------------------------------------------


def check_picture(path: str) -> None:
    """Raise BadInput where no picture could be written to this path, before anything is run."""
    if not path:
        return
    if Path(path).suffix.lower() not in PICTURES:
        raise BadInput("plot", f"{path} must end in {', '.join(PICTURES)}.")
    if Path(path).is_dir() or not Path(path).absolute().parent.is_dir():
        raise BadInput("plot", f"{path} cannot be written: there is no such folder.")
    if not find_spec("matplotlib"):
        raise BadInput("plot", "Drawing needs matplotlib, which `make .venv/.notebooks` installs.")


def draw(computed: ComputedRun, path: str) -> None:
    figure = plotting.plot_most_traded(computed.universe, computed.outcome)
    try:
        figure.savefig(path)
    except OSError as fault:
        raise BadInput("plot", f"{path} cannot be written: {fault.strerror}.") from None


# --- the list of strategies ----------------------------------------------------------------------


def list_strategies() -> Iterator[str]:
    for strategy in catalogue.listing():
        yield from _describe(strategy)


def _describe(strategy: StrategyDescription) -> Iterator[str]:
    place = f"({strategy.file})" if strategy.file else ""
    yield " ".join(filter(None, (strategy.name, strategy.version, place)))
    warning = f"Warning: {strategy.warning}" if strategy.warning else ""
    error = f"Cannot be run. {strategy.error}" if strategy.error else ""
    for text in filter(None, (error, strategy.summary, warning)):
        yield from wrap(text, TERMINAL_WIDTH, initial_indent="  ", subsequent_indent="  ")
    for name, parameter in strategy.schema.items():
        unit = f" {parameter.unit}" if parameter.unit else ""
        bounds = _bounds(parameter.least, parameter.most, parameter.choices)
        words = f"{name}={parameter.default}{unit}{bounds}: {parameter.help}"
        yield from wrap(words, TERMINAL_WIDTH, initial_indent="    ", subsequent_indent="      ")
    yield ""


def _bounds(least: float | None, most: float | None, choices: Sequence[str]) -> str:
    if choices:
        return f" ({', '.join(choices)})"
    if least is None or most is None:
        return ""
    low, high = (f"{bound:,}".removesuffix(".0") for bound in (least, most))
    return f" ({low} to {high})"
