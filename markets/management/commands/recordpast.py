"""The history that the demo shows when it starts."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Q

from kalshi_insights.commands import ProgressBar
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, pages, ticker_batches
from markets.kalshi.errors import KalshiError
from markets.kalshi.payloads import MarketPayload
from markets.models import (
    BackfillSpan,
    Market,
    MarketHour,
    MarketRevision,
    MarketSnapshot,
    Status,
)
from markets.recording.batch import Batch, store_past

# A hundred snapshots a day, and a few more for markets that pause in between.
SPACING = timedelta(minutes=13)
REFUSED_NAMED = 100
ALL = sys.maxsize
# The kind of the spans that hold what was refused of an instant.
PAST = "past"


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
        instants = instants_to_list(datetime.now(UTC).replace(microsecond=0), hours)
        written, listed = 0, ListedDefinitions()
        with ProgressBar(sys.stderr) as bar:
            for done, listing in enumerate(_fetch_listings(instants), start=1):
                is_last = done == len(instants)
                written += record_listing(listing, listed, is_last=is_last)
                bar.update(done / len(instants), f"{written:,} snapshots")
        MarketHour.objects.rebuild(now=datetime.now(UTC))
        self.stdout.write(f"{len(instants)} instants, {written:,} snapshots")
        for refused in listed.refused[:REFUSED_NAMED]:
            self.stderr.write(f"rejected: {refused}")
        if listed.refused:
            self.stderr.write(f"{len(listed.refused):,} rejected: run the same command again.")
        if listed.left_out:
            self.stderr.write(f"{listed.left_out:,} revisions differ from the record, which stays.")


@dataclass
class ListedDefinitions:
    """The oldest definition seen of each market, with the earliest instant that it was seen at.

    Listings come newest first, so a definition is complete once an older listing has another one.
    """

    oldest: dict[str, tuple[int, MarketPayload, datetime]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    left_out: int = 0  # revisions that the record has otherwise

    def add(self, batch: Batch) -> Iterator[tuple[MarketPayload, datetime]]:
        """Add the markets of a listing; yield the definitions that are complete by it."""
        for market in batch.observed.values():
            ticker, mark = market.quote.ticker, market.quote.definition_mark
            known = self.oldest.get(ticker)
            if known and known[0] == mark:
                self.oldest[ticker] = (mark, known[1], market.observed_at)
                continue
            try:
                definition = payloads.market(market.raw)
            except msgspec.MsgspecError as reason:
                batch.reject("market", market.raw, reason)
                continue
            if known:
                yield known[1], known[2]
            self.oldest[ticker] = (mark, definition, market.observed_at)

    def rest(self) -> Iterator[tuple[MarketPayload, datetime]]:
        for _, definition, since in self.oldest.values():
            yield definition, since

    def settlements(self) -> Iterator[tuple[MarketPayload, datetime]]:
        """Fetch the results of those markets that are settled by now, known from then on."""
        with KalshiClient(settings.KALSHI_API_URL) as client:
            for tickers in ticker_batches(sorted(self.oldest)):
                for raw in client.markets(tickers=tickers).items:
                    try:
                        market = payloads.market(raw)
                    except msgspec.MsgspecError as reason:
                        self.refused.append(f"{payloads.ticker_of(raw)}: {reason}")
                        continue
                    if market.status == Status.FINALIZED and market.settlement_ts:
                        yield market, market.settlement_ts


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


def instants_to_list(now: datetime, hours: float) -> list[datetime]:
    """Return the instants around which no snapshot is recorded or one was refused, newest first.

    The instant after each gap is among them: where an earlier run was cut off there, it has not
    recorded since when that instant's definitions held.
    """
    instants = [now - n * SPACING for n in range(1, int(timedelta(hours=hours) / SPACING) + 2)]
    recorded = MarketSnapshot.objects.between
    missing = [not recorded(at - SPACING / 2, at + SPACING / 2).exists() for at in instants]
    listed = {
        at
        for at, is_missing, is_next_missing in zip(
            instants, missing, [*missing[1:], False], strict=True
        )
        if is_missing or is_next_missing
    }
    refused = BackfillSpan.objects.refused().filter(kind=PAST, end__gte=instants[-1])
    return sorted(listed | set(refused.values_list("end", flat=True)), reverse=True)


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


def record_listing(listing: list[Page], listed: ListedDefinitions, *, is_last: bool) -> int:
    """Record a listing and the definitions that are complete by it; return its new snapshots."""
    batch = Batch(rejects_kept=ALL)
    for page in listing:
        batch.add_events_page(page)
    known = list(listed.add(batch))
    if is_last:
        known += [*listed.rest(), *listed.settlements()]
    at = listing[0].received_at
    with transaction.atomic():
        written = store_past(batch)
        ids = Market.objects.ids(definition.ticker for definition, _ in known)
        listed.left_out += MarketRevision.objects.add(
            revision_of(definition, ids[definition.ticker], known_at=since)
            for definition, since in known
            if definition.ticker in ids
        )
        reasons = {each["ticker"]: each["reason"] for each in batch.rejects}
        keep_open(reasons, batch.observed.keys() - reasons, at=at)
    listed.refused += [f"{ticker} {at:%Y-%m-%d %H:%M:%S}: {reasons[ticker]}" for ticker in reasons]
    return written


def keep_open(refused: Mapping[str, str], read: Iterable[str], *, at: datetime) -> None:
    """Leave an instant open for those markets on record that were refused, by event or market."""
    BackfillSpan.objects.refused().filter(kind=PAST, end=at, market__ticker__in=read).delete()
    of_these = Q(ticker__in=refused) | Q(event__ticker__in=refused)
    for market in Market.objects.filter(of_these).select_related("event"):
        reason = refused.get(market.ticker) or refused[market.event.ticker]
        BackfillSpan.objects.keep_open(
            BackfillSpan(market=market, kind=PAST, start=at - SPACING / 2, end=at, refusal=reason)
        )
