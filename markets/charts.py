"""The columns of a market's price chart."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypedDict

from django import forms
from django.conf import settings

from markets.coverage.coverage import unobserved
from markets.intervals import EPOCH, Interval
from markets.models import Market, MarketSnapshot
from markets.models.markets import NOT_OPEN_STATUSES
from markets.models.snapshots import Close

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


def chart(market: Market, *, span: str, since: int | None, now: datetime) -> ChartColumns:
    """Return a market's quotes over one of `RANGES`, or only those newer than `since`.

    The last quote may be drawn on up to `until`, which is now or the market's close.
    """
    until = _end(market, now)
    start = _start(market, span, until)
    after = EPOCH + (since + 1) * MILLISECOND if since is not None else start
    recorded = MarketSnapshot.objects.recorded().for_market(market).between(max(start, after), now)
    closes = recorded.closes(bucket=bucket(until - start))
    if since is None:
        closes = _in_force(market, start) + closes
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
            for began, ended in _gaps(market, min(max(start, after), until), until)
        ],
        "simulated": settings.SIMULATED,
    }


def table(market: Market, span: str, *, now: datetime) -> list[Close]:
    """Return the same quotes for a table, newest first, at most about `TABLE_ROWS` of them."""
    until = _end(market, now)
    start = _start(market, span, until)
    recorded = MarketSnapshot.objects.recorded().for_market(market).between(start, now)
    closes = recorded.closes(bucket=bucket(until - start, points=TABLE_ROWS))
    return (_in_force(market, start) + closes)[::-1]


def gaps(market: Market, span: str, *, now: datetime) -> list[Interval]:
    """Return when the market was not observed in the same range, newest first."""
    until = _end(market, now)
    return _gaps(market, _start(market, span, until), until)[: -TABLE_ROWS - 1 : -1]


def bucket(span: timedelta, *, points: int = MOST_POINTS) -> timedelta:
    """Return the narrowest bucket that keeps a span within this many points."""
    least = span.total_seconds() / points
    widest = BUCKET_SECONDS[-1]
    seconds = next((s for s in BUCKET_SECONDS if s >= least), widest * (least // widest + 1))
    return timedelta(seconds=seconds)


def _end(market: Market, now: datetime) -> datetime:
    """Return where a chart ends: now, or the close of a market that is over."""
    if market.status not in NOT_OPEN_STATUSES or market.close_time is None:
        return now
    return min(now, market.close_time)


def _start(market: Market, span: str, end: datetime) -> datetime:
    width = RANGES[span]
    begin = max(end - width, market.open_time or end - width) if width else _first(market)
    return min(begin or end, end - SHORTEST)


def _first(market: Market) -> datetime | None:
    oldest = MarketSnapshot.objects.recorded().for_market(market).oldest_first().first()
    return oldest.timestamp if oldest else market.open_time


def _in_force(market: Market, start: datetime) -> list[Close]:
    """Return the quote in force when a range begins, if one was recorded before it."""
    before = MarketSnapshot.objects.recorded().for_market(market).between(None, start).newest()
    return [Close(*(getattr(before, name) for name in Close._fields))] if before else []


def _gaps(market: Market, start: datetime, until: datetime) -> list[Interval]:
    """Return when the market could be traded and was not observed, as coverage tells it."""
    return unobserved(market, max(start, until - GAPS_WITHIN), until)[1]


def _milliseconds(instant: datetime) -> int:
    return (instant - EPOCH) // MILLISECOND


def _floats(values: Sequence[Decimal | None]) -> list[float | None]:
    return [None if value is None else float(value) for value in values]
