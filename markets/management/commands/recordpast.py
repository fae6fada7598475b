"""Backfill the demo from the simulated exchange's history."""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, KalshiError, Page, pages, ticker_batches
from markets.kalshi.payloads import MarketPayload
from markets.models import Market, MarketRevision, MarketSnapshot, Status
from markets.recording.batch import Batch, Sighting, store_past

# This gives a market over a hundred snapshots a day, even if it pauses for a while.
SPACING = timedelta(minutes=13)


class Command(BaseCommand):
    help = (
        "Record the last hours of the simulated exchange, the newest first. Times that are already"
        " on record are skipped. It is safe to run beside the live recorder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=24, help="hours to go back (24)")

    def handle(self, *, hours: float, **options: object) -> None:
        if not settings.SIMULATED:
            raise CommandError(
                "Only the history of the simulated exchange can be recorded; SIMULATED is off."
            )
        instants = missing_instants(datetime.now(UTC).replace(microsecond=0), hours)
        written, log = 0, DefinitionLog()
        for done, listing in enumerate(_fetch_listings(instants), start=1):
            written += record_listing(listing, log)
            if done % 10 == 0 or done == len(instants):
                self.stdout.write(f"{done} of {len(instants)} instants, {written:,} snapshots")
        MarketRevision.objects.add([*log.revisions(), *settlement_revisions(log)])


@dataclass
class DefinitionLog:
    """The definitions of each market in the listings, newest first, with their first instants."""

    definitions: dict[str, list[tuple[int, MarketPayload]]] = field(default_factory=dict)
    since: dict[tuple[str, int], datetime] = field(default_factory=dict)

    def add(self, sightings: Iterable[Sighting]) -> None:
        for sighting in sightings:
            ticker, mark = sighting.quote.ticker, sighting.quote.definition_mark
            seen = self.definitions.setdefault(ticker, [])
            if not seen or seen[-1][0] != mark:
                seen.append((mark, payloads.market(sighting.raw)))
            self.since[ticker, mark] = sighting.at

    def revisions(self) -> Iterator[MarketRevision]:
        ids = Market.objects.ids(self.definitions)
        for ticker, seen in self.definitions.items():
            for mark, market in seen if ticker in ids else ():
                yield revision_of(market, ids[ticker], known_at=self.since[ticker, mark])


def settlement_revisions(log: DefinitionLog) -> Iterator[MarketRevision]:
    """Yield a revision for each market that is settled by now, known since it was settled."""
    ids = Market.objects.ids(log.definitions)
    with KalshiClient(settings.KALSHI_API_URL) as client:
        for tickers in ticker_batches(sorted(ids)):
            for raw in client.markets(tickers=tickers).items:
                market = payloads.market(raw)
                if market.status == Status.FINALIZED and market.settlement_ts:
                    yield revision_of(market, ids[market.ticker], known_at=market.settlement_ts)


def revision_of(market: MarketPayload, market_id: int, *, known_at: datetime) -> MarketRevision:
    return MarketRevision(
        market_id=market_id,
        known_at=known_at,
        recorded_at=datetime.now(UTC),
        status=market.status,
        result=market.result,
        settlement_value=market.settlement_value,
        settlement_ts=market.settlement_ts,
        open_time=market.open_time,
        close_time=market.close_time,
        expected_expiration_time=market.expected_expiration_time,
        price_ranges=msgspec.to_builtins(market.price_ranges),
    )


def missing_instants(now: datetime, hours: float) -> list[datetime]:
    """List the instants to record, which have no snapshot near them."""
    instants = (now - n * SPACING for n in range(1, int(timedelta(hours=hours) / SPACING) + 2))
    recorded = MarketSnapshot.objects.between
    return [at for at in instants if not recorded(at - SPACING / 2, at + SPACING / 2).exists()]


def _fetch_listings(instants: list[datetime]) -> Iterator[list[Page]]:
    """Yield the listing of each instant, and fetch the next one while the caller writes it."""
    coming: Future[list[Page]] | None = None
    with ThreadPoolExecutor(max_workers=1) as ahead:
        for instant, following in zip(instants, [*instants[1:], None], strict=False):
            listing = coming.result() if coming else fetch_open_events(instant)
            coming = ahead.submit(fetch_open_events, following) if following else None
            yield listing


def fetch_open_events(instant: datetime) -> list[Page]:
    """Fetch all open events as of an instant, which also serves as the time of the reply."""
    address = urlsplit(settings.KALSHI_API_URL)
    past = address._replace(path=f"/simulator/at/{int(instant.timestamp())}{address.path}")
    try:
        with KalshiClient(past.geturl()) as client:
            listing = pages(lambda cursor: client.events(status="open", cursor=cursor))
            return [replace(page, received_at=instant) for page in listing]
    except KalshiError as error:
        raise CommandError(f"The simulated exchange cannot serve its history: {error}") from None


def record_listing(listing: list[Page], log: DefinitionLog) -> int:
    batch = Batch()
    for page in listing:
        batch.see_events(page)
    log.add(batch.sightings.values())
    with transaction.atomic():
        return store_past(batch)
