"""The markets of a backfill, as far as the exchange lists them."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from kalshi_insights.bad_input import BadInput
from markets.backfill.request import BackfillRequest
from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page, ticker_batches
from markets.models import Market
from markets.recording.isolation import (
    CONTAGIOUS,
    fetch_in_parts,
    fetch_named,
    pages_in_parts,
)
from markets.recording.listings import EVENTS_PER_PAGE, MARKETS_PER_PAGE

TICKERS_NAMED_IN_ERROR = 5

Fetch = Callable[..., Page]
# Called with the ticker and the reason of every market that cannot be filled.
OnRejected = Callable[[str, object], None]


def list_markets(
    client: KalshiClient, request: BackfillRequest, *, on_rejected: OnRejected
) -> Iterator[Page]:
    """Fetch the markets of a request, those of the live tier before the historical ones.

    A market or an event that the exchange never answers for is rejected, and the others go on.
    Raises `BadInput` for markets that the exchange does not know.
    """
    if request.tickers:
        yield from _find_by_ticker(client, request.tickers, on_rejected=on_rejected)
        return
    option, name = ("--event", request.event) if request.event else ("--series", request.series)
    list_all, own = (_list_event, request.event) if request.event else (list_series, name)
    found = False

    def reject(ticker: str, reason: object) -> None:
        nonlocal found
        found = True
        on_rejected(ticker, reason)

    for fetch in (client.markets, client.historical_markets):
        for page in list_all(client, fetch, own, on_rejected=reject):
            found = found or bool(page.items)
            yield page
    if not found:
        raise BadInput(option, f"the exchange knows no market of {name}")


def list_series(
    client: KalshiClient, fetch: Fetch, series: str, *, on_rejected: OnRejected
) -> Iterator[Page]:
    """List the markets of a series, event by event where one of them fails the listing."""
    try:
        yield from pages_in_parts(partial(fetch, series_ticker=series), size=MARKETS_PER_PAGE)
    except CONTAGIOUS:
        events = partial(client.events, series_ticker=series, with_nested_markets=False)
        for page in pages_in_parts(events, size=EVENTS_PER_PAGE):
            for raw in page.items:
                event = payloads.ticker_of(raw)
                yield from _list_event(client, fetch, event, on_rejected=on_rejected)


def _list_event(
    client: KalshiClient, fetch: Fetch, event: str, *, on_rejected: OnRejected
) -> Iterator[Page]:
    """List the markets of an event; where one of them fails the listing, fetch those on record."""
    try:
        yield from pages_in_parts(partial(fetch, event_ticker=event), size=MARKETS_PER_PAGE)
    except CONTAGIOUS as error:
        client.exchange_status()  # raises where the exchange is failing as a whole
        on_rejected(event, error)
        known = Market.objects.filter(event__ticker=event).values_list("ticker", flat=True)
        yield from _fetch_apart(client, fetch, list(known), on_rejected=on_rejected)


def _fetch_apart(
    client: KalshiClient, fetch: Fetch, tickers: Sequence[str], *, on_rejected: OnRejected
) -> Iterator[Page]:
    client.exchange_status()
    parts = fetch_in_parts(client, tickers, partial(fetch_named, fetch), is_answering=True)
    for group, reply in parts:
        if isinstance(reply, Page):
            yield reply
        else:
            on_rejected(group[0], reply)


def _find_by_ticker(
    client: KalshiClient, tickers: Sequence[str], *, on_rejected: OnRejected
) -> list[Page]:
    """Fetch markets by ticker. The list is complete before any of them is recorded."""
    found: list[Page] = []
    unknown: list[str] = []
    for batch in ticker_batches(dict.fromkeys(tickers)):
        missing = batch
        for fetch in (client.markets, client.historical_markets):
            replies, failed = _fetch_named(client, fetch, missing)
            for ticker, error in failed.items():
                on_rejected(ticker, error)
            found += replies
            answered = {payloads.ticker_of(raw) for page in replies for raw in page.items}
            missing = [t for t in missing if t not in answered and t not in failed]
            if not missing:
                break
        unknown += missing
    if unknown:
        names = ", ".join(unknown[:TICKERS_NAMED_IN_ERROR])
        others = len(unknown) - TICKERS_NAMED_IN_ERROR
        more = f" and {others} more" if others > 0 else ""
        raise BadInput("--ticker", f"the exchange does not know {names}{more}")
    return found


def _fetch_named(
    client: KalshiClient, fetch: Fetch, tickers: Sequence[str]
) -> tuple[list[Page], dict[str, object]]:
    """Return pages with these markets, and those for which no request is answered."""
    failed: dict[str, object] = {}
    try:
        return [fetch_named(fetch, tickers)], failed
    except CONTAGIOUS:
        parts = _fetch_apart(client, fetch, tickers, on_rejected=failed.__setitem__)
        return list(parts), failed
