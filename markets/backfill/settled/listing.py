"""The settled markets of a span, as far as both tiers of the exchange list them."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil, floor
from typing import NamedTuple

import msgspec

from markets.backfill.listing import OnRejected, list_series
from markets.backfill.planning import settlement_known_at
from markets.backfill.settled.request import SettledRequest
from markets.intervals import Interval
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page
from markets.kalshi.drift import DriftNote
from markets.kalshi.params import MarketFilters
from markets.models import Drift
from markets.recording.isolation import CONTAGIOUS, pages_in_parts
from markets.recording.listings import MARKETS_PER_PAGE

# The live tier's listing is asked for in parts of this length, which tells how far it has come.
PART = timedelta(days=1)
SECOND = timedelta(seconds=1)
# After so many pages of markets that were settled before the span, the historical tier is done.
PAGES_PAST = 2
OUT_OF_ORDER = DriftNote("shape", "/historical/markets: not newest first", "")


class SettledPage(NamedTuple):
    """A page of markets, of which some may not belong to the request.

    `share` is the part of its tier's listing that was read before it, as far as that can be told.
    """

    page: Page
    is_historical: bool
    share: float


def settled_pages(
    client: KalshiClient,
    request: SettledRequest,
    series: Sequence[str],
    *,
    on_rejected: OnRejected,
) -> Iterator[SettledPage]:
    """List the live tier and then the historical one, into which markets move meanwhile.

    Of the named series, or of all where none is named. A market may be listed twice.
    """
    names = series or [""]
    cutoff = client.historical_cutoff().market_settled_ts
    live = Interval(max(request.start, cutoff or request.start), request.end)
    parts = [(live, name) for name in series] if series else [(p, "") for p in cut(live)]
    for n, (part, name) in enumerate(parts if live else []):
        for page in _list_live(client, part, name, on_rejected=on_rejected):
            yield SettledPage(page, is_historical=False, share=n / len(parts))
    cutoff = client.historical_cutoff().market_settled_ts
    if cutoff is None or request.start < cutoff:
        for n, name in enumerate(names):
            for page in _list_historical(client, request.start, name, on_rejected=on_rejected):
                yield SettledPage(page, is_historical=True, share=n / len(names))


def cut(span: Interval) -> list[Interval]:
    """Cut a span into parts of at most `PART`."""
    if not span:
        return []
    count = ceil(span.length / PART)
    starts = [span.start + n * PART for n in range(count)]
    return [Interval(start, min(start + PART, span.end)) for start in starts]


def _list_live(
    client: KalshiClient, span: Interval, series: str, *, on_rejected: OnRejected
) -> Iterator[Page]:
    """List the markets that were settled in a span; where one fails the listing, in halves.

    The second of a market with which the exchange never answers is rejected.
    """
    filters: MarketFilters = {
        "status": "settled",
        "mve_filter": "exclude",
        "min_settled_ts": floor(span.start.timestamp()),
        "max_settled_ts": ceil(span.end.timestamp()),
    }
    if series:
        filters["series_ticker"] = series
    try:
        yield from pages_in_parts(partial(client.markets, **filters), size=MARKETS_PER_PAGE)
    except CONTAGIOUS as error:
        if span.length <= SECOND:
            client.exchange_status()  # raises where the exchange is failing as a whole
            on_rejected(f"settled at {span.start:%Y-%m-%d %H:%M:%S}", error)
            return
        middle = span.start + span.length / 2
        for half in (Interval(span.start, middle), Interval(middle, span.end)):
            yield from _list_live(client, half, series, on_rejected=on_rejected)


def _list_historical(
    client: KalshiClient, start: datetime, series: str, *, on_rejected: OnRejected
) -> Iterator[Page]:
    """List the historical tier back to an instant, or to its end where it is not in order.

    It has no filter by time and is newest first.
    """
    if series:
        listing = list_series(client, client.historical_markets, series, on_rejected=on_rejected)
    else:
        fetch = partial(client.historical_markets, mve_filter="exclude")
        listing = pages_in_parts(fetch, size=MARKETS_PER_PAGE)
    oldest: datetime | None = None
    is_in_order, past = True, 0
    for page in listing:
        yield page
        instants = _settlements(page)
        if not instants:
            continue
        if is_in_order and oldest and max(instants) > oldest + PART:
            is_in_order = False
            Drift.objects.note([OUT_OF_ORDER], at=datetime.now(UTC))
        oldest = min(instants)
        past = past + 1 if max(instants) < start else 0
        if is_in_order and past == PAGES_PAST:
            return


def _settlements(page: Page) -> list[datetime]:
    """Return when the readable markets of a page were settled."""
    found = []
    for raw in page.items:
        try:
            settled = settlement_known_at(payloads.market(raw))
        except msgspec.MsgspecError:
            continue  # it is rejected where it is recorded
        if settled:
            found.append(settled[0])
    return found
