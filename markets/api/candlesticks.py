"""What was observed of one market: snapshots summed up by stretches of time, and its book."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from kalshi_insights.export.postgres import Selection
from markets.intervals import EPOCH
from markets.models import Market, MarketSnapshot, OrderBookSnapshot

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
# What a bucket's first snapshot says is its open, what its last one says its close, be it None.
# All of them in one array, since each aggregate costs its time in each of a thousand buckets.
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
# How old the volume may be that a first bucket's is counted from.
REMEMBERED = timedelta(days=1)


class Window(NamedTuple):
    """From `start` on and before `end`, in buckets that begin at multiples of the interval."""

    start: datetime
    end: datetime
    interval: timedelta

    @classmethod
    def around(cls, start: datetime, end: datetime, interval: timedelta) -> Window:
        """The whole buckets that these instants lie in."""
        first = start - (start - EPOCH) % interval
        return cls(first, end + (EPOCH - end) % interval, interval)

    @property
    def buckets(self) -> int:
        return (self.end - self.start) // self.interval


def candlesticks(market: Market, window: Window, *, source: str | None) -> Selection:
    """One row for each bucket that has a snapshot, oldest first, as `CANDLESTICKS` says.

    `volume` is what was traded since the newest snapshot before the bucket's that tells it.
    """
    parameters = {
        "market": market.pk,
        "source": source,
        "epoch": EPOCH,
        "before": window.start - REMEMBERED,
        **window._asdict(),
    }
    return Selection(BUCKETS, parameters, CANDLESTICKS)


def book(market: Market, *, at: datetime | None) -> OrderBookSnapshot | None:
    """The market's whole book as it was last seen, then or (None) by now."""
    seen = market.order_books.all() if at is None else market.order_books.filter(timestamp__lte=at)
    return seen.order_by("-timestamp").first()


def newest(market: Market) -> MarketSnapshot | None:
    """The market's newest snapshot, looked for in the days since the market's newest quote."""
    snapshots = market.snapshots.all()
    return snapshots.between(market.quoted_at, None).newest() or snapshots.newest()
