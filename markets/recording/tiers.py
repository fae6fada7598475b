"""The tiers of a tick: which markets are requested from the exchange, and how often.

One tick fetches the hot list, the exchange's status, changed definitions, markets that await
their settlement, a few order books, the newest trades, and the next part of the universe of open
markets.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from psycopg.errors import LockNotAvailable, QueryCanceled

from markets.coverage.freshness import percentiles
from markets.kalshi.client import TOKENS_PER_REQUEST, KalshiClient, Page, ticker_batches
from markets.kalshi.drift import filter_drift, repeated_price_drift
from markets.kalshi.errors import (
    FilterIgnored,
    KalshiError,
    NoConnection,
    OutOfTokens,
    Refused,
    TimedOut,
    Unintelligible,
)
from markets.models import HotPeriod, Market, Sweep, Tier
from markets.models.markets import MarketQuerySet
from markets.models.order_books import ObservedOrderBook
from markets.recording.by_ticker import TICKERS_PER_REQUEST, fetch_markets
from markets.recording.isolation import (
    CONTAGIOUS,
    Blocked,
    add_in_parts,
    fetch_in_parts,
    fetch_named,
    has_culprit,
)
from markets.recording.listings import (
    RepeatedPage,
    continue_universe_ahead,
    fetch_combos,
    fetch_universe,
    fetch_updates,
    request_universe_ahead,
)
from markets.recording.scope import scope
from markets.recording.shown import memory
from markets.recording.tape import fetch_trades
from markets.recording.tick import SHARES, Tick, tokens_per_run

# Tiers whose sweeps return markets in a stable order.
STABLE_ORDER_TIERS = (Tier.HOT, Tier.ORDER_BOOKS, Tier.UNIVERSE, Tier.COMBOS)
# Tiers whose sweeps go on in the next run where their share of this one is used up.
CONTINUED_TIERS = (
    Tier.UPDATES,
    Tier.SETTLEMENT,
    Tier.CENSUS,
    Tier.TRADES,
    Tier.UNIVERSE,
    Tier.COMBOS,
)
SETTLEMENT_EVERY = STATUS_EVERY = timedelta(seconds=30)
CENSUS_EVERY = timedelta(minutes=1)
# A timeout takes a whole interval. One tier may have a request that hangs, or a statement; with two
# of them, the exchange answers nobody, or a table is locked that all need.
MAX_TIMEOUTS = 2
DATABASE_TIMEOUTS = LockNotAvailable, QueryCanceled
# With an API key, one request returns the order books of a hundred markets; without, of one.
ORDER_BOOKS_PER_TICK = 5
ORDER_BOOKS_PER_TICK_WITH_KEY = 100


def fetch_due_tiers(tick: Tick) -> None:
    """Fetch every tier that is due; a failure in one tier does not affect the others.

    Nor does a statement of one tier that the database refuses, while the session lives.

    Hot list and universe carry the quotes, so their failures are the poll's error. Other failures
    are its warning, unless nothing was read at all. Where the exchange cannot be reached the run
    ends at once, and where it has not answered `MAX_TIMEOUTS` tiers, since the others would only
    wait for the same; so it does where the database let as many tiers wait in vain.
    """
    tick.newest_sweeps = Sweep.objects.newest_of_each_tier()
    failures: dict[Tier, str] = {}
    timeouts = 0
    tiers = [tier for tier in FETCHES if is_recorded(tier)]
    for place, tier in enumerate(tiers, start=1):
        tick.begin_turn(tier, later=tiers[place:])
        try:
            FETCHES[tier](tick)
        except (KalshiError, DatabaseError) as error:
            if isinstance(error, DatabaseError) and not connection.is_usable():
                raise
            note_failure(tick, tier, error, failures)
            timeouts += isinstance(error, TimedOut) or isinstance(
                error.__cause__, DATABASE_TIMEOUTS
            )
            if isinstance(error, NoConnection) or timeouts == MAX_TIMEOUTS:
                break
    carriers = (Tier.HOT, Tier.UNIVERSE) if tick.batch.pages else tuple(failures)
    errors = [failures.pop(tier) for tier in carriers if tier in failures]
    tick.poll.error = "; ".join(errors)
    tick.poll.warning = "; ".join([*failures.values(), *tick.warnings, *scope.unknown])
    measure_ages(tick)


def is_recorded(tier: Tier) -> bool:
    if tier == Tier.TRADES:
        return bool(settings.RECORD_TRADES != "none")
    return bool(tier != Tier.COMBOS or settings.RECORD_COMBOS)


def note_failure(
    tick: Tick, tier: Tier, error: KalshiError | DatabaseError, failures: dict[Tier, str]
) -> None:
    if isinstance(error, OutOfTokens) and tier in CONTINUED_TIERS:
        return
    if isinstance(error, FilterIgnored):
        tick.batch.drift_notes.append(filter_drift(error))
    if isinstance(error, Refused | RepeatedPage | Blocked | FilterIgnored):
        tick.abandon_sweep(tier)
    failures[tier] = f"{tier}: {first_line(error)}"


def first_line(error: Exception) -> str:
    """Return a message without the row that the database names with it."""
    return str(error).partition("\n")[0]


def measure_ages(tick: Tick) -> None:
    """Note, by tier, the age that a market's last observation had reached before this tick."""
    for sweep in tick.sweeps:
        new_pages = sweep.pages_since(tick.began_at)
        is_ordered = sweep.tier in STABLE_ORDER_TIERS and not sweep.by_market
        before = tick.newest_complete(Tier(sweep.tier)) if is_ordered and new_pages else None
        if before is None or before.by_market:
            continue
        ages = sweep.ages_against(before, of=new_pages)
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
    before = tick.newest_sweeps.get(Tier.HOT)
    suspects = set(before.skipped) & set(tickers) if before else set()
    sweep = tick.begin_sweep(Tier.HOT, after=before)
    requests = list(ticker_batches(ticker for ticker in tickers if ticker not in suspects))
    fetch = partial(fetch_named, tick.client.markets)
    replies = tick.fetch_in_parallel(
        [partial(fetch, tickers) for tickers in requests],
        meanwhile=partial(continue_universe_ahead, tick, requests=len(requests)),
    )
    is_answering = any(isinstance(reply, Page) for reply in replies)
    if is_answering and not any(isinstance(reply, OutOfTokens) for reply in replies):
        request_universe_ahead(tick)
    failures = []
    tick.add_markets_pages([reply for reply in replies if isinstance(reply, Page)])
    for requested, reply in zip(requests, replies, strict=True):
        if isinstance(reply, Page):
            add_hot_page(tick, sweep, requested, at=reply.received_at)
            continue
        failures.append(reply)
        # One of them may be the cause. The next run fetches them apart from the others.
        if isinstance(reply, CONTAGIOUS) and (is_answering or len(requests) == 1):
            sweep.skipped += requested
    for requested in ticker_batches(ticker for ticker in tickers if ticker in suspects):
        try:
            add_in_parts(tick, requested, tick.client.markets, is_answering=is_answering)
        except KalshiError as error:
            failures.append(error)
        add_hot_page(tick, sweep, requested, at=datetime.now(UTC))
    sweep.finish(datetime.now(UTC), complete=not failures)
    if failures:
        raise failures[0]


