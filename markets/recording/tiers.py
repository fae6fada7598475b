"""The tiers of a tick: which markets are requested from the exchange, and how often.

One tick fetches the hot list, the exchange's status, changed definitions, markets that await
their settlement, a few order books, and the next part of the universe of open markets.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import msgspec
from django.conf import settings

from markets.coverage.freshness import percentiles
from markets.kalshi.client import TOKENS_PER_REQUEST, KalshiClient, Page, ticker_batches
from markets.kalshi.drift import repeated_price_drift
from markets.kalshi.errors import KalshiError, OutOfTokens, Refused, Unintelligible
from markets.kalshi.payloads import ticker_of
from markets.models import HotPeriod, Market, Poll, Sweep, Tier
from markets.models.markets import MarketQuerySet
from markets.models.order_books import ObservedOrderBook
from markets.recording.batch import Batch
from markets.recording.events import fetch_missing_events

T = TypeVar("T")

# Tiers whose sweeps return markets in a stable order.
STABLE_ORDER_TIERS = (Tier.HOT, Tier.ORDER_BOOKS, Tier.UNIVERSE, Tier.COMBOS)
# Tiers whose sweeps read a whole listing of the exchange, page by page.
LISTING_TIERS = (Tier.UNIVERSE, Tier.COMBOS)
# Four requests at a time are enough that a reply is ready whenever one has been parsed.
PARALLEL_REQUESTS = 4
# An unfinished sweep without a new page for this long is abandoned, and a new one begins.
ABANDON_AFTER = timedelta(minutes=10)
UPDATES_EVERY = SETTLEMENT_EVERY = STATUS_EVERY = timedelta(seconds=30)
CENSUS_EVERY = timedelta(minutes=1)
# Each sweep of the updates also asks for this much time before the last one began.
UPDATES_OVERLAP = timedelta(minutes=1)
# About as many tickers as fit into one URL.
TICKERS_PER_REQUEST = 200
# A reply that lacks most of the requested markets is treated as truncated, and its markets not as
# unlisted, if more markets than this were requested.
SMALL_REQUEST = 10
# The share of the tokens that the hot list may use; the other tiers need the rest.
HOT_SHARE = 0.5
# With an API key, one request returns the order books of a hundred markets; without, of one.
ORDER_BOOKS_PER_TICK = 5
ORDER_BOOKS_PER_TICK_WITH_KEY = 100


@dataclass(slots=True)
class Tick:
    """One run of the recorder, and what it has fetched so far."""

    client: KalshiClient
    poll: Poll
    deadline: float
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    batch: Batch = field(default_factory=Batch)
    order_books: list[ObservedOrderBook] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)

    def has_time(self) -> bool:
        return time.monotonic() < self.deadline

    def due_sweep(self, tier: Tier, *, every: timedelta) -> Sweep | None:
        """Return the tier's unfinished sweep, or a new one if it is due, or None."""
        current = next((s for s in reversed(self.sweeps) if s.tier == tier), None)
        if current:
            return current if current.finished_at is None else None
        now = datetime.now(UTC)
        newest = Sweep.objects.newest(tier)
        # A negative age, after the clock has stepped back, counts as due.
        if newest and newest.finished_at is None:
            self.sweeps.append(newest)
            if timedelta(0) <= now - newest.last_page_at < ABANDON_AFTER:
                return newest
            newest.finished_at = now
        elif newest and timedelta(0) <= now - newest.started_at < every:
            return None
        return self.begin_sweep(tier)

    def begin_sweep(self, tier: Tier) -> Sweep:
        sweep = Sweep(tier=tier, started_at=datetime.now(UTC))
        self.sweeps.append(sweep)
        return sweep

    def abandon_sweep(self, tier: Tier) -> None:
        """End the tier's sweep incomplete, so that the next tick begins a new one."""
        for sweep in self.sweeps:
            if sweep.tier == tier and sweep.finished_at is None:
                sweep.finished_at = datetime.now(UTC)

    def fetch_in_parallel(self, fetches: Sequence[Callable[[], T]]) -> list[T | KalshiError]:
        """Return the results of independent requests in their order; an error is a result too."""
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return list(pool.map(result_or_error, fetches))


def result_or_error(fetch: Callable[[], T]) -> T | KalshiError:
    try:
        return fetch()
    except KalshiError as error:
        return error


