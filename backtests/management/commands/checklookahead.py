"""The command that checks a strategy for look-ahead bias on recorded markets."""

from argparse import ArgumentParser
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import catalogue
from backtests.analysis.lookahead import LookaheadVerdict, check
from backtests.data.origins import QUOTES
from backtests.data.universe import Universe
from backtests.loading import load
from backtests.management.commands.runbacktest import (
    MISUSED,
    add_execution_arguments,
    add_strategy_arguments,
    choose_strategy,
    execution_from,
    parse_pairs,
)
from backtests.record import record
from backtests.requests import BacktestRequest, MarketSelection
from backtests.strategies import StrategyClass, UnknownStrategy
from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import parse_instant

DEFAULT_MARKETS = 20
CHECKED_WINDOW = timedelta(days=2)
BIASED = 1


class Command(BaseCommand):
    help = (
        "Run a strategy on recorded markets and on other futures of the same past, and compare its"
        " decisions. Exits with 1 if they depend on the future, and with 2 if an argument is wrong."
        f" By default it uses the {DEFAULT_MARKETS} markets with the highest volume of the last 24"
        " hours, and the last two days before the end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add_strategy_arguments(parser)
        add("--series", nargs="+", action="extend", default=[], help="all markets of these series")
        add("--event", nargs="+", action="extend", default=[], help="all markets of these events")
        add("--ticker", nargs="+", action="extend", default=[], help="single markets")
        add("--start", help="first day (UTC) or instant, such as 2026-11-01T12:00Z")
        add("--end", help="day or instant before which the check ends (now)")
        add("--import", dest="imports", nargs="+", action="extend", type=int, default=[],
            metavar="ID", help="imports to read beside the record (none)")  # fmt: skip
        add("--seed", type=int, default=0, help="seed of the random futures (0)")
        add_execution_arguments(parser)

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        with ExitStack() as stack:
            try:
                choose_strategy(options, stack, warn=self.stderr.write)
                request = request_from(options, now=now)
                params = request.validated(now=now)["params"]
                strategy = catalogue.load(request.strategy)
                universe = load(request.selection, known_by=now)
            except (BadInput, UnknownStrategy) as fault:
                raise CommandError(str(fault), returncode=MISUSED) from None
            request = replace(request, params=params)
            self.report(strategy, universe, request, seed=options["seed"])

    def report(
        self, strategy: StrategyClass, universe: Universe, request: BacktestRequest, *, seed: int
    ) -> None:
        selection = request.selection
        self.stdout.write(
            f"{strategy.name} {strategy.version} on {universe.origins.total(QUOTES):,} quotes"
            f" of {len(universe.listings):,} markets, {selection.start:%Y-%m-%d %H:%M} to"
            f" {selection.end:%Y-%m-%d %H:%M} UTC"
        )
        report = check(
            strategy, universe, parameters=request.params, execution=request.execution, seed=seed
        )
        self.stdout.write("\n".join(report.sentences()))
        if report.verdict != LookaheadVerdict.CLEAN:
            raise SystemExit(BIASED)


def request_from(options: dict[str, Any], *, now: datetime) -> BacktestRequest:
    """Read the request for the runs of a check. Raises BadInput."""
    return BacktestRequest(
        strategy=options["strategy"],
        selection=selection_from(options, now=now),
        params=parse_pairs(options["param"]),
        execution=execution_from(options),
    )


def selection_from(options: dict[str, Any], *, now: datetime) -> MarketSelection:
    end = parse_instant("--end", options["end"]) if options["end"] else now
    start = parse_instant("--start", options["start"]) if options["start"] else default_start(end)
    tickers = options["ticker"]
    if not (options["series"] or options["event"] or tickers):
        tickers = most_traded()
    return MarketSelection(
        start=start,
        end=end,
        series=options["series"],
        events=options["event"],
        tickers=tickers,
        imports=list(dict.fromkeys(options["imports"])),
    )


def default_start(end: datetime) -> datetime:
    try:
        return end - CHECKED_WINDOW
    except OverflowError:
        raise BadInput("end", f"Too early without a --start: {end}.") from None


def most_traded() -> list[str]:
    """Raises BadInput where nothing is on record yet."""
    tickers = record.markets.most_traded(DEFAULT_MARKETS)
    if not tickers:
        raise BadInput("ticker", "No quotes are recorded yet. Let the recorder run first.")
    return tickers
