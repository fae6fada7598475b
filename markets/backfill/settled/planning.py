"""The plan of a backfill of settled markets: record them, and give each its windows to fill."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from kalshi_insights.bad_input import BadInput
from markets.backfill.listing import OnRejected
from markets.backfill.planning import news_of, record_definitions, recorded_ids
from markets.backfill.settled.listing import SettledPage, settled_pages
from markets.backfill.settled.request import SettledRequest
from markets.backfill.settled.windows import MINUTES, CandleWindow, windows_of
from markets.kalshi.client import KalshiClient, Page
from markets.kalshi.errors import UnknownResource
from markets.models import BackfillSpan, Event, Series
from markets.models.markets import MarketDefinition
from markets.recording.batch import Batch, parse_definitions
from markets.recording.events import fetch_missing_events, fetch_missing_series
from markets.recording.isolation import CONTAGIOUS
from markets.recording.reference import refresh_series

# Series are listed one by one up to so many; of more, all markets of the span are listed.
MOST_LISTED_SERIES = 100
NAMED_IN_ERROR = 20
NO_ANCHOR = "schedule unknown"


@dataclass(slots=True)
class SettledPlan:
    """The settled markets that were found, by the tier that has them."""

    live: set[int] = field(default_factory=set)
    historical: set[int] = field(default_factory=set)
    anchors: Counter[str] = field(default_factory=Counter)  # markets by the kind of their anchor
    differing: int = 0  # revisions that the record has otherwise

    @property
    def markets(self) -> int:
        return len(self.live) + len(self.historical)

    def add(self, markets: set[int], *, is_historical: bool) -> None:
        """Add markets of a tier; whoever moves while we list is in the historical one by now."""
        if is_historical:
            self.live -= markets
            self.historical |= markets
        else:
            self.live |= markets


def plan_pages(
    client: KalshiClient, request: SettledRequest, plan: SettledPlan, *, on_rejected: OnRejected
) -> Iterator[SettledPage]:
    """Find the markets of the request and record them with their windows, page by page.

    Raises `BadInput` for a series or a category that the exchange does not have.
    """
    series = series_of(client, request)
    named = sorted(series) if len(series) <= MOST_LISTED_SERIES else []
    writer = PageWriter(client, request, series, plan, on_rejected)
    for page in settled_pages(client, request, named, on_rejected=on_rejected):
        writer.write(page.page, is_historical=page.is_historical)
        yield page


def series_of(client: KalshiClient, request: SettledRequest) -> set[str]:
    """Return the series that a request names, itself or by their category; none means all."""
    if request.series:
        try:
            client.series(request.series)
        except UnknownResource:
            raise BadInput("--series", f"the exchange does not have {request.series}") from None
        return {request.series}
    try:
        refresh_series(client)  # one request for all of them, where they are not on record yet
    except CONTAGIOUS:
        if request.category:
            raise
    if not request.category:
        return set()
    return series_in(request.category)


def series_in(category: str) -> set[str]:
    """Return the series of a category, in whatever case it is written."""
    found: dict[str, set[str]] = {}
    for ticker, name in Series.objects.exclude(category="").values_list("ticker", "category"):
        found.setdefault(name, set()).add(ticker)
    own = {
        ticker for name in found if name.casefold() == category.casefold() for ticker in found[name]
    }
    if not own:
        names = ", ".join(sorted(found)[:NAMED_IN_ERROR])
        raise BadInput("--category", f"the exchange has no {category!r}; it has {names}")
    return own


# --- recording a page ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PageWriter:
    """Records those markets of pages that the request is for, and adds them to the plan."""

    client: KalshiClient
    request: SettledRequest
    series: set[str]  # none means all
    plan: SettledPlan
    on_rejected: OnRejected

    def write(self, page: Page, *, is_historical: bool) -> None:
        batch = Batch(rejects_kept=2 * len(page.items))  # a market and its event
        batch.add_markets_page(page)
        found = parse_definitions(batch, batch.observed)
        settled = self.complete(batch, [d for d in found if self.request.includes(d.payload)])
        for reject in batch.rejects:
            self.on_rejected(reject["ticker"], reject["reason"])
        changed, known = news_of(settled)
        with transaction.atomic():
            self.plan.differing += record_definitions(batch, changed, known=known)
            tickers = [definition.payload.ticker for definition in settled]
            ids = recorded_ids(tickers, on_rejected=self.on_rejected)
            ensure_windows(plan_windows(settled, ids, self.plan))
        self.plan.add(set(ids.values()), is_historical=is_historical)

    def complete(
        self, batch: Batch, settled: Sequence[MarketDefinition]
    ) -> Sequence[MarketDefinition]:
        """Fetch what is missing of events and series; return the markets of the right series."""
        changed, _ = news_of(settled)
        events = {definition.payload.event_ticker for definition in changed}
        fetch_missing_events(self.client, batch, events)
        if self.series:
            settled = within_series(batch, settled, self.series)
        fetch_missing_series(self.client, {e.series_ticker for e in batch.events.values()})
        return settled


def within_series(
    batch: Batch, definitions: Sequence[MarketDefinition], series: set[str]
) -> list[MarketDefinition]:
    """Return the markets of these series, and take the events of others out of the batch."""
    tickers = {definition.payload.event_ticker for definition in definitions}
    others = Event.objects.filter(ticker__in=tickers).exclude(series__ticker__in=series)
    outside = set(others.values_list("ticker", flat=True))
    outside |= {t for t, event in batch.events.items() if event.series_ticker not in series}
    batch.events = {t: event for t, event in batch.events.items() if t not in outside}
    return [each for each in definitions if each.payload.event_ticker not in outside]


def plan_windows(
    definitions: Sequence[MarketDefinition], ids: Mapping[str, int], plan: SettledPlan
) -> dict[int, list[CandleWindow]]:
    """Return the windows of these markets by id, and count their anchors in the plan."""
    tickers = {definition.payload.event_ticker for definition in definitions}
    dates: dict[str, datetime | None] = dict(
        Event.objects.filter(ticker__in=tickers).values_list("ticker", "strike_date")
    )
    windows = {}
    for definition in definitions:
        market = definition.payload
        market_id = ids.get(market.ticker)
        if market_id is None:
            continue
        found = windows_of(market, strike_date=dates.get(market.event_ticker))
        windows[market_id] = found.windows
        if market_id not in plan.live and market_id not in plan.historical:
            plan.anchors[found.anchor or NO_ANCHOR] += 1
    return windows


def ensure_windows(windows: Mapping[int, Sequence[CandleWindow]]) -> None:
    """Write the windows that are not on record yet, as spans to fill."""
    BackfillSpan.objects.bulk_create(
        (
            BackfillSpan(market_id=market_id, kind=each.kind, start=each.start, end=each.end)
            for market_id, own in windows.items()
            for each in own
        ),
        batch_size=1000,
        ignore_conflicts=True,
    )


# --- the windows that are left ------------------------------------------------------------------


def unfilled(market_ids: set[int], *, by_market: bool) -> list[int]:
    """Return the ids of the windows of these markets that are not filled yet.

    In the order of their starts, or those of each market together.
    """
    order = ("market_id", "start", "pk") if by_market else ("start", "pk")
    spans = BackfillSpan.objects.of_markets(market_ids).filter(kind__in=MINUTES, finished_at=None)
    return list(spans.order_by(*order).values_list("pk", flat=True))