def fetch_due_tiers(tick: Tick) -> None:
    """Fetch every tier that is due; a failure in one tier does not affect the others.

    Hot list and universe carry the quotes, so their failures are the poll's error. Other failures
    are its warning.
    """
    tiers: dict[Tier, Callable[[Tick], None]] = {
        Tier.HOT: fetch_hot,
        Tier.STATUS: fetch_status,
        Tier.UPDATES: fetch_updates,
        Tier.SETTLEMENT: fetch_settlements,
        Tier.CENSUS: fetch_census,
        Tier.ORDER_BOOKS: fetch_order_books,
        Tier.UNIVERSE: fetch_universe,
        Tier.COMBOS: fetch_combos,
    }
    failures: dict[Tier, str] = {}
    for tier, fetch in tiers.items():
        try:
            fetch(tick)
        except (Refused, Unintelligible) as error:
            tick.abandon_sweep(tier)
            failures[tier] = f"{tier}: {error}"
        except KalshiError as error:
            failures[tier] = f"{tier}: {error}"
    errors = [failures.pop(tier) for tier in (Tier.HOT, Tier.UNIVERSE) if tier in failures]
    tick.poll.error, tick.poll.warning = "; ".join(errors), "; ".join(failures.values())
    measure_ages(tick)


def measure_ages(tick: Tick) -> None:
    """Note, by tier, the age that a market's last observation had reached before this tick."""
    for sweep in tick.sweeps:
        new_pages = sweep.pages_since(tick.began_at)
        is_comparable = sweep.tier in STABLE_ORDER_TIERS and new_pages
        before = Sweep.objects.newest_complete(sweep.tier) if is_comparable else None
        ages = sweep.ages_against(before, of=new_pages) if before else []
        # Across a step of the clock nobody knows the ages.
        measured = percentiles(ages) if ages and min(ages)[0] >= 0 else {}
        if measured:
            tick.poll.ages[sweep.tier] = measured


# --- hot list -----------------------------------------------------------------------------------


def fetch_hot(tick: Tick) -> None:
    """Fetch every hot market, in every tick."""
    tickers = Market.objects.hot_tickers()
    if not tickers:
        return
    sweep = tick.begin_sweep(Tier.HOT)
    requests = list(ticker_batches(tickers))
    replies = tick.fetch_in_parallel([partial(tick.client.markets, tickers=t) for t in requests])
    for requested, page in zip(requests, replies, strict=True):
        if isinstance(page, Page):
            tick.batch.add_markets_page(page)
            missing = [ticker for ticker in requested if ticker not in tick.batch.observed]
            sweep.add_page(page.received_at, markets=len(page.items), skipped=missing, cursor="")
    failure = next((reply for reply in replies if isinstance(reply, KalshiError)), None)
    sweep.finish(datetime.now(UTC), complete=failure is None)
    if failure:
        raise failure


def hot_list_size() -> int:
    """Return `HOT_MARKETS`, or fewer if the hot list's share of the tokens does not suffice."""
    tokens = settings.KALSHI_RATE * settings.POLL_INTERVAL * HOT_SHARE
    requests = max(int(tokens / TOKENS_PER_REQUEST), 1)
    return min(settings.HOT_MARKETS, requests * TICKERS_PER_REQUEST)


# --- status and updates -------------------------------------------------------------------------


def fetch_status(tick: Tick) -> None:
    """Fetch the exchange's own statement that it is open and trading."""
    sweep = tick.due_sweep(Tier.STATUS, every=STATUS_EVERY)
    if sweep is None:
        tick.poll.carry_over_status()
        return
    status = tick.client.exchange_status()
    tick.poll.exchange_active = status.exchange_active
    tick.poll.trading_active = status.trading_active
    sweep.finish(datetime.now(UTC))


def fetch_updates(tick: Tick) -> None:
    """Fetch the definitions that changed since the last sweep; the listing carries no quotes."""
    last = Sweep.objects.newest_complete(Tier.UPDATES)
    sweep = tick.due_sweep(Tier.UPDATES, every=UPDATES_EVERY)
    if sweep is None:
        return
    # A clock that was set back leaves sweeps in the future.
    began_at = min((last or sweep).started_at, sweep.started_at)
    since = int((began_at - UPDATES_OVERLAP).timestamp())
    while tick.has_time() and sweep.finished_at is None:
        page = tick.client.markets(min_updated_ts=since, mve_filter="exclude", cursor=sweep.cursor)
        rejected = tick.batch.add_markets_page(page)
        # The universe brings the events of open markets. It never lists the event of a market
        # that opened and ended between two sweeps.
        fetch_missing_events(tick.client, tick.batch, tick.batch.ended_event_tickers())
        add_listing_page(sweep, page, rejected=rejected, markets=len(page.items))


