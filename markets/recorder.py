"""The recorder: due work, fetched, parsed, written, and accounted for.

One tick observes the hot list, the changes of definitions, whatever awaits settlement and a
slice of the whole open universe, then writes all of it in one transaction. None is open while
the exchange is being asked. Two recorders cannot run at once, and a killed one leaves nothing
half written.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec
import structlog
from django.conf import settings
from django.db import connection, transaction

from markets import prices
from markets.kalshi import payloads
from markets.kalshi.client import (
    KalshiClient,
    KalshiError,
    OutOfTokens,
    Page,
    Refused,
    Unintelligible,
    ticker_batches,
)
from markets.kalshi.payloads import EventPayload, QuotePayload
from markets.kalshi.signing import Signer
from markets.kalshi.tokens import TokenBucket
from markets.models import Event, Market, MarketSnapshot, Poll, Series, Source, Sweep, Tier
from markets.querysets import MarketDefinition, MarketQuerySet, Observation, Quote

log = structlog.get_logger(__name__)

# Any number will do that nothing else in this database locks by.
RECORDER_LOCK = 7_204_116
# The share of the interval spent asking the exchange; the rest is for writing.
FETCH_SHARE = 0.6
ABANDON_AFTER = timedelta(minutes=10)
UPDATES_EVERY = SETTLEMENT_EVERY = timedelta(seconds=30)
CENSUS_EVERY = timedelta(minutes=1)
UPDATES_OVERLAP = timedelta(minutes=1)
SERIES_EVERY = timedelta(hours=1)
NEW_SERIES_EVERY = timedelta(minutes=5)
NAMED_BATCH = 200
REJECTS_KEPT = 5
REJECT_LENGTH = 4_000


@lru_cache(maxsize=1)
def kalshi_client() -> KalshiClient:
    """The configured client, one for each process so that its connections stay open."""
    signer = None
    if settings.KALSHI_API_KEY_ID:
        signer = Signer.from_file(settings.KALSHI_API_KEY_ID, settings.KALSHI_PRIVATE_KEY_PATH)
    bucket = TokenBucket.from_url(settings.REDIS_URL, rate=settings.KALSHI_RATE)
    return KalshiClient(settings.KALSHI_API_URL, signer=signer, bucket=bucket)


@contextmanager
def recorder_lock() -> Iterator[bool]:
    """Whether this process is the only recorder, for as long as the block runs.

    The lock lives on a connection of its own: a session's lock is re-entrant and would leak
    through a pooled or shared one. It dies with the process, however that ends.
    """
    own = connection.copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [RECORDER_LOCK])
            yield cursor.fetchone()[0]
    finally:
        own.close()


def record_tick(client: KalshiClient, *, interval: float) -> Poll | None:
    """Run one tick; None where its slot is taken or another recorder is at work."""
    with recorder_lock() as alone:
        poll = Poll.objects.claim(interval=interval) if alone else None
        if poll is not None:
            run(poll, client, interval=interval)
        return poll


def run(poll: Poll, client: KalshiClient, *, interval: float) -> None:
    """The edge of the poll loop: whatever happens, the ledger says so."""
    began = time.monotonic()
    tick = Tick(client, deadline=began + interval * FETCH_SHARE)
    before = (client.requests, client.bytes_received, client.throttled)
    client.deadline = tick.deadline
    try:
        gather(tick, poll)
        with transaction.atomic():
            poll.snapshots = store(tick.batch)
            finish_sweeps(tick.sweeps)
            close_books(poll, tick, before=before, began=began)
    except Exception as error:
        log.exception("tick failed", poll=poll.pk)
        # The connection may be what failed.
        connection.close_if_unusable_or_obsolete()
        poll.error = f"{type(error).__name__}: {error}"
        poll.snapshots = 0
        close_books(poll, tick, before=before, began=began)


def close_books(poll: Poll, tick: "Tick", *, before: tuple[int, int, int], began: float) -> None:
    poll.requests = tick.client.requests - before[0]
    poll.bytes = tick.client.bytes_received - before[1]
    poll.throttled = tick.client.throttled - before[2]
    poll.pages = tick.batch.pages
    poll.markets = tick.batch.markets
    poll.rejected = tick.batch.rejected
    poll.rejects = tick.batch.rejects
    # Monotonic: a stepping clock cannot make a run end before it began.
    poll.finished_at = poll.started_at + timedelta(seconds=time.monotonic() - began)
    poll.save()


# --- what a run gathers -------------------------------------------------------------------------


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
    pages: int = 0
    markets: int = 0
    rejected: int = 0
    rejects: list[dict[str, str]] = field(default_factory=list)

    def see_events(self, page: Page) -> list[str]:
        """Read a page of events with their markets; returns the tickers of what was refused."""
        self.pages += 1
        refused = []
        for raw in page.items:
            try:
                event = payloads.event(raw)
            except msgspec.MsgspecError as reason:
                refused.append(self.reject(raw, reason))
                continue
            self.events[event.ticker] = event
            refused += self._see(event.markets, page.received_at)
        return refused

    def see_markets(self, page: Page) -> list[str]:
        """Read a page of markets; returns the tickers of what was refused."""
        self.pages += 1
        return self._see(page.items, page.received_at)

    def _see(self, raws: Sequence[msgspec.Raw], at: datetime) -> list[str]:
        refused = []
        for raw in raws:
            try:
                quote = payloads.quote(raw)
            except msgspec.MsgspecError as reason:
                refused.append(self.reject(raw, reason))
                continue
            self.markets += 1
            self.sightings[quote.ticker] = Sighting(raw, quote, at)
        return refused

    def reject(self, raw: msgspec.Raw, reason: msgspec.MsgspecError) -> str:
        """Count nonsense and keep the first of it for a look. Returns its ticker, if it has one."""
        ticker = payloads.ticker_of(raw)
        self.rejected += 1
        if len(self.rejects) < REJECTS_KEPT:
            text = bytes(raw)[:REJECT_LENGTH].decode(errors="replace")
            self.rejects.append({"ticker": ticker, "reason": str(reason), "payload": text})
        return ticker


@dataclass(slots=True)
class Tick:
    client: KalshiClient
    deadline: float
    batch: Batch = field(default_factory=Batch)
    sweeps: list[Sweep] = field(default_factory=list)

    def has_time(self) -> bool:
        return time.monotonic() < self.deadline

    def sweep(self, tier: Tier, *, every: timedelta) -> Sweep | None:
        """The tier's pass to go on with, or a new one where it is due, or None."""
        begun = next((s for s in reversed(self.sweeps) if s.tier == tier), None)
        if begun:
            return begun if begun.finished_at is None else None
        now = datetime.now(UTC)
        newest = Sweep.objects.newest(tier)
        if newest and newest.finished_at is None:
            if now - newest.started_at < ABANDON_AFTER:
                self.sweeps.append(newest)
                return newest
            newest.finished_at = now
            self.sweeps.append(newest)
        elif newest and now - newest.started_at < every:
            return None
        begun = Sweep(tier=tier, started_at=now)
        self.sweeps.append(begun)
        return begun

    def give_up(self, tier: Tier) -> None:
        """End the tier's pass incomplete: where it was to go on, it cannot."""
        for sweep in self.sweeps:
            if sweep.tier == tier and sweep.finished_at is None:
                sweep.finished_at = datetime.now(UTC)


