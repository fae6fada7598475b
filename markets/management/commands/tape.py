"""Read the trades of all markets by hand, where the recorder was not there to follow them."""

import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import ProgressBar, parse_instant
from markets.intervals import Interval
from markets.kalshi.errors import KalshiError
from markets.kalshi.reach import with_advice
from markets.models import TapeSpan
from markets.models.tape_scope import Extent, TapeScope
from markets.recording.exchange import kalshi_client
from markets.recording.tape import LATENESS, TapeReader, read_window


class Command(BaseCommand):
    help = (
        "Read the trades of all recorded markets in a window, where they are not all on record,"
        " from both tiers of the exchange, the newest first. After an interruption, the same"
        " command continues. It is safe beside the recorder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", required=True, help="a day (UTC) or an instant: 2026-11-01T12:00Z"
        )
        parser.add_argument("--to", default="", help="the same; by default ten seconds ago")

    def handle(self, **options: Any) -> None:
        try:
            window = read_options(options, settled=datetime.now(UTC) - LATENESS)
            with ProgressBar(sys.stderr) as bar:

                def show(share: float, reader: TapeReader) -> None:
                    bar.update(share, f"{reader.new:,} new trades")

                reader = read_window(kalshi_client(), window, on_progress=show)
        except BadInput as fault:
            raise CommandError(str(fault)) from None
        except KalshiError as fault:
            raise CommandError(
                f"{with_advice(str(fault))}. Run the same command again to continue."
            ) from None
        self.sum_up(window, reader)

    def sum_up(self, window: Interval, reader: TapeReader) -> None:
        share = TapeSpan.objects.share(window)
        scope = TapeScope.of_settings()
        self.stdout.write(
            f"{reader.new:,} trades are new; {share:.2%} of the time is whole for the recorded"
            f" {scope}."
        )
        if reader.refused:
            self.stderr.write(
                f"{reader.refused:,} trades could not be read; their time stays open, and the"
                " recorder page shows why."
            )
        elif TapeSpan.objects.unread(window):
            self.stderr.write("Run the same command again to continue.")
        elif share < 1:
            self.explain(window, scope)

    def explain(self, window: Interval, scope: TapeScope) -> None:
        """Say why a window is not whole, though all of it was read."""
        if scope.extent == Extent.HOT:
            self.stderr.write(
                "What was read later counts for nothing: which market was on the hot list then,"
                " nobody knows. RECORD_TRADES=all reads it for all markets."
            )
        for day in TapeSpan.objects.dropped_days(window):
            self.stderr.write(
                f"The trades of {day} are no longer kept: `manage.py restorearchive` brings"
                " them back."
            )


def read_options(options: dict[str, Any], *, settled: datetime) -> Interval:
    """Return the window; raises BadInput. What is newer than `settled` may not be listed yet."""
    start = parse_instant("--from", options["from"])
    end = parse_instant("--to", options["to"]) if options["to"] else settled
    if end > settled:
        raise BadInput("--to", "lies in the future, or less than ten seconds ago")
    if start >= end:
        raise BadInput("--from", "must come before --to")
    return Interval(start, end)
