"""Backfill of markets from the exchange's own history."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import ProgressBar, parse_instant
from markets.backfill.progress import BackfillProgress
from markets.backfill.request import INTERVALS, BackfillRequest
from markets.backfill.runner import backfill
from markets.backfill.settled.request import SettledRequest
from markets.backfill.settled.runner import (
    SettledProgress,
    SettledWork,
    fill_settled,
    find_settled,
)
from markets.kalshi.client import KalshiClient
from markets.kalshi.errors import KalshiError
from markets.kalshi.reach import with_advice
from markets.models import Event, Market, Series
from markets.recording.exchange import kalshi_client
from markets.storage.partitions import TableBusy

# The exchange takes a moment to close a period.
SETTLING = timedelta(minutes=1)
HOURLY = 60
# Options that say which markets are fetched, or what of them; --settled has its own.
NOT_WITH_SETTLED = ("ticker", "event", "interval", "trades")
INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Fetch candlesticks, and trades on request, of chosen markets from both tiers of the"
        " exchange; with --settled, of all markets that were settled in a span those candlesticks"
        " that calibration reads. After an interruption, the same command continues. It changes"
        " nothing that is recorded, and is safe to run beside the live recorder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--ticker", nargs="+", action="extend", default=[], help="markets")
        parser.add_argument("--event", default="", help="all markets of an event")
        parser.add_argument("--series", default="", help="all markets of a series")
        parser.add_argument(
            "--settled",
            action="store_true",
            help="all markets that were settled from --start on and before --end",
        )
        parser.add_argument("--category", default="", help="of --settled: one category alone")
        parser.add_argument(
            "--start", required=True, help="a day (UTC) or an instant: 2026-11-01T12:00Z"
        )
        parser.add_argument("--end", default="", help="the same; by default now")
        parser.add_argument(
            "--interval",
            type=int,
            choices=INTERVALS,
            help=f"minutes of a candlestick ({HOURLY})",
        )
        parser.add_argument("--trades", action="store_true", help="fetch public trades too")

    def handle(self, **options: Any) -> None:
        with told_errors():
            if options["settled"]:
                self.fill_settled(options)
            else:
                self.fill_markets(options)

    def fill_markets(self, options: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        if options["category"]:
            raise BadInput("--category", "it goes with --settled alone")
        request = BackfillRequest(
            start=parse_instant("--start", options["start"]),
            end=parse_instant("--end", options["end"]) if options["end"] else now - SETTLING,
            tickers=options["ticker"],
            event=options["event"],
            series=options["series"],
            interval=options["interval"] or HOURLY,
            trades=options["trades"],
        )
        request.check(now=now)
        # No database is asked for what cannot be a ticker.
        request = replace(
            request,
            tickers=[as_written(Market.objects.as_written, each) for each in request.tickers],
            event=as_written(Event.objects.as_written, request.event),
            series=as_written(Series.objects.as_written, request.series),
        )
        with ProgressBar(sys.stderr) as bar:
            on_progress = partial(show, bar, time.monotonic())
            progress = backfill(kalshi_client(), request, on_progress=on_progress)
        self.sum_up(progress)

    def fill_settled(self, options: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        for name in NOT_WITH_SETTLED:
            if options[name]:
                raise BadInput(f"--{name}", "it does not go with --settled")
        request = SettledRequest(
            start=parse_instant("--start", options["start"]),
            end=parse_instant("--end", options["end"]) if options["end"] else now,
            series=options["series"],
            category=options["category"],
        )
        request.check(now=now)
        request = replace(request, series=as_written(Series.objects.as_written, request.series))
        client, progress = kalshi_client(), SettledProgress()
        with ProgressBar(sys.stderr) as bar:
            work = find_settled(client, request, progress, on_progress=partial(show_found, bar))
        self.stdout.write(plan_in_words(client, work, progress))
        with ProgressBar(sys.stderr) as bar:
            on_progress = partial(show, bar, time.monotonic())
            fill_settled(client, work, progress, on_progress=on_progress)
        self.sum_up(progress)

    def sum_up(self, progress: BackfillProgress) -> None:
        self.stdout.write(
            f"{progress.markets:,} markets: {progress.candlesticks:,} candlesticks,"
            f" {progress.snapshots:,} snapshots and {progress.trades:,} trades are new."
        )
        self.list_some("rejected", progress.reasons, total=progress.rejected)
        if progress.rejected:
            self.stderr.write("What was rejected stays open: run the same command to ask again.")
        self.list_some(
            "differs from the record, which stays", progress.differences, total=progress.differing
        )
        for ticker in sorted(progress.absent):
            self.stderr.write(
                f"{ticker}: at least once neither tier knew it; run the same command to ask again"
            )

    def list_some(self, what: str, records: Sequence[str], *, total: int) -> None:
        for record in records:
            self.stderr.write(f"{what}: {record}")
        if total > len(records):
            self.stderr.write(f"{what}: {total:,} in total")


@contextmanager
def told_errors() -> Iterator[None]:
    """Raise what ends a backfill as a CommandError that says how to go on."""
    try:
        yield
    except BadInput as fault:
        raise CommandError(str(fault)) from None
    except KalshiError as fault:
        raise CommandError(
            f"{with_advice(str(fault))}. Run the same command again to continue."
        ) from None
    except TableBusy:
        raise CommandError(
            "Another process is using the table of snapshots. Run the same command again to"
            " continue."
        ) from None
    except KeyboardInterrupt:
        raise CommandError(
            "Stopped. Run the same command again to continue.", returncode=INTERRUPTED
        ) from None


def as_written(find: Callable[[list[str]], dict[str, str]], ticker: str) -> str:
    """Return a ticker as it is on record; an unknown one in upper case, as Kalshi writes them."""
    return find([ticker]).get(ticker, ticker.upper())


def show(bar: ProgressBar, began: float, progress: BackfillProgress) -> None:
    seconds = max(time.monotonic() - began, 1e-9)
    rate = (progress.candlesticks + progress.trades) / seconds
    bar.update(progress.share, f"{rate:,.0f} rows a second")


def show_found(bar: ProgressBar, progress: SettledProgress) -> None:
    bar.update(progress.listed, f"{progress.markets:,} settled markets found")


def plan_in_words(client: KalshiClient, work: SettledWork, progress: SettledProgress) -> str:
    """Say what is about to be fetched, and how long that takes at the rate of now."""
    if not progress.markets:
        return "No market was settled in this span."
    anchors = ", ".join(f"{kind} {n:,}" for kind, n in progress.plan.anchors.most_common())
    calls = (
        f"{work.live.calls:,} calls for up to 100 markets each in the live tier and"
        f" {work.historical.calls:,} for one market each in the historical tier"
    )
    return f"{progress.markets:,} settled markets ({anchors}): {calls}{duration(client, work)}."


def duration(client: KalshiClient, work: SettledWork) -> str:
    rate = client.calls_per_second()
    if rate is None:
        return ""
    return f", {work.calls / rate / 60:,.1f} minutes at {rate:.3g} calls a second"