# --- fetch --------------------------------------------------------------------------------------


def gather(tick: Tick, poll: Poll) -> None:
    """Ask for whatever is due, tier by tier; one tier's failure does not cost the others.

    Quotes come by the hot list and the universe: what goes wrong there is the run's error.
    """
    tiers = {
        Tier.HOT: observe_hot,
        Tier.UPDATES: follow_updates,
        Tier.SETTLEMENT: await_settlement,
        Tier.CENSUS: take_census,
        Tier.UNIVERSE: walk_universe,
    }
    failures: dict[Tier, str] = {}
    for tier, ask in tiers.items():
        try:
            ask(tick)
        except (Refused, Unintelligible) as error:
            tick.give_up(tier)
            failures[tier] = f"{tier}: {error}"
        except KalshiError as error:
            failures[tier] = f"{tier}: {error}"
    missing = [failures.pop(tier) for tier in (Tier.HOT, Tier.UNIVERSE) if tier in failures]
    poll.error, poll.warning = "; ".join(missing), "; ".join(failures.values())


def observe_hot(tick: Tick) -> None:
    """Every hot market, every tick."""
    tickers = Market.objects.hot_tickers()
    if not tickers:
        return
    sweep = Sweep(tier=Tier.HOT, started_at=datetime.now(UTC))
    for batch in ticker_batches(tickers):
        page = tick.client.markets(tickers=batch)
        tick.batch.see_markets(page)
        absent = [ticker for ticker in batch if ticker not in tick.batch.sightings]
        sweep.absorb(markets=len(page.items), skipped=absent, cursor="")
    sweep.finish(datetime.now(UTC))
    tick.sweeps.append(sweep)


