"""The history that the demo shows when it starts."""

import sys
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

from kalshi_insights.commands import ProgressBar
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, pages, ticker_batches
from markets.kalshi.errors import KalshiError
from markets.kalshi.payloads import MarketPayload
from markets.models import Market, MarketRevision, MarketSnapshot, Status
from markets.recording.batch import Batch, ObservedMarket, store_past

# A hundred snapshots a day, and a few more for markets that pause in between.
SPACING = timedelta(minutes=13)


class Command(BaseCommand):
    help = (
        "Record the last hours of the simulated exchange, the newest first. Instants that are"
        " recorded already are skipped. Safe to run beside the live recorder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hours", type=float, default=24, help="how far back (24)")

    def handle(self, *, hours: float, **options: object) -> None:
        if not settings.SIMULATED:
            raise CommandError("Only the simulated exchange can be asked for its history.")
        instants = missing_instants(datetime.now(UTC).replace(microsecond=0), hours)
        written, listed = 0, ListedDefinitions()
        with ProgressBar(sys.stderr) as bar:
            for done, listing in enumerate(_fetch_listings(instants), start=1):
                written += record_listing(listing, listed)
                bar.update(done / len(instants), f"{written:,} snapshots")
        self.stdout.write(f"{len(instants)} instants, {written:,} snapshots")
        MarketRevision.objects.add([*listed.revisions(), *settlement_revisions(listed)])


@dataclass
class ListedDefinitions:
    """The definitions of each market, the newest first, each with its first instant."""

    definitions: dict[str, list[tuple[int, MarketPayload]]] = field(default_factory=dict)
    since: dict[tuple[str, int], datetime] = field(default_factory=dict)

    def add(self, markets: Iterable[ObservedMarket]) -> None:
        for market in markets:
            ticker, mark = market.quote.ticker, market.quote.definition_mark
            definitions = self.definitions.setdefault(ticker, [])
            if not definitions or definitions[-1][0] != mark:
                definitions.append((mark, payloads.market(market.raw)))
            self.since[ticker, mark] = market.observed_at

    def revisions(self) -> Iterator[MarketRevision]:
        ids = Market.objects.ids(self.definitions)
        for ticker, definitions in self.definitions.items():
            for mark, market in definitions if ticker in ids else ():
                yield revision_of(market, ids[ticker], known_at=self.since[ticker, mark])


def settlement_revisions(listed: ListedDefinitions) -> Iterator[MarketRevision]:
    """The results of those markets that are settled by now, known from their settlement on."""
    ids = Market.objects.ids(listed.definitions)
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
    """The instants around which no snapshot is recorded."""
    instants = (now - n * SPACING for n in range(1, int(timedelta(hours=hours) / SPACING) + 2))
    recorded = MarketSnapshot.objects.between
    return [at for at in instants if not recorded(at - SPACING / 2, at + SPACING / 2).exists()]


def _fetch_listings(instants: list[datetime]) -> Iterator[list[Page]]:
    """Every listing; the next one is fetched while one is written."""
    coming: Future[list[Page]] | None = None
    with ThreadPoolExecutor(max_workers=1) as ahead:
        for instant, following in zip(instants, [*instants[1:], None], strict=False):
            listing = coming.result() if coming else fetch_open_events(instant)
            coming = ahead.submit(fetch_open_events, following) if following else None
            yield listing


def fetch_open_events(instant: datetime) -> list[Page]:
    """All open events at an instant, which also stands for the time of the reply."""
    address = urlsplit(settings.KALSHI_API_URL)
    past = address._replace(path=f"/simulator/at/{int(instant.timestamp())}{address.path}")
    try:
        with KalshiClient(past.geturl()) as client:
            listing = pages(lambda cursor: client.events(status="open", cursor=cursor))
            return [replace(page, received_at=instant) for page in listing]
    except KalshiError as error:
        raise CommandError(f"The simulated exchange did not return its history: {error}") from None


def record_listing(listing: list[Page], listed: ListedDefinitions) -> int:
    batch = Batch()
    for page in listing:
        batch.add_events_page(page)
    listed.add(batch.observed.values())
    with transaction.atomic():
        return store_past(batch)
