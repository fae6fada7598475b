"""The columns of a market's price chart."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypedDict

from django import forms
from django.conf import settings

from markets.coverage.coverage import unobserved
from markets.filters import ImportNumberField
from markets.intervals import EPOCH, Interval
from markets.models import Market, MarketSnapshot
from markets.models.markets import NOT_OPEN_STATUSES
from markets.models.snapshots import Close, MarketSnapshotQuerySet

RANGES = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
    "all": None,
}
SHORTEST = timedelta(minutes=1)
MOST_POINTS = 2_000
TABLE_ROWS = 60
# Round widths let points fall on round instants.
BUCKET_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400)
# Gaps are shown as far back as the longest range but "all" goes.
GAPS_WITHIN = timedelta(weeks=1)
MILLISECOND = timedelta(milliseconds=1)
LAST_MILLISECOND = 253_402_300_799_000


class ChartForm(forms.Form):
    range = forms.ChoiceField(choices=[(name, name) for name in RANGES], required=False)
    since = forms.IntegerField(min_value=0, max_value=LAST_MILLISECOND, required=False)
    vars()["import"] = ImportNumberField(required=False)  # a word of the language


class ChartColumns(TypedDict):
    """Columns of a chart: milliseconds since 1970, prices in dollars, cumulative volume."""

    t: list[int]
    bid: list[float | None]
    ask: list[float | None]
    last: list[float | None]
    volume: list[float | None]
    start: int
    until: int
    gaps: list[tuple[int, int]]
    simulated: bool


def chart(
    market: Market, *, span: str, since: int | None, now: datetime, import_id: int | None = None
) -> ChartColumns:
    """Return a market's quotes over one of `RANGES`, or only those newer than `since`.

    They are those of the record, live or later, or those of one import. The last quote may be
    drawn on up to `until`, which is now or the market's close, and of an import its last quote.
    """
    quotes = _quotes(market, import_id)
    until = _end(market, quotes, import_id, now)
    start = _start(market, span, quotes, until)
    after = EPOCH + (since + 1) * MILLISECOND if since is not None else start
    closes = quotes.between(max(start, after), now).closes(bucket=bucket(until - start))
    if since is None:
        closes = _in_force(quotes, start) + closes
    return {
        "t": [_milliseconds(close.timestamp) for close in closes],
        "bid": _floats([close.yes_bid for close in closes]),
        "ask": _floats([close.yes_ask for close in closes]),
        "last": _floats([close.last_price for close in closes]),
        "volume": _floats([close.volume for close in closes]),
        "start": _milliseconds(start),
        "until": _milliseconds(until),
        "gaps": [
            (_milliseconds(began), _milliseconds(ended))
            for began, ended in _gaps(market, import_id, min(max(start, after), until), until)
        ],
        "simulated": settings.SIMULATED,
    }


def table(market: Market, span: str, *, now: datetime, import_id: int | None = None) -> list[Close]:
    """Return the same quotes for a table, newest first, at most about `TABLE_ROWS` of them."""
    quotes = _quotes(market, import_id)
    until = _end(market, quotes, import_id, now)
    start = _start(market, span, quotes, until)
    width = bucket(until - start, points=TABLE_ROWS)
    return (_in_force(quotes, start) + quotes.between(start, now).closes(bucket=width))[::-1]


def gaps(
    market: Market, span: str, *, now: datetime, import_id: int | None = None
) -> list[Interval]:
    """Return when the market was not observed in the same range, newest first."""
    quotes = _quotes(market, import_id)
    until = _end(market, quotes, import_id, now)
    start = _start(market, span, quotes, until)
    return _gaps(market, import_id, start, until)[: -TABLE_ROWS - 1 : -1]


def bucket(span: timedelta, *, points: int = MOST_POINTS) -> timedelta:
    """Return the narrowest bucket that keeps a span within this many points."""
    least = span.total_seconds() / points
    widest = BUCKET_SECONDS[-1]
    seconds = next((s for s in BUCKET_SECONDS if s >= least), widest * (least // widest + 1))
    return timedelta(seconds=seconds)


def _quotes(market: Market, import_id: int | None) -> MarketSnapshotQuerySet:
    """Return the snapshots of a market in an import, or those of the record."""
    found = MarketSnapshot.objects.for_market(market)
    return found.recorded() if import_id is None else found.of_import(import_id)


def _end(
    market: Market, quotes: MarketSnapshotQuerySet, import_id: int | None, now: datetime
) -> datetime:
    """Return where a chart ends: now, the close of a market that is over, or an import's end."""
    if import_id is not None and (newest := quotes.newest()):
        return min(newest.timestamp + MILLISECOND, now)
    if market.status not in NOT_OPEN_STATUSES or market.close_time is None:
        return now
    return min(now, market.close_time)


def _start(market: Market, span: str, quotes: MarketSnapshotQuerySet, end: datetime) -> datetime:
    width = RANGES[span]
    begin = max(end - width, market.open_time or end - width) if width else _first(market, quotes)
    return min(begin or end, end - SHORTEST)


def _first(market: Market, quotes: MarketSnapshotQuerySet) -> datetime | None:
    oldest = quotes.oldest_first().first()
    return oldest.timestamp if oldest else market.open_time


def _in_force(quotes: MarketSnapshotQuerySet, start: datetime) -> list[Close]:
    """Return the quote in force when a range begins, if one was recorded before it."""
    before = quotes.between(None, start).newest()
    return [Close(*(getattr(before, name) for name in Close._fields))] if before else []


def _gaps(
    market: Market, import_id: int | None, start: datetime, until: datetime
) -> list[Interval]:
    """Return when the market could be traded and was not observed, as coverage tells it."""
    return unobserved(market, max(start, until - GAPS_WITHIN), until, import_id=import_id)[1]


def _milliseconds(instant: datetime) -> int:
    return (instant - EPOCH) // MILLISECOND


def _floats(values: Sequence[Decimal | None]) -> list[float | None]:
    return [None if value is None else float(value) for value in values]
