"""Requests for the events and series that are missing in the database."""

import msgspec

from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, ticker_batches
from markets.kalshi.errors import UnknownResource
from markets.models import Event, Series
from markets.recording.batch import Batch

EVENTS_PER_REQUEST = 200


def fetch_missing_events(client: KalshiClient, batch: Batch, tickers: set[str]) -> None:
    """Fetch into the batch those of these events that are neither in it nor in the database."""
    missing = sorted(tickers - batch.events.keys() - Event.objects.ids(tickers).keys())
    for names in ticker_batches(missing):
        for start in range(0, len(names), EVENTS_PER_REQUEST):
            requested = names[start : start + EVENTS_PER_REQUEST]
            _add_events(batch, client.events(tickers=requested, with_nested_markets=False))
    # The listing silently leaves out events that ended long ago; each has its own address.
    for ticker in missing:
        if ticker not in batch.events:
            try:
                _add_events(batch, client.event(ticker))
            except UnknownResource:
                continue


def _add_events(batch: Batch, page: Page) -> None:
    for raw in page.items:
        try:
            event = payloads.event(raw)
        except msgspec.MsgspecError:
            continue
        # The other markets of the event were not requested.
        batch.events[event.ticker] = msgspec.structs.replace(event, markets=())


def fetch_missing_series(client: KalshiClient, tickers: set[str]) -> None:
    """Fetch and write those of these series of which at most the ticker is in the database."""
    refreshed = Series.objects.filter(ticker__in=tickers).exclude(refreshed_at=None)
    for ticker in sorted(tickers - set(refreshed.values_list("ticker", flat=True))):
        try:
            page = client.series(ticker)
            parsed = [payloads.series(raw) for raw in page.items]
        except (UnknownResource, msgspec.MsgspecError):
            continue
        Series.objects.refresh(parsed, at=page.received_at)