def follow_updates(tick: Tick) -> None:
    """Definitions that changed since the last time: one listing, of metadata only."""
    last = Sweep.objects.newest_complete(Tier.UPDATES)
    sweep = tick.sweep(Tier.UPDATES, every=UPDATES_EVERY)
    if sweep is None:
        return
    since = (last or sweep).started_at - UPDATES_OVERLAP
    while tick.has_time() and sweep.finished_at is None:
        page = tick.client.markets(
            min_updated_ts=int(since.timestamp()), mve_filter="exclude", cursor=sweep.cursor
        )
        advance(sweep, page, refused=tick.batch.see_markets(page), markets=len(page.items))


def await_settlement(tick: Tick) -> None:
    """Markets past their close whose end is not on record."""
    due = Market.objects.awaiting_settlement(at=datetime.now(UTC))
    while tick.has_time() and ask_by_name(tick, Tier.SETTLEMENT, due, every=SETTLEMENT_EVERY):
        pass


def take_census(tick: Tick) -> None:
    """A few of the markets that are open as far as we know: listings end without a word."""
    ask_by_name(tick, Tier.CENSUS, Market.objects.open(), every=CENSUS_EVERY)


def ask_by_name(tick: Tick, tier: Tier, due: MarketQuerySet, *, every: timedelta) -> bool:
    """Ask for the next of these markets in order of id; whether there may be more of them."""
    sweep = tick.sweep(tier, every=every)
    if sweep is None:
        return False
    ids = dict(due.after(int(sweep.cursor or 0)).values_list("ticker", "id")[:NAMED_BATCH])
    if not ids:
        sweep.finish(datetime.now(UTC))
        return False
    asked = next(ticker_batches(list(ids)))
    absent = see_by_name(tick, asked)
    sweep.absorb(markets=len(asked), skipped=absent, cursor=str(ids[asked[-1]]))
    return True


def see_by_name(tick: Tick, tickers: Sequence[str]) -> list[str]:
    """Read these markets wherever they live now; returns those found nowhere."""
    page = tick.client.markets(tickers=tickers)
    refused = tick.batch.see_markets(page)
    gone = [t for t in tickers if t not in tick.batch.sightings and t not in refused]
    if gone:
        tick.batch.see_markets(tick.client.historical_markets(tickers=gone))
    return [ticker for ticker in tickers if ticker not in tick.batch.sightings]


def walk_universe(tick: Tick) -> None:
    """The next slice of every open event with its markets, as far as time and tokens reach."""
    sweep = tick.sweep(Tier.UNIVERSE, every=timedelta(seconds=settings.UNIVERSE_INTERVAL))
    while sweep and tick.has_time() and sweep.finished_at is None:
        try:
            page = tick.client.events(status="open", cursor=sweep.cursor)
        except OutOfTokens:
            return
        before = tick.batch.markets
        refused = tick.batch.see_events(page)
        advance(sweep, page, refused=refused, markets=tick.batch.markets - before)


def advance(sweep: Sweep, page: Page, *, refused: list[str], markets: int) -> None:
    sweep.absorb(markets=markets, skipped=refused, cursor=page.cursor)
    if not page.cursor:
        sweep.finish(datetime.now(UTC))


