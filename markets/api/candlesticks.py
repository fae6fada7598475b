"""Candlesticks of one market, computed from its snapshots; its newest snapshot; its order book."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kalshi_insights.export.postgres import ExportQuery
from markets.coverage.causes import INSTANT
from markets.coverage.coverage import unobserved
from markets.intervals import EPOCH, Interval, multirange
from markets.models import (
    ImportedSpan,
    Market,
    MarketSnapshot,
    OrderBookSnapshot,
    Source,
    Status,
)
from markets.models.imports import LINE_BITS
from markets.models.markets import NOT_OPEN_STATUSES
from markets.models.recording import CLOCK_TOLERANCE

INTERVALS = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
}
PRICE = "numeric(6,4)"
CANDLESTICKS = {
    "start": "timestamptz",
    **{
        f"{side}_{name}": PRICE
        for side in ("yes_bid", "yes_ask")
        for name in ("open", "high", "low", "close")
    },
    "last_price": PRICE,
    "volume": "numeric(18,2)",
    "snapshots": "bigint",
    "state": "text",
}
# A bucket without a snapshot is quiet if the market was observed throughout.
STATES = ("recorded", "quiet", "unobserved", "untradable")
# Without a source nothing imported counts; with that of imports, those that are named.
OF_SOURCE = """CASE WHEN %(source)s::text IS NULL THEN source <> 'IMPORT'
        WHEN %(source)s = 'IMPORT' THEN source = 'IMPORT'
            AND sequence >> %(line_bits)s = ANY(%(imports)s::bigint[])
        ELSE source = %(source)s END"""
# A bucket opens with its first snapshot and closes with its last one, even where that has no
# quote. One array holds the values of both, since each further aggregate costs time in every
# bucket.
BUCKETS = f"""
    WITH found AS (
        SELECT date_bin(%(interval)s, timestamp, %(epoch)s) AS start,
            yes_bid, yes_ask, last_price, volume
        FROM markets_marketsnapshot
        WHERE market_id = %(market)s AND timestamp >= %(start)s AND timestamp < %(end)s
            AND {OF_SOURCE}
        ORDER BY start, timestamp, id
    ), buckets AS (
        SELECT start, array_agg(ARRAY[yes_bid, yes_ask, last_price]) AS quotes,
            max(yes_bid) AS yes_bid_high, min(yes_bid) AS yes_bid_low,
            max(yes_ask) AS yes_ask_high, min(yes_ask) AS yes_ask_low,
            max(volume) AS volume, count(*) AS snapshots
        FROM found GROUP BY start
    ), known AS (
        SELECT *, max(volume) OVER (ORDER BY start) AS until, greatest(
            max(volume) OVER (ORDER BY start ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
            (SELECT volume FROM markets_marketsnapshot
             WHERE market_id = %(market)s AND volume IS NOT NULL
                AND timestamp >= %(before)s AND timestamp < %(start)s
                AND {OF_SOURCE}
             ORDER BY timestamp DESC, id DESC LIMIT 1)) AS before
        FROM buckets
    )
    SELECT bucket.start, quotes[1][1] AS yes_bid_open, yes_bid_high, yes_bid_low,
        quotes[snapshots][1] AS yes_bid_close, quotes[1][2] AS yes_ask_open, yes_ask_high,
        yes_ask_low, quotes[snapshots][2] AS yes_ask_close, quotes[snapshots][3] AS last_price,
        CASE WHEN volume IS NOT NULL THEN greatest(until, before) - before END AS volume,
        coalesce(snapshots, 0) AS snapshots,
        CASE WHEN snapshots IS NOT NULL THEN 'recorded'
            WHEN tstzrange(bucket.start, bucket.start + %(interval)s)
                && %(unobserved)s::tstzmultirange THEN 'unobserved'
            WHEN %(untradable)s::tstzmultirange
                @> tstzrange(bucket.start, least(bucket.start + %(interval)s, %(until)s))
                THEN 'untradable'
            ELSE 'quiet' END AS state
    FROM generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 microsecond',
        %(interval)s) AS bucket (start)
    LEFT JOIN known ON known.start = bucket.start ORDER BY bucket.start
