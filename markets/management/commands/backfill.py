"""The past of chosen markets, as the exchange itself remembers it."""

import time
from argparse import ArgumentParser
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from markets.backfill.planning import INTERVALS, BadInput, Wanted
from markets.backfill.runner import Progress, backfill
from markets.kalshi.client import KalshiError
from markets.recording.recorder import kalshi_client
from markets.storage.partitions import TableBusy

SAY_EVERY = 5.0
DRAW_EVERY = 0.2
BAR = 30
# The exchange takes a moment to close a period.
SETTLING = timedelta(minutes=1)


class Command(BaseCommand):
    help = (
        "Fetch candlesticks, and trades on demand, of chosen markets from both tiers of the"
        " exchange. Goes on after an interruption when given the same words again; changes"
        " nothing that is on record; safe beside the live recorder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--ticker", nargs="+", action="extend", default=[], help="markets")
        parser.add_argument("--event", default="", help="all markets of an event")
        parser.add_argument("--series", default="", help="all markets of a series")
        parser.add_argument(
            "--start", required=True, help="a day (UTC) or an instant: 2026-11-01T12:00Z"
        )
        parser.add_argument("--end", default="", help="the same (now)")
        parser.add_argument(
            "--interval", type=int, default=60, choices=INTERVALS, help="minutes of a candle (60)"
        )
        parser.add_argument("--trades", action="store_true", help="fetch public trades too")

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            wanted = Wanted(
                start=instant("--start", options["start"]),
                end=instant("--end", options["end"]) if options["end"] else now - SETTLING,
                tickers=options["ticker"],
                event=options["event"],
                series=options["series"],
                interval=options["interval"],
                trades=options["trades"],
            )
            wanted.check(now=now)
            bar = ProgressBar(self)
            progress = backfill(kalshi_client(), wanted, tell=bar.tell)
        except BadInput as fault:
            raise CommandError(str(fault)) from None
        except KalshiError as fault:
            raise CommandError(f"{fault}. The same command goes on from here.") from None
        except TableBusy:
            raise CommandError(
                "The snapshots' table is in use by another process. The same command goes on from"
                " here."
            ) from None
        bar.end()
        self.sum_up(progress)

    def sum_up(self, progress: Progress) -> None:
        self.stdout.write(
            f"{progress.markets:,} markets: {progress.candlesticks:,} candlesticks,"
            f" {progress.snapshots:,} snapshots and {progress.trades:,} trades are new."
        )
        for reason in progress.reasons:
            self.stderr.write(f"refused: {reason}")
        if progress.refused > len(progress.reasons):
            self.stderr.write(f"refused: {progress.refused:,} altogether")
        for ticker in sorted(progress.absent):
            self.stderr.write(
                f"{ticker}: at least once neither tier knew it; the same command asks again"
            )


def instant(option: str, text: str) -> datetime:
    """An aware instant, or midnight UTC of a day."""
    try:
        if len(text) == len("2026-11-01"):
            return datetime.combine(date.fromisoformat(text), clock_time(), UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{option}: {text!r} is no day and no instant") from None
    if found.tzinfo is None:
        raise BadInput(f"{option}: {text!r} does not say its time zone; a Z at its end means UTC")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise BadInput(f"{option}: {text!r} lies outside the years 1 to 9999") from None


class ProgressBar:
    """A line that is drawn again on a terminal, and written now and then elsewhere."""

    def __init__(self, command: BaseCommand) -> None:
        self.out = command.stdout
        self.live = self.out.isatty()
        self.began = time.monotonic()
        self.drawn = float("-inf")
        self.already: timedelta | None = None

    def tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if self.already is None:
            self.already = progress.done
        if now - self.drawn < (DRAW_EVERY if self.live else SAY_EVERY):
            return
        self.drawn = now
        if self.live:
            full = round(progress.share * BAR)
            bar = "#" * full + "." * (BAR - full)
            self.out.write(f"\r[{bar}] {self.words(progress, now)}\x1b[K", ending="")
            self.out.flush()
        else:
            self.out.write(self.words(progress, now))

    def words(self, progress: Progress, now: float) -> str:
        seconds = max(now - self.began, 1e-9)
        rate = (progress.candlesticks + progress.trades) / seconds
        words = f"{progress.share:4.0%}, {rate:,.0f} rows a second"
        gained = progress.done - (self.already or timedelta())
        if not gained:
            return words
        left = (progress.asked - progress.done) / gained * seconds
        return f"{words}, {timedelta(seconds=round(left))} to go"

    def end(self) -> None:
        if self.live:
            self.out.write("\r\x1b[K", ending="")