def add_hot_page(tick: Tick, sweep: Sweep, requested: Sequence[str], *, at: datetime) -> None:
    """Add a page for each instant at which some of these markets came, or one without any."""
    came: dict[datetime, list[str]] = defaultdict(list)
    for ticker in requested:
        if market := tick.batch.observed.get(ticker):
            came[market.observed_at].append(ticker)
        else:
            sweep.skipped.append(ticker)
    for instant, shown in sorted(came.items()) or [(at, [])]:
        sweep.add_page(instant, markets=len(shown), skipped=[], cursor="")
        tick.note_shown(sweep, shown)


def hot_list_size() -> int:
    """Return `HOT_MARKETS`, or fewer if the hot list's share of the tokens does not suffice."""
    requests = max(int(tokens_per_run() * SHARES[Tier.HOT] / TOKENS_PER_REQUEST), 1)
    return min(settings.HOT_MARKETS, requests * TICKERS_PER_REQUEST)


# --- status -------------------------------------------------------------------------------------


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


# --- markets by ticker --------------------------------------------------------------------------


def fetch_settlements(tick: Tick) -> None:
    """Fetch the markets past their close whose settlement is not recorded yet."""
    awaiting = Market.objects.in_scope().awaiting_settlement(at=datetime.now(UTC))
    while tick.has_turn() and fetch_next_markets(
        tick, Tier.SETTLEMENT, awaiting, every=SETTLEMENT_EVERY
    ):
        pass


def fetch_census(tick: Tick) -> None:
    """Fetch the next of the markets that we believe open: a listing drops them silently."""
    fetch_next_markets(tick, Tier.CENSUS, Market.objects.in_scope().open(), every=CENSUS_EVERY)


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
    missing = fetch_markets(tick, sweep, requested)
    cursor = str(ids[requested[-1]])
    sweep.add_page(datetime.now(UTC), markets=len(requested), skipped=missing, cursor=cursor)
    return True


# --- order books --------------------------------------------------------------------------------


