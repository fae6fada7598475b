"""The tiers that read a listing of the exchange to its end: updates, universe and combos."""

from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

from django.conf import settings

from markets.kalshi.client import Page
from markets.kalshi.drift import filter_drift
from markets.kalshi.errors import FilterIgnored, KalshiError, Unintelligible
from markets.kalshi.payloads import ticker_of
from markets.models import Market, Sweep, Tier
from markets.recording.ahead import PagesAhead
from markets.recording.by_ticker import fetch_refused_again
from markets.recording.events import fetch_missing_events
from markets.recording.isolation import (
    CONTAGIOUS,
    Blocked,
    add_in_parts,
    fetch_page,
    pages_in_parts,
)
from markets.recording.tick import Tick

UPDATES_EVERY = timedelta(seconds=30)
# Each sweep of the updates also asks for this much time before the last one began.
UPDATES_OVERLAP = timedelta(minutes=1)
# The longest pages that the exchange sends.
EVENTS_PER_PAGE = 200
MARKETS_PER_PAGE = 1000
# Tiers whose sweeps read everything that is open.
WHOLE_TIERS = (Tier.UNIVERSE, Tier.COMBOS)


class RepeatedPage(Unintelligible):
    """A listing sent a page for the second time, so another one may be missing instead."""


# --- updates ------------------------------------------------------------------------------------


def fetch_updates(tick: Tick) -> None:
    """Fetch the definitions that changed since the last sweep; the listing carries no quotes."""
    sweep = tick.due_sweep(Tier.UPDATES, every=UPDATES_EVERY)
    if sweep is None:
        return
    last = tick.newest_complete(Tier.UPDATES)
    if last and not sweep.pages:
        fetch_refused_again(tick, sweep, last.skipped)
    # A clock that was set back leaves sweeps in the future.
    began_at = min((last or sweep).started_at, sweep.started_at)
    since = int((began_at - UPDATES_OVERLAP).timestamp())
    fetch = partial(tick.client.markets, min_updated_ts=since, mve_filter="exclude")
    listing = tick.listing(sweep, "markets", fetch, size=MARKETS_PER_PAGE)
    while tick.goes_on(sweep):
        page = fetch_page(tick, sweep, listing, size=MARKETS_PER_PAGE)
        add_page_of_markets(tick, sweep, page)


def add_page_of_markets(tick: Tick, sweep: Sweep, page: Page) -> None:
    """Add a page of markets, and fetch those of their events that are not on record.

    The universe never lists the event of a market that opened and ended between two sweeps.
    """
    rejected, shown = tick.add_markets_page(page), tick.batch.shown
    fetch_missing_events(tick.client, tick.batch, tick.batch.event_tickers())
    add_listing_page(sweep, page, rejected=rejected, markets=len(page.items))
    tick.note_shown(sweep, shown)


# --- universe and combos ------------------------------------------------------------------------


def fetch_universe(tick: Tick) -> None:
    """Fetch the next pages of all open events with their markets, as time and tokens allow."""
    sweep = due_universe(tick)
    while sweep and tick.goes_on(sweep):
        if sweep.by_market:
            fetch_open_markets(tick, sweep)
            continue
        try:
            fetch_page_of_events(tick, sweep, open_events(tick, sweep))
        except (FilterIgnored, Blocked) as error:
            list_markets_instead(tick, sweep, error)


def continue_universe_ahead(tick: Tick, *, requests: int) -> None:
    """Request the next pages of a pass that is under way, without waiting for the hot list.

    The hot list's own `requests` come first: where tokens are scarce, the pass waits. So does a
    new pass: an exchange that is silent is not asked for more than need be.
    """
    newest = tick.newest_sweeps.get(Tier.UNIVERSE)
    if not newest or newest.finished_at is not None or not newest.cursor:
        return
    # Without an answer of the token bucket, the answers for the hot list count all the same.
    with suppress(KalshiError):
        if tick.client.has_tokens_for(requests + 1) and due_universe(tick) == newest:
            request_universe_ahead(tick)


def request_universe_ahead(tick: Tick) -> None:
    """Request the universe's next pages while the tiers before it have their turn."""
    sweep = due_universe(tick) if tick.early_tier is None else None
    if sweep is None or sweep.page_size is not None:
        return
    if sweep.by_market:
        tick.begin_early(sweep, open_markets(tick, sweep), size=MARKETS_PER_PAGE)
    else:
        tick.begin_early(sweep, open_events(tick, sweep), size=EVENTS_PER_PAGE)


def due_universe(tick: Tick) -> Sweep | None:
    return tick.due_sweep(Tier.UNIVERSE, every=timedelta(seconds=settings.UNIVERSE_INTERVAL))


def open_events(tick: Tick, sweep: Sweep) -> PagesAhead:
    fetch = partial(tick.client.events, status="open")
    return tick.listing(sweep, "events", fetch, size=EVENTS_PER_PAGE)