# --- markets by ticker --------------------------------------------------------------------------


def fetch_settlements(tick: Tick) -> None:
    """Fetch the markets past their close whose settlement is not recorded yet."""
    awaiting = Market.objects.awaiting_settlement(at=datetime.now(UTC))
    while tick.has_time() and fetch_next_markets(
        tick, Tier.SETTLEMENT, awaiting, every=SETTLEMENT_EVERY
    ):
        pass


def fetch_census(tick: Tick) -> None:
    """Fetch the next of the markets that we believe open: a listing drops them silently."""
    fetch_next_markets(tick, Tier.CENSUS, Market.objects.open(), every=CENSUS_EVERY)


def fetch_next_markets(
    tick: Tick, tier: Tier, markets: MarketQuerySet, *, every: timedelta
) -> bool:
    """Fetch the next of these markets in order of id; return False when the sweep is finished."""
    sweep = tick.due_sweep(tier, every=every)
    if sweep is None:
        return False
    following = markets.after(int(sweep.cursor or 0)).values_list("ticker", "id")
    ids = dict(following[:TICKERS_PER_REQUEST])
    if not ids:
        sweep.finish(datetime.now(UTC))
        return False
    requested = next(ticker_batches(list(ids)))
    missing = fetch_markets(tick, requested)
    cursor = str(ids[requested[-1]])
    sweep.add_page(datetime.now(UTC), markets=len(requested), skipped=missing, cursor=cursor)
    return True


def fetch_markets(tick: Tick, tickers: Sequence[str]) -> list[str]:
    """Fetch these markets from the live or the historical tier; return those without a quote."""
    page = tick.client.markets(tickers=tickers)
    rejected = tick.batch.add_markets_page(page)
    not_live = [t for t in tickers if t not in tick.batch.observed and t not in rejected]
    if not_live:
        page = tick.client.historical_markets(tickers=not_live)
        rejected += tick.batch.add_markets_page(page)
    missing = [ticker for ticker in tickers if ticker not in tick.batch.observed]
    unlisted = [ticker for ticker in missing if ticker not in rejected]
    if is_credible(unlisted, requested=tickers, rejected=rejected):
        tick.batch.unlisted |= dict.fromkeys(unlisted, page.received_at)
    return missing


def is_credible(
    unlisted: Sequence[str], *, requested: Sequence[str], rejected: Sequence[str]
) -> bool:
    """Return False if the reply looks truncated, or if a rejected payload has no ticker.

    Any of the missing markets may be the one whose ticker could not be read.
    """
    is_whole = len(requested) <= SMALL_REQUEST or 2 * len(unlisted) <= len(requested)
    return is_whole and "" not in rejected


# --- order books --------------------------------------------------------------------------------


def fetch_order_books(tick: Tick) -> None:
    """Fetch the order books of the next hot markets, as many as one tick may request."""
    if not settings.ORDER_BOOK_MARKETS:
        return
    sweep = tick.due_sweep(Tier.ORDER_BOOKS, every=timedelta(0))
    if sweep is None or not tick.has_time():
        return
    has_key = bool(tick.client.key_type)
    markets = Market.objects.with_books(settings.ORDER_BOOK_MARKETS).after(int(sweep.cursor or 0))
    count = ORDER_BOOKS_PER_TICK_WITH_KEY if has_key else ORDER_BOOKS_PER_TICK
    ids = dict(markets.values_list("ticker", "id")[:count])
    if not ids:
        sweep.finish(datetime.now(UTC))
        return
    fetch = order_books_in_one_request if has_key else order_books_one_by_one
    order_books = fetch(tick, ids)
    tick.order_books += order_books
    tick.batch.drift_notes += [
        repeated_price_drift(each.book) for each in order_books if each.book.repeated
    ]
    known = {book.market_id for book in order_books}
    missing = [ticker for ticker, id in ids.items() if id not in known]
    cursor = str(max(ids.values()))
    sweep.add_page(datetime.now(UTC), markets=len(order_books), skipped=missing, cursor=cursor)


