"""Requests for the events and series that are missing in the database."""

import msgspec

from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, ticker_batches
from markets.kalshi.errors import UnknownResource
from markets.kalshi.payloads import EventPayload
from markets.models import Event, Series
from markets.recording.batch import Batch, read_event
from markets.recording.isolation import CONTAGIOUS, fetch_in_parts

EVENTS_PER_REQUEST = 200
# More events without an answer than this, one after the other, and the exchange is failing.
MOST_UNANSWERED = 3


def fetch_missing_events(client: KalshiClient, batch: Batch, tickers: set[str]) -> None:
    """Fetch into the batch those of these events that are neither in it nor in the database.

    Events of series that are not recorded are not fetched twice.
    """
    known = batch.events.keys() | Event.objects.described().ids(tickers).keys()
    missing = sorted(tickers - known - batch.scope.outside_events)
    for names in ticker_batches(missing):
        for start in range(0, len(names), EVENTS_PER_REQUEST):
            _fetch_listed(client, batch, names[start : start + EVENTS_PER_REQUEST])
    # The listing silently leaves out events that ended long ago; each has its own address.
    found = batch.events.keys() | batch.scope.outside_events
    _fetch_single(client, batch, [ticker for ticker in missing if ticker not in found])


def _fetch_listed(client: KalshiClient, batch: Batch, tickers: list[str]) -> None:
    def fetch(group: list[str]) -> Page:
        return client.events(tickers=group, with_nested_markets=False)

    try:
        _add_events(batch, fetch(tickers))
    except CONTAGIOUS:
        if len(tickers) == 1:
            return
        for _, reply in fetch_in_parts(client, tickers, fetch):
            if isinstance(reply, Page):
                _add_events(batch, reply)


def _fetch_single(client: KalshiClient, batch: Batch, tickers: list[str]) -> None:
    unanswered = 0
    for ticker in tickers:
        try:
            page = client.event(ticker)
            unanswered = 0
        except UnknownResource:
            continue
        except CONTAGIOUS as error:
            unanswered += 1
            if unanswered > MOST_UNANSWERED:
                raise
            batch.reject_unanswered("event", ticker, error)
            continue
        for raw, reason in _add_events(batch, page):
            batch.reject("event", raw, reason)


def _add_events(batch: Batch, page: Page) -> list[tuple[msgspec.Raw, msgspec.MsgspecError]]:
    """Add the events of a page; return those that cannot be read, and why."""
    unreadable = []
    for raw in page.items:
        event, _ = read_event(raw)
        if not isinstance(event, EventPayload):
            unreadable.append((raw, event))
        elif event.ticker in batch.scope.select([event]):
            # The other markets of the event were not requested.
            batch.events[event.ticker] = msgspec.structs.replace(event, markets=())
    return unreadable


def fetch_missing_series(client: KalshiClient, tickers: set[str]) -> None:
    """Fetch and write those of these series of which at most the ticker is in the database."""
    refreshed = Series.objects.filter(ticker__in=tickers).exclude(refreshed_at=None)
    for ticker in sorted(tickers - set(refreshed.values_list("ticker", flat=True))):
        try:
            page = client.series(ticker)
            parsed = [payloads.series(raw) for raw in page.items]
        except (UnknownResource, msgspec.MsgspecError, *CONTAGIOUS):
            continue
        Series.objects.refresh(parsed, at=page.received_at)