# --- write --------------------------------------------------------------------------------------


def store(batch: Batch) -> int:
    """Write what is news: definitions that changed, snapshots, newest quotes.

    To be called inside a transaction. Returns how many snapshots were new.
    """
    if not batch.sightings:
        return 0
    now = datetime.now(UTC)
    news = Market.objects.news(
        [(t, s.quote.quote_mark, s.quote.definition_mark) for t, s in batch.sightings.items()],
        at=max(sighting.at for sighting in batch.sightings.values()),
        hot_heartbeat=timedelta(seconds=settings.HOT_HEARTBEAT),
        heartbeat=timedelta(seconds=settings.HEARTBEAT),
    )
    grids = {item.ticker: grid(item.price_ranges) for item in news if item.id}
    ids = {item.ticker: item.id for item in news if item.id}
    changed = [item.ticker for item in news if not item.is_defined]
    definitions = readable_definitions(batch, changed)
    grids |= {d.payload.ticker: d.payload.price_ranges for d in definitions}
    ids |= define(batch, definitions, now)
    observations = [
        observation(batch.sightings[item.ticker], ids[item.ticker], grids[item.ticker])
        for item in news
        if not item.is_quoted and item.ticker in ids
    ]
    return MarketSnapshot.objects.record(observations, source=Source.POLL, recorded_at=now)


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
    """Write new and changed events and markets; returns the ids of these markets by ticker."""
    series = Series.objects.ids(event.series_ticker for event in batch.events.values())
    events = Event.objects.record(list(batch.events.values()), series=series, at=now)
    elsewhere = {d.payload.event_ticker for d in definitions} - events.keys()
    events |= Event.objects.ids(elsewhere)
    # A market whose event is not on record yet comes again with it, by the universe's walk.
    placed = [d for d in definitions if d.payload.event_ticker in events]
    return Market.objects.define(placed, events=events, at=now)


def readable_definitions(batch: Batch, tickers: Iterable[str]) -> list[MarketDefinition]:
    readable = []
    for ticker in tickers:
        sighting = batch.sightings[ticker]
        try:
            payload = payloads.market(sighting.raw)
        except msgspec.MsgspecError as reason:
            batch.reject(sighting.raw, reason)
            continue
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
        quality=int(prices.quality(seen.yes_bid, seen.yes_ask, ranges)),
        volume_24h=seen.volume_24h,
        previous_price=seen.previous_price,
        quote_mark=seen.quote_mark,
    )


@lru_cache(maxsize=1000)
def grid(price_ranges: str) -> tuple[prices.PriceRange, ...]:
    return msgspec.json.decode(price_ranges, type=tuple[prices.PriceRange, ...])


def finish_sweeps(sweeps: Sequence[Sweep]) -> None:
    for sweep in sweeps:
        sweep.save()
    if any(sweep.complete and sweep.tier == Tier.UNIVERSE for sweep in sweeps):
        Market.objects.choose_hot(settings.HOT_MARKETS, at=datetime.now(UTC))


# --- series -------------------------------------------------------------------------------------


def refresh_series(client: KalshiClient) -> int:
    """Read every series anew once an hour, sooner where one is known by name only.

    Returns how many were written; 0 where none was due.
    """
    now = datetime.now(UTC)
    last = Sweep.objects.newest_complete(Tier.SERIES)
    every = NEW_SERIES_EVERY if Series.objects.unread().exists() else SERIES_EVERY
    if last and now - last.started_at < every:
        return 0
    sweep = Sweep(tier=Tier.SERIES, started_at=now)
    client.deadline = None
    page = client.series_list()
    readable, refused = [], []
    for raw in page.items:
        try:
            readable.append(payloads.series(raw))
        except msgspec.MsgspecError:
            refused.append(payloads.ticker_of(raw))
    with transaction.atomic():
        sweep.absorb(markets=0, skipped=refused, cursor="")
        sweep.finish(datetime.now(UTC))
        sweep.save()
        return Series.objects.refresh(readable, at=page.received_at)
