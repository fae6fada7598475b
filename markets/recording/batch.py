"""A batch of parsed payloads, and how it is written to the database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec
from django.conf import settings

from markets import prices
from markets.kalshi import payloads, splitting
from markets.kalshi.client import Page
from markets.kalshi.drift import (
    DriftNote,
    find_drift,
    shape_drift,
    unanswered_drift,
    unknown_fields,
)
from markets.kalshi.errors import KalshiError
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
    Status,
)
from markets.models.fields import Quote
from markets.models.markets import MarketChange, MarketDefinition
from markets.models.snapshots import Observation
from markets.recording.pace import QUOTES_PER_DEFINITION
from markets.recording.scope import EVERYTHING, RecordedScope

REJECTS_KEPT = 5
REJECT_LENGTH = 4_000
# The last one counts.
LISTED_TWICE = msgspec.ValidationError("one reply has it twice, and differently - at `$.ticker`")


@dataclass(slots=True)
class ObservedMarket:
    """One market as one response showed it."""

    raw: msgspec.Raw
    quote: QuotePayload
    observed_at: datetime


@dataclass(slots=True)
class Batch:
    """Payloads that are parsed and not yet written. The latest observation of a market counts."""

    observed: dict[str, ObservedMarket] = field(default_factory=dict)
    events: dict[str, EventPayload] = field(default_factory=dict)
    # Markets that were requested by ticker and that neither tier of the exchange has, and when.
    unlisted: dict[str, datetime] = field(default_factory=dict)
    # Markets that were added since the last comparison with the record; of the others, what must
    # be written, and the work that this is (see `pace`).
    uncompared: set[str] = field(default_factory=set)
    # Markets of which this run has seen two quotes: the later one is written, also where it is
    # the one on record, since pages say that the earlier one's instant was an observation.
    requoted: set[str] = field(default_factory=set)
    changes: dict[str, MarketChange] = field(default_factory=dict)
    work: int = 0
    pages: int = 0
    markets: int = 0
    observed_from: datetime | None = None
    rejected: int = 0
    rejects: list[dict[str, str]] = field(default_factory=list)
    rejects_kept: int = REJECTS_KEPT
    drift_notes: list[DriftNote] = field(default_factory=list)
    # What the newest page showed: its events of which a market was read, or its markets.
    shown: list[str] = field(default_factory=list)
    scope: RecordedScope = EVERYTHING

    def add_events_page(self, page: Page) -> list[str]:
        """Parse a page of events with their markets; return the tickers of what was rejected."""
        self.pages += 1
        rejected, shown = [], []
        parsed = [(raw, *read_event(raw)) for raw in page.items]
        inside = self.scope.select(
            [event for _, event, _ in parsed if isinstance(event, EventPayload)]
        )
        for raw, event, markets in parsed:
            self.shown = []
            if isinstance(event, EventPayload):
                ticker = event.ticker
                if ticker not in inside:
                    continue
                self.events[ticker] = event
            else:
                ticker = self.reject("event", raw, event)
                # Of an event that is on record the markets go on without its new definition.
                rejected += [] if markets else [ticker]
            rejected += self._add_markets(markets, page.received_at)
            shown += [ticker] if self.shown else []
        self.shown = shown
        # One sample of each kind per page is enough: a changed contract shows in every payload.
        self.check_drift("event", page.items[:1])
        self.check_drift("market", self._first_market(page.items[:1]))
        return rejected

    def add_markets_page(self, page: Page) -> list[str]:
        """Parse a page of markets; return the tickers of what was rejected."""
        self.pages += 1
        self.shown = []
        self.check_drift("market", page.items[:1])
        return self._add_markets(page.items, page.received_at)

    def event_tickers(self) -> set[str]:
        return {market.quote.event_ticker for market in self.observed.values()}

    def check_drift(self, kind: str, raws: Iterable[msgspec.Raw]) -> None:
        for raw in raws:
            self.drift_notes += find_drift(kind, raw)

    def _first_market(self, events: Sequence[msgspec.Raw]) -> Sequence[msgspec.Raw]:
        return [raw for event in events for raw in read_event(event)[1][:1]]

    def _add_markets(self, raws: Sequence[msgspec.Raw], observed_at: datetime) -> list[str]:
        rejected = []
        for raw in raws:
            try:
                quote = payloads.quote(raw)
            except msgspec.MsgspecError as reason:
                rejected.append(self.reject("market", raw, reason))
                continue
            if self.scope.excludes(quote.event_ticker, market=quote.ticker):
                continue
            self.markets += 1
            self.shown.append(quote.ticker)
            self.observed_from = min(self.observed_from or observed_at, observed_at)
            known = self.observed.get(quote.ticker)
            if known and known.observed_at == observed_at and known.quote != quote:
                self.drift_notes.append(shape_drift("market", LISTED_TWICE, raw=raw))
            if known is None or known.observed_at <= observed_at:
                if known and known.quote.quote_mark != quote.quote_mark:
                    self.requoted.add(quote.ticker)
                self.observed[quote.ticker] = ObservedMarket(raw, quote, observed_at)
                self.uncompared.add(quote.ticker)
        return rejected

    def reject(self, kind: str, raw: msgspec.Raw | bytes, reason: msgspec.MsgspecError) -> str:
        """Count an unreadable payload and keep the first few; return its ticker, "" if none."""
        ticker = payloads.ticker_of(raw)
        self.rejected += 1
        self.drift_notes.append(shape_drift(kind, reason, raw=raw))
        if len(self.rejects) < self.rejects_kept:
            # PostgreSQL refuses JSON with a NUL.
            text = bytes(raw)[:REJECT_LENGTH].decode(errors="replace").replace("\0", "")
            self.rejects.append({"ticker": ticker, "reason": str(reason), "payload": text})
        return ticker

    def reject_unanswered(self, kind: str, ticker: str, error: KalshiError) -> str:
        """Count an object that no request with it is answered for; return its ticker."""
        self.rejected += 1
        self.drift_notes.append(unanswered_drift(kind, f"{ticker}: {error}"))
        if len(self.rejects) < self.rejects_kept:
            self.rejects.append({"ticker": ticker, "reason": str(error), "payload": ""})
        return ticker


def read_event(
    raw: msgspec.Raw,
) -> tuple[EventPayload | msgspec.MsgspecError, Sequence[msgspec.Raw]]:
    """Return an event, or why it cannot be read, and its markets, each readable or not."""
    try:
        event = payloads.event(raw)
    except msgspec.MsgspecError as fault:
        try:
            own, markets = splitting.split_off(raw, "markets")
        except msgspec.DecodeError:
            return fault, ()
        try:
            return payloads.event(own), markets
        except msgspec.MsgspecError as reason:
            return reason, markets
    return event, event.markets


def store(batch: Batch) -> int:
    """Write what changed: definitions, snapshots with the newest quotes, drift.

    To be called inside a transaction. Returns the number of new snapshots.
    """
    now = datetime.now(UTC)
    written = write_changes(batch, now) if batch.observed else 0
    write_unlisted(batch, now)
    Drift.objects.note(batch.drift_notes, at=now)
    return written


def compare(batch: Batch) -> None:
    """Find out what must be written of the markets that were added since the last comparison."""
    added = {ticker: batch.observed[ticker] for ticker in batch.uncompared}
    if not added:
        return
    for ticker in added:
        # An earlier observation of the same run may have been a change.
        batch.changes.pop(ticker, None)
    changes = Market.objects.changes(
        [(t, mark_of(batch, m.quote), m.quote.definition_mark) for t, m in added.items()],
        at=max(market.observed_at for market in added.values()),
        hot_heartbeat=timedelta(seconds=settings.HOT_HEARTBEAT),
        heartbeat=timedelta(seconds=settings.HEARTBEAT),
    )
    batch.uncompared.clear()
    batch.changes |= {change.ticker: change for change in changes}
    batch.work = sum(map(work_of, batch.changes.values()))


def mark_of(batch: Batch, quote: QuotePayload) -> int:
    """Return the mark of a quote, or one that is not on record, if it must be written anyway."""
    return ~quote.quote_mark if quote.ticker in batch.requoted else quote.quote_mark


def work_of(change: MarketChange) -> int:
    return (not change.is_defined) * QUOTES_PER_DEFINITION + (not change.is_quoted)


def write_changes(batch: Batch, now: datetime) -> int:
    compare(batch)
    changes = batch.changes.values()
    grids = {
        change.ticker: parse_price_ranges(change.price_ranges) for change in changes if change.id
    }
    ids = {change.ticker: change.id for change in changes if change.id}
    # All writers of definitions use the order of tickers, so that they cannot deadlock.
    undefined = sorted(change.ticker for change in changes if not change.is_defined)
    definitions = parse_definitions(batch, undefined)
    grids |= {d.payload.ticker: d.payload.price_ranges for d in definitions}
    ids |= write_definitions(batch, definitions, now)
    observations = [
        make_observation(batch.observed[change.ticker], ids[change.ticker], grids[change.ticker])
        for change in changes
        if not change.is_quoted and change.ticker in ids
    ]
    return MarketSnapshot.objects.record(
        observations,
        source=Source.POLL,
        recorded_at=now,
        keep_payloads=settings.RAW_PAYLOAD_HOURS > 0,
    )


def write_unlisted(batch: Batch, now: datetime) -> None:
    """Record that markets which were open are no longer known to the exchange."""
    if batch.unlisted:
        ids = Market.objects.unlist(batch.unlisted.keys() - batch.observed.keys(), at=now)
        known = {ids[ticker]: batch.unlisted[ticker] for ticker in ids}
        MarketRevision.objects.append_current(known, at=now)


def store_past(batch: Batch) -> int:
    """Write observations of the past: every one as a snapshot, definitions of new markets only.

    To be called inside a transaction. Returns the number of new snapshots.
    """
    now = datetime.now(UTC)
    ids = Market.objects.ids(batch.observed)
    unknown = [ticker for ticker in batch.observed if ticker not in ids]
    ids |= write_definitions(batch, parse_definitions(batch, unknown), now)
    grids = Market.objects.grids(ids.values())
    observations = [
        make_observation(market, ids[ticker], parse_price_ranges(grids[ids[ticker]]))
        for ticker, market in batch.observed.items()
        if ticker in ids
    ]
    return MarketSnapshot.objects.record(observations, source=Source.BACKFILL, recorded_at=now)


def write_definitions(
    batch: Batch, definitions: Sequence[MarketDefinition], now: datetime
) -> dict[str, int]:
    """Write new and changed events and markets with their revisions.

    Returns the ids of these markets by ticker.
    """
    series = Series.objects.ids(event.series_ticker for event in batch.events.values())
    recorded = Event.objects.record(list(batch.events.values()), series=series, at=now)
    EventRevision.objects.append_current(recorded.changed, at=now)
    other_events = {d.payload.event_ticker for d in definitions} - recorded.ids.keys()
    events = recorded.ids | Event.objects.ids(other_events)
    # A market whose event is still unknown is left out; the universe's listing brings both.
    complete = [d for d in definitions if d.payload.event_ticker in events]
    ids = Market.objects.define(complete, events=events, at=now)
    known = {ids[d.payload.ticker]: batch.observed[d.payload.ticker].observed_at for d in complete}
    MarketRevision.objects.append_current(known, at=now)
    return ids


def parse_definitions(batch: Batch, tickers: Iterable[str]) -> list[MarketDefinition]:
    """Parse the definitions of observed markets; those that cannot be parsed are rejected."""
    definitions = []
    for ticker in tickers:
        market = batch.observed[ticker]
        try:
            payload = payloads.market(market.raw)
        except msgspec.MsgspecError as reason:
            batch.reject("market", market.raw, reason)
            continue
        batch.check_drift("market", [market.raw])
        mark = market.quote.definition_mark
        definitions.append(MarketDefinition(payload, market.raw, mark))
    return definitions


def make_observation(
    market: ObservedMarket, market_id: int, ranges: Sequence[prices.PriceRange]
) -> Observation:
    quote = market.quote
    trading = quote.status == Status.ACTIVE
    return Observation(
        market_id=market_id,
        timestamp=market.observed_at,
        quote=Quote(*(getattr(quote, column) for column in Quote._fields)),
        quality=int(prices.quality(quote.yes_bid, quote.yes_ask, ranges, trading=trading)),
        volume_24h=quote.volume_24h,
        previous_price=quote.previous_price,
        quote_mark=quote.quote_mark,
        payload=market.raw,
        raw_data=unknown_fields("market", market.raw) or None,
    )


@lru_cache(maxsize=1000)
def parse_price_ranges(text: str) -> tuple[prices.PriceRange, ...]:
    return msgspec.json.decode(text, type=tuple[prices.PriceRange, ...])
