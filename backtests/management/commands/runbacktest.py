"""A backtest run in this process."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder

from backtests import runner
from backtests.choosing import BadInput, Selection
from backtests.management.summary import catalogue, summary
from backtests.models import BacktestResult, Engine, Sources, Status
from backtests.requests import Asked
from backtests.rules.execution import Execution
from kalshi_insights.commands import InvalidInstant, ProgressBar, parse_instant

FAILED, MISUSED = 1, 2
USUAL = Execution()
# What `--json` prints of a result.
TOLD = (
    "id", "status", "error", "strategy", "strategy_version", "params", "series", "events",
    "tickers", "sources", "start", "end", "cash", "engine", "execution", "fees", "snapshots",
    "markets", "final_cash", "verdict", "assumptions", "lookahead", "figures", "band", "yardsticks",
    "code_fingerprint", "data_fingerprint",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Run a strategy on what is recorded, and say what came of it. Ends with 1 where the run"
        " failed and with 2 where the words make no sense, naming the one that does not."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("strategy", nargs="?", default="", help="its name; --list shows them all")
        add("--list", action="store_true", help="show every strategy with its parameters")
        add_choice(parser)
        add("--param", action="append", default=[], metavar="NAME=VALUE", help="of the strategy")
        add("--engine", default="", choices=["", *Engine.values], help="(the faster one that can)")
        add_execution(parser)
        add("--check-lookahead", action="store_true", help="check that it knows no future")
        add("--json", action="store_true", help="print the result as JSON")
        add("--save", action="store_true", default=True, help="store it (the default)")
        add("--no-save", dest="save", action="store_false", help="store nothing")

    def handle(self, **options: Any) -> None:
        if options["list"]:
            self.stdout.write("\n".join(catalogue()))
            return
        now = datetime.now(UTC)
        try:
            wanted = asked(options, now=now)
            columns = wanted.checked(now=now)
            wanted.selection.count(wanted.selection.markets())
        except (BadInput, InvalidInstant) as fault:
            raise CommandError(str(fault), returncode=MISUSED) from None
        run = stored if options["save"] else computed
        try:
            with ProgressBar(sys.stderr) as bar:
                result = run(columns, bar, now=now)
        except BadInput as fault:
            raise CommandError(str(fault), returncode=FAILED) from None
        self.tell(result, as_json=options["json"])

    def tell(self, result: BacktestResult, *, as_json: bool) -> None:
        if as_json:
            told = {name: getattr(result, name) for name in TOLD}
            self.stdout.write(json.dumps(told, cls=DjangoJSONEncoder, indent=2))
        elif result.status == Status.DONE:
            self.stdout.write("\n".join(summary(result)))
        if result.status != Status.DONE:
            number = f"Backtest {result.pk} " if result.pk else "It "
            raise CommandError(f"{number}{result.status}: {result.error}", returncode=FAILED)


def add_choice(parser: ArgumentParser) -> None:
    """Which markets, what time and how much money."""
    add = parser.add_argument
    add("--series", nargs="+", action="extend", default=[], help="all markets of these series")
    add("--event", nargs="+", action="extend", default=[], help="all markets of these events")
    add("--ticker", nargs="+", action="extend", default=[], help="these markets")
    add("--start", default="", help="a day (UTC) or an instant: 2026-11-01T12:00Z")
    add("--end", default="", help="the first instant that is left out, written the same (now)")
    add("--sources", default=Sources.BEST, choices=Sources.values, help="which snapshots count")
    add("--cash", default="10000", help="dollars to begin with (10000)")


def add_execution(parser: ArgumentParser) -> None:
    """How orders meet the books."""
    add = parser.add_argument
    add("--latency-snapshots", type=int, default=USUAL.latency_snapshots,
        help="books of its market that an order lets pass (1)")  # fmt: skip
    add("--latency-seconds", type=float, default=USUAL.latency_seconds, help="and time (0)")
    add("--patience-seconds", type=float, default=USUAL.patience_seconds,
        help="after which an order that met no book is given up (7200)")  # fmt: skip
    add("--assumed-size", type=int, help="contracts, where the record shows no size")
    add("--position-limit", type=int, help="contracts of one market")
    add("--make", action="store_true", help="join the own side's best price and wait")
    add("--broker", dest="through_broker", action="store_true",
        help="fees of an account with a broker, in whole cents")  # fmt: skip


def asked(options: dict[str, Any], *, now: datetime) -> Asked:
    """Raises BadInput and InvalidInstant."""
    if not options["start"]:
        raise BadInput("start", "Name a day or an instant to begin with: --start 2026-11-01.")
    selection = Selection(
        start=parse_instant("start", options["start"]),
        end=parse_instant("end", options["end"]) if options["end"] else now,
        series=options["series"],
        events=options["event"],
        tickers=options["ticker"],
        sources=options["sources"],
    )
    return Asked(
        strategy=options["strategy"],
        selection=selection,
        params=dict(pairs(options["param"])),
        cash=dollars(options["cash"]),
        check_lookahead=options.get("check_lookahead", False),
        engine=options["engine"],
        execution=Execution(**{field.name: options[field.name] for field in fields(Execution)}),
    )


def pairs(given: Iterable[str]) -> Iterable[tuple[str, str]]:
    for words in given:
        name, equals, value = words.partition("=")
        if not equals:
            raise BadInput(f"params.{name}", "Must be written as name=value.")
        yield name, value


def dollars(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise BadInput("cash", f"{text!r} is no number.") from None


def stored(columns: dict[str, Any], bar: ProgressBar, *, now: datetime) -> BacktestResult:
    """What is now on record of the run."""
    queued = BacktestResult.objects.queue(columns, user=None, now=now)
    runner.run(queued.pk, tell=bar.update)
    queued.refresh_from_db()
    return queued


def computed(columns: dict[str, Any], bar: ProgressBar, *, now: datetime) -> BacktestResult:
    """What would be stored. Raises BadInput, and whatever the strategy raises."""
    result = BacktestResult(**columns, created_at=now, status=Status.DONE)
    for name, value in runner.compute(result, tell=bar.update).columns.items():
        setattr(result, name, value)
    return result
