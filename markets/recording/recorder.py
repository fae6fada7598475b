"""The recorder: due work, fetched, parsed, written, and accounted for.

One tick observes the hot list, the changes of definitions, whatever awaits settlement, some
whole order books and a slice of the whole open universe, then writes all of it in one
transaction. None is open while the exchange is being asked. Two recorders cannot run at once,
and a killed one leaves nothing half written.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from kalshi_insights.token_bucket import TokenBucket
from markets.backfill.planning import see_events
from markets.coverage.freshness import percentiles
from markets.kalshi.client import (
    COST,
    KalshiClient,
    KalshiError,
    OutOfTokens,
    Page,
    Refused,
    Unintelligible,
    ticker_batches,
)
from markets.kalshi.payloads import ticker_of
from markets.kalshi.signing import Signer
from markets.models import HotPeriod, Market, OrderBookSnapshot, Poll, Sweep, Tier
from markets.models.markets import MarketQuerySet
from markets.models.order_books import SeenBook
from markets.recording.batch import Batch, store

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Any number will do that nothing else in this database locks by.
RECORDER_LOCK = 7_204_116
# Whose passes list the same markets in the same order again and again.
LISTED = (Tier.HOT, Tier.ORDER_BOOKS, Tier.UNIVERSE, Tier.COMBOS)
WALKED = (Tier.UNIVERSE, Tier.COMBOS)
# The share of the interval spent asking the exchange; the rest is for writing.
FETCH_SHARE = 0.6
# Enough to keep the exchange's answers coming while one is read.
CONNECTIONS = 4
ABANDON_AFTER = timedelta(minutes=10)
UPDATES_EVERY = SETTLEMENT_EVERY = STATUS_EVERY = timedelta(seconds=30)
CENSUS_EVERY = timedelta(minutes=1)
UPDATES_OVERLAP = timedelta(minutes=1)
NAMED_BATCH = 200
# So few may be gone all at once.
FEW = 10
# The share of the tokens that the hot list may take; the other tiers live on the rest.
HOT_SHARE = 0.5
# Books asked for in one tick: with a key a hundred come in one answer.
BOOKS_SINGLY, BOOKS_AT_ONCE = 5, 100


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
    through a pooled or shared one. It dies with the process, however that ends; but the server
    comes to the end of a closed connection in its own time, so the lock is given back first.
    """
    own = connection.copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [RECORDER_LOCK])
            alone = cursor.fetchone()[0]
            yield alone
            # A database that went away in the meantime has freed it already.
            with suppress(DatabaseError):
                if alone:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [RECORDER_LOCK])
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
    tick = Tick(client, poll, deadline=began + interval * FETCH_SHARE)
    before = (client.requests, client.bytes_received, client.throttled)
    client.deadline = tick.deadline
    try:
        gather(tick)
        with transaction.atomic():
            poll.snapshots = store(tick.batch)
            poll.order_books = OrderBookSnapshot.objects.record(tick.books)
            finish_sweeps(tick.sweeps)
            close_books(tick, before=before, began=began)
    except Exception as error:
        log.exception("tick failed", poll=poll.pk)
        # The connection may be what failed.
        connection.close_if_unusable_or_obsolete()
        poll.error = f"{type(error).__name__}: {error}"
        poll.snapshots = poll.order_books = 0
        close_books(tick, before=before, began=began)


def close_books(tick: "Tick", *, before: tuple[int, int, int], began: float) -> None:
    poll, client = tick.poll, tick.client
    poll.requests = client.requests - before[0]
    poll.bytes = client.bytes_received - before[1]
    poll.throttled = client.throttled - before[2]
    poll.pages = tick.batch.pages
    poll.markets = tick.batch.markets
    poll.rejected = tick.batch.rejected
    poll.rejects = tick.batch.rejects
    # Monotonic: a stepping clock cannot make a run end before it began.
    poll.finished_at = poll.started_at + timedelta(seconds=time.monotonic() - began)
    poll.save()


