"""What responses showed of markets and events, and how it goes on record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec
from django.conf import settings

from markets import prices
from markets.kalshi import drift, payloads
from markets.kalshi.client import Page
from markets.kalshi.payloads import EventPayload, QuotePayload
from markets.models import (
    Drift,
    Event,
    EventRevision,
    Market,
    MarketRevision,
    MarketSnapshot,
    Series,
    Source,
)
from markets.models.fields import Quote
from markets.models.markets import OPEN_STATUSES, MarketDefinition, Status
from markets.models.snapshots import Observation

REJECTS_KEPT = 5
REJECT_LENGTH = 4_000


@dataclass(slots=True)
class Sighting:
    """One market as one response showed it."""

    raw: msgspec.Raw
    quote: QuotePayload
    at: datetime


@dataclass(slots=True)
class Batch:
    """Payloads read and not yet written. Of two sightings of a market the later one counts."""

    sightings: dict[str, Sighting] = field(default_factory=dict)
    events: dict[str, EventPayload] = field(default_factory=dict)
    # Markets that were asked for by name and that no tier knew, and when.
    gone: dict[str, datetime] = field(default_factory=dict)
    pages: int = 0
    markets: int = 0
    rejected: int = 0
    rejects: list[dict[str, str]] = field(default_factory=list)
    drifted: list[drift.Drift] = field(default_factory=list)

    def see_events(self, page: Page) -> list[str]:
        """Read a page of events with their markets; returns the tickers of what was refused."""
        self.pages += 1
        refused = []
        for raw in page.items:
            try:
                event = payloads.event(raw)
            except msgspec.MsgspecError as reason:
                refused.append(self.reject("event", raw, reason))
                continue
            self.events[event.ticker] = event
            refused += self._see(event.markets, page.received_at)
        # One of each kind a page: whatever befalls the exchange's words befalls all alike.
        self.look_for_drift("event", page.items[:1])
        self.look_for_drift("market", self._first_market(page.items[:1]))
        return refused

    def see_markets(self, page: Page) -> list[str]:
        """Read a page of markets; returns the tickers of what was refused."""
        self.pages += 1
        self.look_for_drift("market", page.items[:1])
        return self._see(page.items, page.received_at)

    def events_of_the_past(self) -> set[str]:
        """Tickers of the events whose markets here have been open and are no longer."""
        return {
            seen.quote.event_ticker
            for seen in self.sightings.values()
            if seen.quote.status not in (*OPEN_STATUSES, Status.INITIALIZED)
        }

    def look_for_drift(self, kind: str, raws: Iterable[msgspec.Raw]) -> None:
        for raw in raws:
            self.drifted += drift.drift(kind, raw)

    def _first_market(self, events: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
        try:
            return [raw for event in events for raw in payloads.event(event).markets[:1]]
        except msgspec.MsgspecError:
            return []

    def _see(self, raws: Sequence[msgspec.Raw], at: datetime) -> list[str]:
        refused = []
        for raw in raws:
            try:
                quote = payloads.quote(raw)
            except msgspec.MsgspecError as reason:
                refused.append(self.reject("market", raw, reason))
                continue
            self.markets += 1
            known = self.sightings.get(quote.ticker)
            if known is None or known.at <= at:
                self.sightings[quote.ticker] = Sighting(raw, quote, at)
        return refused

    def reject(self, kind: str, raw: msgspec.Raw, reason: msgspec.MsgspecError) -> str:
        """Count nonsense and keep the first of it for a look. Returns its ticker, if it has one."""
        ticker = payloads.ticker_of(raw)
        self.rejected += 1
        self.drifted.append(drift.shape_drift(kind, reason, raw=raw))
        if len(self.rejects) < REJECTS_KEPT:
            text = bytes(raw)[:REJECT_LENGTH].decode(errors="replace")
            self.rejects.append({"ticker": ticker, "reason": str(reason), "payload": text})
        return ticker


def store(batch: Batch) -> int:
    """Write what is news: definitions that changed, snapshots, newest quotes, drift.

    To be called inside a transaction. Returns how many snapshots were new.
    """
    now = datetime.now(UTC)
    written = record_news(batch, now) if batch.sightings else 0
    unlist(batch, now)
    Drift.objects.note(batch.drifted, at=now)
    return written


def record_news(batch: Batch, now: datetime) -> int:
    news = Market.objects.news(
        [(t, s.quote.quote_mark, s.quote.definition_mark) for t, s in batch.sightings.items()],
        at=max(sighting.at for sighting in batch.sightings.values()),
        hot_heartbeat=timedelta(seconds=settings.HOT_HEARTBEAT),
        heartbeat=timedelta(seconds=settings.HEARTBEAT),
    )
    grids = {item.ticker: grid(item.price_ranges) for item in news if item.id}
    ids = {item.ticker: item.id for item in news if item.id}
    # In one order for all who write definitions, so that none waits for another in a ring.
    changed = sorted(item.ticker for item in news if not item.is_defined)
    definitions = readable_definitions(batch, changed)
    grids |= {d.payload.ticker: d.payload.price_ranges for d in definitions}
    ids |= define(batch, definitions, now)
    observations = [
        observation(batch.sightings[item.ticker], ids[item.ticker], grids[item.ticker])
        for item in news
        if not item.is_quoted and item.ticker in ids
    ]
    return MarketSnapshot.objects.record(
        observations,
        source=Source.POLL,
        recorded_at=now,
        keep_payloads=settings.RAW_PAYLOAD_HOURS > 0,
    )


def unlist(batch: Batch, now: datetime) -> None:
    """Put on record that markets which were open are known to no tier of the exchange."""
    if batch.gone:
        ids = Market.objects.unlist(batch.gone.keys() - batch.sightings.keys(), at=now)
        MarketRevision.objects.take({ids[t]: batch.gone[t] for t in ids}, at=now)


def store_past(batch: Batch) -> int:
    """Write sightings of the past: all of them as snapshots, definitions only of new markets.

    To be called inside a transaction. Returns how many snapshots were new.
    """
    now = datetime.now(UTC)
    ids = Market.objects.ids(batch.sightings)
    unknown = [ticker for ticker in batch.sightings if ticker not in ids]
    ids |= define(batch, readable_definitions(batch, unknown), now)
    grids = Market.objects.grids(ids.values())
    observations = [
        observation(sighting, ids[ticker], grid(grids[ids[ticker]]))
        for ticker, sighting in batch.sightings.items()
        if ticker in ids
    ]
    return MarketSnapshot.objects.record(observations, source=Source.BACKFILL, recorded_at=now)


def define(batch: Batch, definitions: Sequence[MarketDefinition], now: datetime) -> dict[str, int]:
    """Write new and changed events and markets with their revisions.

    Returns the ids of these markets by ticker.
    """
    series = Series.objects.ids(event.series_ticker for event in batch.events.values())
    recorded = Event.objects.record(list(batch.events.values()), series=series, at=now)
    EventRevision.objects.take(recorded.changed, at=now)
    elsewhere = {d.payload.event_ticker for d in definitions} - recorded.ids.keys()
    events = recorded.ids | Event.objects.ids(elsewhere)
    # A market whose event is not on record yet comes again with it, by the universe's walk.
    placed = [d for d in definitions if d.payload.event_ticker in events]
    ids = Market.objects.define(placed, events=events, at=now)
    seen = {ids[d.payload.ticker]: batch.sightings[d.payload.ticker].at for d in placed}
    MarketRevision.objects.take(seen, at=now)
    return ids


def readable_definitions(batch: Batch, tickers: Iterable[str]) -> list[MarketDefinition]:
    readable = []
    for ticker in tickers:
        sighting = batch.sightings[ticker]
        try:
            payload = payloads.market(sighting.raw)
        except msgspec.MsgspecError as reason:
            batch.reject("market", sighting.raw, reason)
            continue
        batch.look_for_drift("market", [sighting.raw])
        mark = sighting.quote.definition_mark
        readable.append(MarketDefinition(payload, sighting.raw, mark))
    return readable


def observation(
    sighting: Sighting, market_id: int, ranges: Sequence[prices.PriceRange]
) -> Observation:
    seen = sighting.quote
    return Observation(
        market_id=market_id,
        timestamp=sighting.at,
        quote=Quote(*(getattr(seen, column) for column in Quote._fields)),
        quality=int(
            prices.quality(seen.yes_bid, seen.yes_ask, ranges, trading=seen.status == "active")
        ),
        volume_24h=seen.volume_24h,
        previous_price=seen.previous_price,
        quote_mark=seen.quote_mark,
        payload=sighting.raw,
    )


@lru_cache(maxsize=1000)
def grid(price_ranges: str) -> tuple[prices.PriceRange, ...]:
    return msgspec.json.decode(price_ranges, type=tuple[prices.PriceRange, ...])
