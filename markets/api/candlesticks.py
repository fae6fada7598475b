"""Candlesticks of one market, computed from its snapshots; its newest snapshot; its order book."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kalshi_insights.export.postgres import ExportQuery
from markets.intervals import EPOCH
from markets.models import Market, MarketSnapshot, OrderBookSnapshot
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
}
# A bucket opens with its first snapshot and closes with its last one, even where that has no
# quote. One array holds the values of both, since each further aggregate costs time in every
# bucket.
BUCKETS = """
    WITH found AS (
        SELECT date_bin(%(interval)s, timestamp, %(epoch)s) AS start,
            yes_bid, yes_ask, last_price, volume
        FROM markets_marketsnapshot
        WHERE market_id = %(market)s AND timestamp >= %(start)s AND timestamp < %(end)s
            AND (%(source)s::text IS NULL OR source = %(source)s)
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
                AND (%(source)s::text IS NULL OR source = %(source)s)
             ORDER BY timestamp DESC LIMIT 1)) AS before
        FROM buckets
    )
    SELECT start, quotes[1][1] AS yes_bid_open, yes_bid_high, yes_bid_low,
        quotes[snapshots][1] AS yes_bid_close, quotes[1][2] AS yes_ask_open, yes_ask_high,
        yes_ask_low, quotes[snapshots][2] AS yes_ask_close, quotes[snapshots][3] AS last_price,
        CASE WHEN volume IS NOT NULL THEN greatest(until, before) - before END AS volume, snapshots
    FROM known ORDER BY start
"""
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

    @property
    def buckets(self) -> int:
        return (self.end - self.start) // self.interval


def candlesticks(market: Market, window: Window, *, source: str | None) -> ExportQuery:
    """One row for each bucket that has a snapshot, oldest first, with the columns `CANDLESTICKS`.

    `volume` is what was traded since the newest earlier snapshot that has a volume.
    """
    parameters = {
        "market": market.pk,
        "source": source,
        "epoch": EPOCH,
        "before": window.start - LOOK_BACK,
        **window._asdict(),
    }
    return ExportQuery(BUCKETS, parameters, CANDLESTICKS)


def book(market: Market, *, as_of: datetime | None) -> OrderBookSnapshot | None:
    """The market's newest order book as of an instant; None for `as_of` is now."""
    at = datetime.now(UTC) + CLOCK_TOLERANCE if as_of is None else as_of
    return market.order_books.filter(timestamp__lte=at).order_by("-timestamp").first()


def newest(market: Market) -> MarketSnapshot | None:
    """The market's newest snapshot, which is searched first in the days since its newest quote."""
    # What a clock that was set back has left in the future is not the newest.
    snapshots = market.snapshots.filter(timestamp__lte=datetime.now(UTC) + CLOCK_TOLERANCE)
    return snapshots.between(market.quoted_at, None).newest() or snapshots.newest()