def open_markets(tick: Tick, sweep: Sweep) -> PagesAhead:
    fetch = partial(tick.client.markets, status="open", mve_filter="exclude")
    return tick.listing(sweep, "markets", fetch, size=MARKETS_PER_PAGE)


def fetch_combos(tick: Tick) -> None:
    """Fetch the next pages of the combos."""
    sweep = tick.due_sweep(Tier.COMBOS, every=timedelta(seconds=settings.UNIVERSE_INTERVAL))
    while sweep and tick.goes_on(sweep):
        fetch = tick.client.multivariate_events
        combos = tick.listing(sweep, "events", fetch, size=EVENTS_PER_PAGE)
        fetch_page_of_events(tick, sweep, combos)


def fetch_page_of_events(tick: Tick, sweep: Sweep, listing: PagesAhead) -> None:
    """Fetch the next page of events; pass one that fails with its markets, but not without."""
    before = tick.batch.markets
    try:
        page = fetch_page(tick, sweep, listing, size=EVENTS_PER_PAGE)
        rejected, shown = tick.add_events_page(page), tick.batch.shown
    except Blocked as error:
        try:
            page = listing(cursor=sweep.cursor, limit=1, with_nested_markets=False)
        except CONTAGIOUS:
            raise error from error.__cause__
        rejected = tick.add_events_page(page)
        for event in map(ticker_of, page.items):
            rejected += fetch_markets_of(tick, event)
            add_markets_of(tick, sweep, event, since=page.received_at)
        sweep.page_size, shown = None, []
    add_listing_page(sweep, page, rejected=rejected, markets=tick.batch.markets - before)
    tick.note_shown(sweep, shown)


def add_markets_of(tick: Tick, sweep: Sweep, event_ticker: str, *, since: datetime) -> None:
    """Add a page for each instant at which markets of an event came by themselves."""
    came: dict[datetime, list[str]] = defaultdict(list)
    for ticker, market in tick.batch.observed.items():
        if market.quote.event_ticker == event_ticker and market.observed_at >= since:
            came[market.observed_at].append(ticker)
    for at, shown in sorted(came.items()):
        sweep.add_page(at, markets=0, skipped=[], cursor=sweep.cursor)
        tick.note_shown(sweep, shown)


def fetch_markets_of(tick: Tick, event_ticker: str) -> list[str]:
    """Fetch the markets of an event, those we know one by one if need be; return rejected ones."""
    rejected = []
    try:
        with tick.client.without_retries():
            listing = partial(tick.client.markets, event_ticker=event_ticker)
            for page in pages_in_parts(listing, size=MARKETS_PER_PAGE):
                rejected += tick.add_markets_page(page)
    except CONTAGIOUS as error:
        markets = Market.objects.filter(event__ticker=event_ticker)
        known = markets.exclude(ticker__in=tick.batch.observed)
        tickers = list(known.values_list("ticker", flat=True))
        if not tickers:
            return [*rejected, tick.batch.reject_unanswered("event", event_ticker, error)]
        rejected += add_in_parts(tick, tickers, tick.client.markets, is_answering=True)
    return rejected


def list_markets_instead(tick: Tick, sweep: Sweep, error: KalshiError) -> None:
    """Begin the sweep anew with the listing of markets, because that of the events goes no further.

    Where markets cannot be listed either, the exchange is probably failing as a whole: the sweep
    stays where it is, and the error's cause is raised.
    """
    place = sweep.cursor
    sweep.page_size, sweep.cursor = None, ""
    try:
        fetch_open_markets(tick, sweep)
    except KalshiError as failure:
        if not sweep.by_market:
            sweep.page_size, sweep.cursor = 1, place
        if isinstance(failure, CONTAGIOUS):
            raise (error.__cause__ or error) from None
        raise
    if isinstance(error, FilterIgnored):
        tick.batch.drift_notes.append(filter_drift(error))
    tick.warnings.append(f"universe: the markets are listed instead of the events: {error}")


def fetch_open_markets(tick: Tick, sweep: Sweep) -> None:
    page = fetch_page(tick, sweep, open_markets(tick, sweep), size=MARKETS_PER_PAGE)
    if not sweep.by_market:
        # These pages list again what the pages of events have listed.
        sweep.by_market, sweep.markets = True, 0
        sweep.forget_first_tickers()
    add_page_of_markets(tick, sweep, page)


# --- sweeps -------------------------------------------------------------------------------------


def add_listing_page(sweep: Sweep, page: Page, *, rejected: list[str], markets: int) -> None:
    """Add a page to its sweep, and finish the sweep with the last page.

    Raises `RepeatedPage` for a page that the sweep has already.
    """
    first = ticker_of(page.items[0]) if page.items else ""
    if first and sweep.has_page(first):
        raise RepeatedPage("the listing sent a page for the second time")
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
    before = Sweep.objects.newest_finished(sweep.tier) if sweep.tier in WHOLE_TIERS else None
    return before is None or 2 * sweep.markets >= before.markets