def order_books_in_one_request(tick: Tick, ids: Mapping[str, int]) -> list[ObservedOrderBook]:
    books, refused = tick.client.order_books(list(ids))
    for raw, reason in refused:
        tick.batch.reject("order book", raw, reason)
    now = datetime.now(UTC)
    return [ObservedOrderBook(ids[t], now, book) for t, book in books.items() if t in ids]


def order_books_one_by_one(tick: Tick, ids: Mapping[str, int]) -> list[ObservedOrderBook]:
    """Fetch each book on its own. Raises the first error if there is no book at all."""
    fetches = [partial(fetch_order_book, tick.client, *item) for item in ids.items()]
    results = tick.fetch_in_parallel(fetches)
    for result in results:
        if isinstance(result, Unintelligible):
            tick.batch.reject("order book", result.body, msgspec.ValidationError(str(result)))
    books = [result for result in results if isinstance(result, ObservedOrderBook)]
    failure = next((result for result in results if isinstance(result, KalshiError)), None)
    if failure and not books:
        raise failure
    return books


def fetch_order_book(client: KalshiClient, ticker: str, market_id: int) -> ObservedOrderBook:
    book = client.order_book(ticker)
    return ObservedOrderBook(market_id, datetime.now(UTC), book)


# --- universe and combos ------------------------------------------------------------------------


def fetch_universe(tick: Tick) -> None:
    """Fetch the next pages of all open events with their markets, as time and tokens allow."""
    every = timedelta(seconds=settings.UNIVERSE_INTERVAL)
    fetch_listing(tick, Tier.UNIVERSE, partial(tick.client.events, status="open"), every=every)


def fetch_combos(tick: Tick) -> None:
    """Fetch the next pages of the combos, if `RECORD_COMBOS` is set."""
    if settings.RECORD_COMBOS:
        every = timedelta(seconds=settings.UNIVERSE_INTERVAL)
        fetch_listing(tick, Tier.COMBOS, tick.client.multivariate_events, every=every)


def fetch_listing(tick: Tick, tier: Tier, fetch: Callable[..., Page], *, every: timedelta) -> None:
    sweep = tick.due_sweep(tier, every=every)
    while sweep and tick.has_time() and sweep.finished_at is None:
        try:
            page = fetch(cursor=sweep.cursor)
        except OutOfTokens:
            return
        before = tick.batch.markets
        rejected = tick.batch.add_events_page(page)
        add_listing_page(sweep, page, rejected=rejected, markets=tick.batch.markets - before)


# --- sweeps -------------------------------------------------------------------------------------


def add_listing_page(sweep: Sweep, page: Page, *, rejected: list[str], markets: int) -> None:
    """Add a page to its sweep, and finish the sweep with the last page.

    Raises `Unintelligible` for a repeated page, since another page may be missing instead.
    """
    first = ticker_of(page.items[0]) if page.items else ""
    if first and sweep.has_page(first):
        raise Unintelligible("the listing sent a page for the second time")
    sweep.add_page(
        page.received_at, markets=markets, skipped=rejected, cursor=page.cursor, first=first
    )
    if not page.cursor:
        sweep.finish(datetime.now(UTC), complete=is_whole_listing(sweep))


def is_whole_listing(sweep: Sweep) -> bool:
    """Return False if a listing has lost more than half of its markets since the last sweep.

    Such a listing is taken for truncated. If the markets are really gone, the next sweep is as
    short as this one and counts as complete.
    """
    before = Sweep.objects.newest_finished(sweep.tier) if sweep.tier in LISTING_TIERS else None
    return before is None or 2 * sweep.markets >= before.markets


def save_sweeps(sweeps: Sequence[Sweep]) -> None:
    """Save the sweeps of a tick, and choose the hot list again after a complete universe."""
    now = datetime.now(UTC)
    for sweep in sweeps:
        sweep.save()
    Sweep.objects.filter(pk__in=[sweep.pk for sweep in sweeps if sweep.complete]).store_lateness()
    complete = {sweep.tier for sweep in sweeps if sweep.complete}
    if Tier.UNIVERSE in complete:
        Market.objects.choose_hot(hot_list_size(), at=now)
    if complete & {Tier.UNIVERSE, Tier.HOT}:
        HotPeriod.objects.follow(now)
