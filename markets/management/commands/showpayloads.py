from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import parse_instant
from markets.models import Market, PayloadBlock, Source
from markets.models.snapshots import why_no_payload

# Snapshots whose payloads are looked up together.
AT_ONCE = 500


class Command(BaseCommand):
    help = (
        "Print the raw payloads of a market that are still kept, oldest first: one JSON object a"
        " line, with the snapshot that each was read into."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ticker")
        parser.add_argument("--start", default="", help="a day (UTC) or an instant")
        parser.add_argument("--end", default="", help="the same; by default now")

    def handle(self, *, ticker: str, start: str, end: str, **options: Any) -> None:
        since, until = window(start, end, now=datetime.now(UTC))
        market = Market.objects.by_ticker(ticker)
        if market is None:
            raise CommandError(f"There is no market {ticker}.")
        found = market.snapshots.from_source(Source.POLL).between(since, until).oldest_first()
        snapshots = list(found.values_list("id", "timestamp"))
        shown = sum(
            self.show(dict(snapshots[first : first + AT_ONCE]))
            for first in range(0, len(snapshots), AT_ONCE)
        )
        if not snapshots:
            self.stderr.write(f"{market.ticker} was not recorded from {since} to {until}.")
        elif shown < len(snapshots):
            missing = f"{len(snapshots) - shown:,} of {len(snapshots):,} snapshots have none."
            self.stderr.write(f"{missing} {why_no_payload(Source.POLL)}")

    def show(self, snapshots: Mapping[UUID, datetime]) -> int:
        """Print the payloads that are kept; return their number."""
        payloads = PayloadBlock.objects.payloads_of(snapshots)
        for id, timestamp in snapshots.items():
            if id in payloads:
                line = {
                    "timestamp": timestamp,
                    "snapshot": id,
                    "payload": msgspec.Raw(payloads[id]),
                }
                self.stdout.write(msgspec.json.encode(line).decode(errors="replace"))
        return len(payloads)


def window(start: str, end: str, *, now: datetime) -> tuple[datetime, datetime]:
    """Read the options' instants; by default the time for which payloads are kept."""
    kept_since = now - timedelta(hours=settings.RAW_PAYLOAD_HOURS or 1)
    try:
        since = parse_instant("--start", start) if start else kept_since
        until = parse_instant("--end", end) if end else now
    except BadInput as fault:
        raise CommandError(str(fault)) from None
    if since >= until:
        raise CommandError(f"--start {since} does not lie before --end {until}.")
    return since, until