def fetch_order_books(tick: Tick) -> None:
    """Fetch the order books of the next hot markets, as many as one tick may request."""
    if not settings.ORDER_BOOK_MARKETS:
        return
    sweep = tick.due_sweep(Tier.ORDER_BOOKS, every=timedelta(0))
    if sweep is None:
        return
    has_key = bool(tick.client.key_type)
    markets = Market.objects.with_books(settings.ORDER_BOOK_MARKETS).after(int(sweep.cursor or 0))
    count = ORDER_BOOKS_PER_TICK_WITH_KEY if has_key else ORDER_BOOKS_PER_TICK
    ids = dict(markets.values_list("ticker", "id")[:count])
    if not ids:
        sweep.finish(datetime.now(UTC))
        return
    order_books, failure = fetch_books(tick, sweep, ids)
    tick.order_books += order_books
    tick.batch.drift_notes += [
        repeated_price_drift(each.book) for each in order_books if each.book.repeated
    ]
    known = {book.market_id for book in order_books}
    missing = [ticker for ticker, id in ids.items() if id not in known]
    cursor = str(max(ids.values()))
    sweep.add_page(datetime.now(UTC), markets=len(order_books), skipped=missing, cursor=cursor)
    if failure:
        raise failure


def fetch_books(
    tick: Tick, sweep: Sweep, ids: Mapping[str, int]
) -> tuple[list[ObservedOrderBook], KalshiError | None]:
    """Return order books, and an error that one market may cause, which others come after."""
    if not tick.client.key_type:
        return order_books_one_by_one(tick, ids)
    is_first = sweep.page_size is None
    try:
        books = order_books_in_one_request(tick, ids)
    except CONTAGIOUS:
        sweep.page_size = 1
        if is_first and not has_culprit(sweep.tier):
            raise
        books = order_books_in_parts(tick, ids)
    sweep.page_size = None
    return books, None


def order_books_in_one_request(tick: Tick, ids: Mapping[str, int]) -> list[ObservedOrderBook]:
    books, refused = tick.client.order_books(list(ids))
    for raw, reason in refused:
        tick.batch.reject("order book", raw, reason)
    now = datetime.now(UTC)
    return [ObservedOrderBook(ids[t], now, book) for t, book in books.items() if t in ids]


def order_books_in_parts(tick: Tick, ids: Mapping[str, int]) -> list[ObservedOrderBook]:
    """Fetch books in halves; name the markets whose books are never answered for."""

    def fetch(group: list[str]) -> list[ObservedOrderBook]:
        return order_books_in_one_request(tick, {ticker: ids[ticker] for ticker in group})

    books = []
    for group, reply in fetch_in_parts(tick.client, list(ids), fetch, go_on=tick.has_turn):
        if isinstance(reply, KalshiError):
            tick.batch.reject_unanswered("order book", group[0], reply)
        else:
            books += reply
    return books


def order_books_one_by_one(
    tick: Tick, ids: Mapping[str, int]
) -> tuple[list[ObservedOrderBook], KalshiError | None]:
    """Fetch each book on its own; return also the first error if there is no book at all.

    Raises an error that says nothing of the books themselves.
    """
    fetches = [partial(fetch_order_book, tick.client, *item) for item in ids.items()]
    results = tick.fetch_in_parallel(fetches)
    for result in results:
        if isinstance(result, Unintelligible):
            tick.batch.reject("order book", result.body, msgspec.ValidationError(str(result)))
    books = [result for result in results if isinstance(result, ObservedOrderBook)]
    failure = next((result for result in results if isinstance(result, KalshiError)), None)
    if failure and not books and not isinstance(failure, CONTAGIOUS):
        raise failure
    return books, None if books else failure


def fetch_order_book(client: KalshiClient, ticker: str, market_id: int) -> ObservedOrderBook:
    book = client.order_book(ticker)
    return ObservedOrderBook(market_id, datetime.now(UTC), book)


# --- sweeps -------------------------------------------------------------------------------------


def save_sweeps(tick: Tick) -> None:
    """Save the sweeps of a tick, and choose the hot list again after a complete universe.

    Until the first one is complete, the hot list is chosen in every run from what is known.
    """
    now, sweeps = datetime.now(UTC), tick.sweeps
    # Of an abandoned sweep and the one after it, the later one has the names.
    newest = {sweep.tier: sweep for sweep in sweeps}
    for tier, names in tick.shown.items():
        names.finish(newest[tier])
        transaction.on_commit(partial(memory.remember, newest[tier], names))
    for sweep in sweeps:
        sweep.save()
    Sweep.objects.filter(pk__in=[sweep.pk for sweep in sweeps if sweep.complete]).store_lateness()
    complete = {sweep.tier for sweep in sweeps if sweep.complete}
    if Tier.UNIVERSE in complete or not tick.newest_complete(Tier.UNIVERSE):
        Market.objects.choose_hot(hot_list_size(), at=now)
    if complete & {Tier.UNIVERSE, Tier.HOT}:
        HotPeriod.objects.follow(now)


FETCHES: dict[Tier, Callable[[Tick], None]] = {
    Tier.HOT: fetch_hot,
    Tier.STATUS: fetch_status,
    Tier.UPDATES: fetch_updates,
    Tier.SETTLEMENT: fetch_settlements,
    Tier.CENSUS: fetch_census,
    Tier.ORDER_BOOKS: fetch_order_books,
    Tier.TRADES: fetch_trades,
    Tier.UNIVERSE: fetch_universe,
    Tier.COMBOS: fetch_combos,
}
