"""A check of a strategy for lookahead bias, on recorded markets."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import strategies
from backtests.analysis.lookahead import Verdict, check
from backtests.choosing import BadInput, Selection
from backtests.loading import load
from backtests.management.commands.runbacktest import pairs
from backtests.strategies import UnknownStrategy, parameters
from backtests.strategies.parameters import BadParameter
from kalshi_insights.commands import InvalidInstant, parse_instant
from markets.models import Market

MARKETS = 20
SPAN = timedelta(days=2)
CAUGHT, MISUSED = 1, 2


class Command(BaseCommand):
    help = (
        "Run a strategy on recorded markets and on other futures of the same past, and compare"
        " what it decides. Ends with 1 where its decisions hang on what was yet to come, and with"
        f" 2 where the words make no sense. Without markets, the {MARKETS} most traded of the last"
        " 24 hours; without a start, the last two days before the end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("strategy", help=f"one of {', '.join(strategies.STRATEGIES)}")
        parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE")
        parser.add_argument("--series", nargs="+", action="extend", default=[])
        parser.add_argument("--event", nargs="+", action="extend", default=[])
        parser.add_argument("--ticker", nargs="+", action="extend", default=[])
        parser.add_argument("--start", help="a day (UTC) or an instant: 2026-11-01T12:00Z")
        parser.add_argument("--end", help="the same (now)")
        parser.add_argument("--seed", type=int, default=0, help="of where the records part (0)")

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            kind = strategies.find(options["strategy"])
            params = parameters.read(kind.schema, dict(pairs(options["param"])))
            selection = chosen(options, now=now)
            selection.check(now=now)
            universe = load(selection, known_by=now)
        except (BadInput, InvalidInstant, BadParameter, UnknownStrategy) as fault:
            raise CommandError(str(fault), returncode=MISUSED) from None
        self.stdout.write(
            f"{kind.name} {kind.version} on {len(universe.quotes):,} quotes of"
            f" {len(universe.listings):,} markets, {selection.start:%Y-%m-%d %H:%M} to"
            f" {selection.end:%Y-%m-%d %H:%M} UTC"
        )
        report = check(kind, universe, parameters=params, seed=options["seed"])
        self.stdout.write("\n".join(report.sentences()))
        if report.verdict != Verdict.CLEAN:
            raise SystemExit(CAUGHT)


def chosen(options: dict[str, Any], *, now: datetime) -> Selection:
    end = parse_instant("--end", options["end"]) if options["end"] else now
    start = parse_instant("--start", options["start"]) if options["start"] else shortly_before(end)
    tickers = options["ticker"]
    if not (options["series"] or options["event"] or tickers):
        tickers = most_traded()
    return Selection(
        start=start,
        end=end,
        series=options["series"],
        events=options["event"],
        tickers=tickers,
    )


def shortly_before(end: datetime) -> datetime:
    try:
        return end - SPAN
    except OverflowError:
        raise InvalidInstant(f"--end: too early to stand without a --start: {end}") from None


def most_traded() -> list[str]:
    """Raises BadInput where nothing is on record yet."""
    quoted = Market.objects.filter(quoted_at__isnull=False).ordered_by("-volume_24h")
    tickers = list(quoted.values_list("ticker", flat=True)[:MARKETS])
    if not tickers:
        raise BadInput("ticker", "No market's quotes are on record yet; let the recorder run.")
    return tickers
