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
from markets.models import MarketSnapshot, Source
from markets.recorder import Batch, store

# A little more often than a hundred times a day.
EVERY = timedelta(minutes=14)


class Command(BaseCommand):
    help = (
        "Record the last hours of the simulated exchange, which remembers them, through the"
        " recorder's own path. What is on record already is not asked for again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=24, help="how far back (24)")

    def handle(self, *, hours: float, **options: object) -> None:
        if not settings.SIMULATED:
            raise CommandError("Only the simulated exchange can be asked for its past.")
        now = datetime.now(UTC).replace(microsecond=0)
        written = 0
        with ThreadPoolExecutor(max_workers=1) as ahead:
            for instant, listing in _listings(self.missing(now, hours), ahead):
                written += record(listing, instant)
        self.stdout.write(f"{written:,} snapshots of the last {hours:g} hours.")

    def missing(self, now: datetime, hours: float) -> list[datetime]:
        """The instants to record, from the newest snapshot on record or the start on."""
        start = now - timedelta(hours=hours)
        newest = MarketSnapshot.objects.newest()
        if newest:
            start = max(start, newest.timestamp.replace(microsecond=0) + EVERY)
        return [start + n * EVERY for n in range(int((now - start) / EVERY) + 1)]


def _listings(
    instants: list[datetime], ahead: ThreadPoolExecutor
) -> Iterator[tuple[datetime, list[Page]]]:
    """Every listing, the next one being fetched while one is written."""
    coming: Future[list[Page]] | None = None
    for number, instant in enumerate(instants):
        listing = coming.result() if coming else open_events(instant)
        following = instants[number + 1 : number + 2]
        coming = ahead.submit(open_events, following[0]) if following else None
        yield instant, listing


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


def record(listing: list[Page], instant: datetime) -> int:
    batch = Batch()
    for page in listing:
        batch.see_events(page)
    with transaction.atomic():
        return store(batch, source=Source.BACKFILL)