@dataclass(slots=True)
class Tick:
    """One run of the recorder, and what it has gathered."""

    client: KalshiClient
    poll: Poll
    deadline: float
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    batch: Batch = field(default_factory=Batch)
    books: list[SeenBook] = field(default_factory=list)
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
        # An age of less than nothing says nothing: the clock has stepped back.
        if newest and newest.finished_at is None:
            self.sweeps.append(newest)
            if timedelta(0) <= now - newest.last_page_at < ABANDON_AFTER:
                return newest
            newest.finished_at = now
        elif newest and timedelta(0) <= now - newest.started_at < every:
            return None
        return self.begin(tier)

    def begin(self, tier: Tier) -> Sweep:
        begun = Sweep(tier=tier, started_at=datetime.now(UTC))
        self.sweeps.append(begun)
        return begun

    def give_up(self, tier: Tier) -> None:
        """End the tier's pass incomplete: where it was to go on, it cannot."""
        for sweep in self.sweeps:
            if sweep.tier == tier and sweep.finished_at is None:
                sweep.finished_at = datetime.now(UTC)

    def at_once(self, asked: Sequence[Callable[[], T]]) -> list[T | KalshiError]:
        """What came of questions that do not depend on each other's answers, in their order."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(answer, asked))


def answer(ask: Callable[[], T]) -> T | KalshiError:
    try:
        return ask()
    except KalshiError as error:
        return error


# --- fetch --------------------------------------------------------------------------------------


def gather(tick: Tick) -> None:
    """Ask for whatever is due, tier by tier; one tier's failure does not cost the others.

    Quotes come by the hot list and the universe: what goes wrong there is the run's error.
    """
    tiers: dict[Tier, Callable[[Tick], None]] = {
        Tier.HOT: observe_hot,
        Tier.STATUS: ask_status,
        Tier.UPDATES: follow_updates,
        Tier.SETTLEMENT: await_settlement,
        Tier.CENSUS: take_census,
        Tier.ORDER_BOOKS: read_books,
        Tier.UNIVERSE: walk_universe,
        Tier.COMBOS: walk_combos,
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
    tick.poll.error, tick.poll.warning = "; ".join(missing), "; ".join(failures.values())
    note_ages(tick)


def note_ages(tick: Tick) -> None:
    """How old what was known of each tier's markets had become when this run saw them again."""
    for sweep in tick.sweeps:
        fresh = sweep.pages_since(tick.began_at)
        listed = sweep.tier in LISTED and fresh
        before = Sweep.objects.newest_complete(sweep.tier) if listed else None
        ages = percentiles(sweep.ages_against(before, of=fresh)) if before else {}
        if ages:
            tick.poll.ages[sweep.tier] = ages


def observe_hot(tick: Tick) -> None:
    """Every hot market, every tick."""
    tickers = Market.objects.hot_tickers()
    if not tickers:
        return
    sweep = tick.begin(Tier.HOT)
    batches = list(ticker_batches(tickers))
    found = tick.at_once([partial(tick.client.markets, tickers=batch) for batch in batches])
    for batch, page in zip(batches, found, strict=True):
        if isinstance(page, Page):
            tick.batch.see_markets(page)
            absent = [ticker for ticker in batch if ticker not in tick.batch.sightings]
            sweep.add_page(page.received_at, markets=len(page.items), skipped=absent, cursor="")
    failure = next((page for page in found if isinstance(page, KalshiError)), None)
    sweep.finish(datetime.now(UTC), complete=failure is None)
    if failure:
        raise failure


def ask_status(tick: Tick) -> None:
    """Whether the exchange and its trading are on, as it says itself."""
    sweep = tick.sweep(Tier.STATUS, every=STATUS_EVERY)
    if sweep is None:
        tick.poll.carry_over_status()
        return
    status = tick.client.exchange_status()
    tick.poll.exchange_active = status.exchange_active
    tick.poll.trading_active = status.trading_active
    sweep.finish(datetime.now(UTC))


def follow_updates(tick: Tick) -> None:
    """Definitions that changed since the last time: one listing, of metadata only."""
    last = Sweep.objects.newest_complete(Tier.UPDATES)
    sweep = tick.sweep(Tier.UPDATES, every=UPDATES_EVERY)
    if sweep is None:
        return
    since = int(((last or sweep).started_at - UPDATES_OVERLAP).timestamp())
    while tick.has_time() and sweep.finished_at is None:
        page = tick.client.markets(min_updated_ts=since, mve_filter="exclude", cursor=sweep.cursor)
        refused = tick.batch.see_markets(page)
        # Those of open markets come by the universe's walk; what came and went unseen does not.
        see_events(tick.client, tick.batch, tick.batch.events_of_the_past())
        advance(sweep, page, refused=refused, markets=len(page.items))


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
    cursor = str(ids[asked[-1]])
    sweep.add_page(datetime.now(UTC), markets=len(asked), skipped=absent, cursor=cursor)
    return True


def see_by_name(tick: Tick, tickers: Sequence[str]) -> list[str]:
    """Read these markets wherever they live now; returns those that could not be."""
    page = tick.client.markets(tickers=tickers)
    refused = tick.batch.see_markets(page)
    elsewhere = [t for t in tickers if t not in tick.batch.sightings and t not in refused]
    if elsewhere:
        page = tick.client.historical_markets(tickers=elsewhere)
        refused += tick.batch.see_markets(page)
    absent = [ticker for ticker in tickers if ticker not in tick.batch.sightings]
    gone = [ticker for ticker in absent if ticker not in refused]
    if is_believable(gone, asked=tickers, refused=refused):
        tick.batch.gone |= dict.fromkeys(gone, page.received_at)
    return absent