"""  # noqa: S608
# The volume of the first bucket is counted from the newest snapshot before it, if that is not
# older than this.
LOOK_BACK = timedelta(days=1)


class Window(NamedTuple):
    """From `start` on and before `end`, in buckets that begin at multiples of the interval."""

    start: datetime
    end: datetime
    interval: timedelta

    @classmethod
    def around(cls, start: datetime, end: datetime, interval: timedelta) -> Window:
        """The window of whole buckets that covers these instants."""
        first = start - (start - EPOCH) % interval
        return cls(first, end + (EPOCH - end) % interval, interval)

    @classmethod
    def of_market(cls, market: Market, span: Interval, interval: timedelta) -> Window:
        """The window of these instants, without what lies beyond the market's life or now."""
        start = span.start
        if market.open_time is None or start < market.open_time:
            first = first_on_record(market)
            start = max(start, min(market.open_time or first, first))
        end = min(span.end, last_on_record(market, now=datetime.now(UTC)))
        return cls.around(start, max(start, end), interval)

    @property
    def buckets(self) -> int:
        return (self.end - self.start) // self.interval

    def first(self, buckets: int) -> Window:
        return self._replace(end=min(self.end, self.start + buckets * self.interval))


def recorded_range(market: Market, start: datetime | None, end: datetime | None) -> Interval:
    """The range that a request means: without bounds, all that is on record of the market.

    It begins with the first snapshot, or with the opening where there is none, and ends now, or
    with the close of a market that is over and the last snapshot.
    """
    now = datetime.now(UTC)
    if start is None:
        start = first_on_record(market)
    if end is None:
        end = last_on_record(market, now=now)
        end = end if end > start else now
    return Interval(start, end)


def first_on_record(market: Market) -> datetime:
    """The instant of a market's first snapshot, else its opening, else its definition's."""
    oldest = market.snapshots.recorded().oldest_first().first()
    return oldest.timestamp if oldest else market.open_time or market.recorded_at


def last_on_record(market: Market, *, now: datetime) -> datetime:
    """The instant after the close and the last quote of a market that is over; else now."""
    times = [each for each in (market.close_time, market.quoted_at) if each]
    is_over = market.status in NOT_OPEN_STATUSES and market.status != Status.INITIALIZED
    if not is_over or not times:
        return now
    return min(max(times) + INSTANT, now)


def imported_range(
    market: Market, import_id: int, start: datetime | None, end: datetime | None
) -> Interval:
    """The part of a range in which an import has quotes of a market; empty where it has none."""
    span = ImportedSpan.objects.of_import(import_id, market)
    nothing = Interval(EPOCH, EPOCH)
    if span is None:
        return nothing
    last = span.last_at + INSTANT
    found = Interval(max(start or span.first_at, span.first_at), min(end or last, last))
    return found if found.start < found.end else nothing


def candlesticks(
    market: Market, window: Window, *, source: str | None, import_id: int | None = None
) -> ExportQuery:
    """One row for each bucket up to now, oldest first, with the columns `CANDLESTICKS`.

    `volume` is what was traded since the newest earlier snapshot that has a volume. Of a bucket
    without a snapshot, `state` tells whether anybody was looking. With an import its rows count
    alone.
    """
    if import_id is not None:
        source, imports = Source.IMPORT.value, [import_id]
    else:
        is_imported = source == Source.IMPORT
        imports = ImportedSpan.objects.imports_of([market.pk]) if is_imported else []
    untradable, gaps = unobserved(
        market, window.start, window.end, source=source, import_id=import_id
    )
    parameters = {
        "until": max(window.start, min(window.end, datetime.now(UTC))),
        "untradable": multirange(untradable),
        "unobserved": multirange(gaps),
        "market": market.pk,
        "source": source,
        "imports": imports,
        "line_bits": LINE_BITS,
        "epoch": EPOCH,
        "before": window.start - LOOK_BACK,
        **window._asdict(),
    }
    return ExportQuery(BUCKETS, parameters, CANDLESTICKS)


def book(market: Market, *, as_of: datetime | None) -> OrderBookSnapshot | None:
    """The market's newest order book as of an instant; None for `as_of` is now."""
    at = datetime.now(UTC) + CLOCK_TOLERANCE if as_of is None else as_of
    return market.order_books.recorded().filter(timestamp__lte=at).newest()


def newest(market: Market) -> MarketSnapshot | None:
    """The market's newest snapshot, which is searched first in the days since its newest quote."""
    # What a clock that was set back has left in the future is not the newest.
    snapshots = market.snapshots.recorded().filter(
        timestamp__lte=datetime.now(UTC) + CLOCK_TOLERANCE
    )
    return snapshots.between(market.quoted_at, None).newest() or snapshots.newest()
