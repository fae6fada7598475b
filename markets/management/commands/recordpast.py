"""A past for the demo."""

from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from markets.kalshi.client import KalshiClient, KalshiError, Page, pages
from markets.models import MarketSnapshot
from markets.sightings import Batch, store_past

# A hundred times a day, and a few more for markets that pause meanwhile.
EVERY = timedelta(minutes=13)


class Command(BaseCommand):
    help = (
        "Record the last hours of the simulated exchange, which remembers them, the newest first."
        " Times that are on record already are left out; safe beside the live recorder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=24, help="how far back (24)")

    def handle(self, *, hours: float, **options: object) -> None:
        if not settings.SIMULATED:
            raise CommandError("Only the simulated exchange can be asked for its past.")
        instants = missing(datetime.now(UTC).replace(microsecond=0), hours)
        written = 0
        for done, listing in enumerate(_listings(instants), start=1):
            written += record(listing)
            if done % 10 == 0 or done == len(instants):
                self.stdout.write(f"{done} of {len(instants)} instants, {written:,} snapshots")


def missing(now: datetime, hours: float) -> list[datetime]:
    """The instants to record: those around which nothing is."""
    instants = (now - n * EVERY for n in range(1, int(timedelta(hours=hours) / EVERY) + 2))
    recorded = MarketSnapshot.objects.between
    return [at for at in instants if not recorded(at - EVERY / 2, at + EVERY / 2).exists()]


def _listings(instants: list[datetime]) -> Iterator[list[Page]]:
    """Every listing, the next one being fetched while one is written."""
    coming: Future[list[Page]] | None = None
    with ThreadPoolExecutor(max_workers=1) as ahead:
        for instant, following in zip(instants, [*instants[1:], None], strict=False):
            listing = coming.result() if coming else open_events(instant)
            coming = ahead.submit(open_events, following) if following else None
            yield listing


def open_events(instant: datetime) -> list[Page]:
    """All open events as they were; the instant stands for that of the reply."""
    address = urlsplit(settings.KALSHI_API_URL)
    past = address._replace(path=f"/simulator/at/{int(instant.timestamp())}{address.path}")
    try:
        with KalshiClient(past.geturl()) as client:
            listing = pages(lambda cursor: client.events(status="open", cursor=cursor))
            return [replace(page, received_at=instant) for page in listing]
    except KalshiError as error:
        raise CommandError(f"The simulated exchange does not tell its past: {error}") from None


def record(listing: list[Page]) -> int:
    batch = Batch()
    for page in listing:
        batch.see_events(page)
    with transaction.atomic():
        return store_past(batch)