def is_believable(gone: Sequence[str], *, asked: Sequence[str], refused: Sequence[str]) -> bool:
    """Whether these are gone indeed: most of many at once are not, nor what may lack its name."""
    return "" not in refused and (len(asked) <= FEW or 2 * len(gone) <= len(asked))


def read_books(tick: Tick) -> None:
    """Whole books of the next hot markets, as many as one tick may ask for."""
    if not settings.ORDER_BOOK_MARKETS:
        return
    sweep = tick.sweep(Tier.ORDER_BOOKS, every=timedelta(0))
    if sweep is None or not tick.has_time():
        return
    signed = bool(tick.client.key_type)
    due = Market.objects.with_books(settings.ORDER_BOOK_MARKETS).after(int(sweep.cursor or 0))
    ids = dict(due.values_list("ticker", "id")[: BOOKS_AT_ONCE if signed else BOOKS_SINGLY])
    if not ids:
        sweep.finish(datetime.now(UTC))
        return
    seen = books_at_once(tick.client, ids) if signed else books_singly(tick, ids)
    tick.books += seen
    known = {book.market_id for book in seen}
    absent = [ticker for ticker, id in ids.items() if id not in known]
    cursor = str(max(ids.values()))
    sweep.add_page(datetime.now(UTC), markets=len(seen), skipped=absent, cursor=cursor)


def books_at_once(client: KalshiClient, ids: Mapping[str, int]) -> list[SeenBook]:
    books = client.order_books(list(ids))
    now = datetime.now(UTC)
    return [SeenBook(ids[ticker], now, book) for ticker, book in books.items() if ticker in ids]


def books_singly(tick: Tick, ids: Mapping[str, int]) -> list[SeenBook]:
    found = tick.at_once([partial(see_book, tick.client, *item) for item in ids.items()])
    books = [book for book in found if isinstance(book, SeenBook)]
    failure = next((error for error in found if isinstance(error, KalshiError)), None)
    if failure and not books:
        raise failure
    return books


def see_book(client: KalshiClient, ticker: str, market_id: int) -> SeenBook:
    book = client.order_book(ticker)
    return SeenBook(market_id, datetime.now(UTC), book)


def walk_universe(tick: Tick) -> None:
    """The next slice of every open event with its markets, as far as time and tokens reach."""
    every = timedelta(seconds=settings.UNIVERSE_INTERVAL)
    walk(tick, Tier.UNIVERSE, partial(tick.client.events, status="open"), every=every)


def walk_combos(tick: Tick) -> None:
    """The next slice of the combos, which are recorded only where that was asked for."""
    if settings.RECORD_COMBOS:
        every = timedelta(seconds=settings.UNIVERSE_INTERVAL)
        walk(tick, Tier.COMBOS, tick.client.multivariate_events, every=every)


def walk(tick: Tick, tier: Tier, fetch: Callable[..., Page], *, every: timedelta) -> None:
    sweep = tick.sweep(tier, every=every)
    while sweep and tick.has_time() and sweep.finished_at is None:
        try:
            page = fetch(cursor=sweep.cursor)
        except OutOfTokens:
            return
        before = tick.batch.markets
        refused = tick.batch.see_events(page)
        advance(sweep, page, refused=refused, markets=tick.batch.markets - before)


def advance(sweep: Sweep, page: Page, *, refused: list[str], markets: int) -> None:
    first = ticker_of(page.items[0]) if page.items else ""
    if first and sweep.has_page(first):
        raise Unintelligible("a page came a second time, and another one perhaps never")
    sweep.add_page(
        page.received_at, markets=markets, skipped=refused, cursor=page.cursor, first=first
    )
    if not page.cursor:
        sweep.finish(datetime.now(UTC), complete=is_whole(sweep))


def is_whole(sweep: Sweep) -> bool:
    """Whether a pass over a listing can be believed: half a listing gone at once is no listing.

    Where it was gone indeed, the next pass is as short as this one, and believed.
    """
    before = Sweep.objects.newest_finished(sweep.tier) if sweep.tier in WALKED else None
    return before is None or 2 * sweep.markets >= before.markets


def hot_size() -> int:
    """How many markets to observe in every run: the setting, as far as the tokens reach for it."""
    requests = settings.KALSHI_RATE * settings.POLL_INTERVAL * HOT_SHARE / COST
    return min(settings.HOT_MARKETS, max(int(requests), 1) * NAMED_BATCH)


def finish_sweeps(sweeps: Sequence[Sweep]) -> None:
    now = datetime.now(UTC)
    for sweep in sweeps:
        sweep.save()
    Sweep.objects.filter(pk__in=[sweep.pk for sweep in sweeps if sweep.complete]).store_lateness()
    if any(sweep.complete and sweep.tier == Tier.UNIVERSE for sweep in sweeps):
        Market.objects.choose_hot(hot_size(), at=now)
    if any(sweep.complete and sweep.tier in (Tier.UNIVERSE, Tier.HOT) for sweep in sweeps):
        HotPeriod.objects.follow(now)
