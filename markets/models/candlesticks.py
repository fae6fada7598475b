"""Kalshi's own candlesticks, and the quotes that they closed with."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Self

from django.db import connection, models

from kalshi_insights.arrays import Ints
from kalshi_insights.export.copy import read_integers, stage_rows
from markets.models.fields import COUNT, PRICE, Quote, count_field, price_field
from markets.models.markets import Market
from markets.models.observations import array_of
from markets.models.snapshots import content_of, snapshot_id

CANDLE = {
    "market_id": "bigint",
    "end_period_ts": "timestamptz",
    **{
        f"{side}_{name}": PRICE
        for side in ("yes_bid", "yes_ask", "price")
        for name in ("open", "low", "high", "close")
    },
    "price_mean": PRICE,
    "price_previous": PRICE,
    "volume": COUNT,
    "open_interest": COUNT,
}
RANGES = {
    "market": "market_id",
    "since": "(extract(epoch FROM end_period_ts) * 1000000)::bigint"
    " - period_interval * 60000000::bigint",
    "at": "(extract(epoch FROM end_period_ts) * 1000000)::bigint",
    "low": "coalesce(price_low * 10000, -1)::bigint",
    "high": "coalesce(price_high * 10000, -1)::bigint",
    "contracts": "CASE WHEN price_low IS NULL OR price_high IS NULL THEN 0"
    " ELSE coalesce(volume * 100, 0) END::bigint",
    # Where they opened, they were in the candle before.
    "ask_low": "CASE WHEN yes_ask_low >= yes_ask_open THEN -1"
    " ELSE coalesce(yes_ask_low * 10000, -1) END::bigint",
    "bid_high": "CASE WHEN yes_bid_high <= yes_bid_open THEN -1"
    " ELSE coalesce(yes_bid_high * 10000, -1) END::bigint",
}
CANDLE_STAGED = {**CANDLE, "snapshot_id": "uuid", "quality": "smallint"}
INSERT_CANDLES = f"""
    INSERT INTO markets_candlestick ({", ".join(CANDLE)}, period_interval, recorded_at)
    SELECT {", ".join(CANDLE)}, %s, %s FROM candle_staging
    ORDER BY market_id, end_period_ts, snapshot_id ON CONFLICT DO NOTHING
"""
# Candles that the exchange tells differently now than when they were recorded: the record stays,
# and so does the quote that was made of it.
TAKE_OUT_DIFFERING = f"""
    DELETE FROM candle_staging AS new USING markets_candlestick AS old
    WHERE old.market_id = new.market_id AND old.end_period_ts = new.end_period_ts
        AND old.period_interval = %s
        AND ROW({", ".join(f"old.{name}" for name in CANDLE)})
            IS DISTINCT FROM ROW({", ".join(f"new.{name}" for name in CANDLE)})
    RETURNING new.market_id, new.end_period_ts
"""
INSERT_SNAPSHOTS = """
    INSERT INTO markets_marketsnapshot (id, market_id, timestamp, yes_bid, yes_ask,
        last_price, open_interest, quality, source, recorded_at)
    SELECT snapshot_id, market_id, end_period_ts, yes_bid_close, yes_ask_close,
        coalesce(price_close, price_previous), open_interest, quality, %s, %s
    FROM candle_staging ORDER BY market_id, end_period_ts ON CONFLICT DO NOTHING
"""
# A locked market is being observed at this moment, which is later than any candle.
RENEW_QUOTES = """
    WITH newest AS MATERIALIZED (
        SELECT DISTINCT ON (market_id) * FROM candle_staging
        ORDER BY market_id, end_period_ts DESC, snapshot_id DESC
    ), free AS MATERIALIZED (
        SELECT id FROM markets_market JOIN newest ON newest.market_id = id
        WHERE (quoted_at IS NULL OR quoted_at < newest.end_period_ts
                OR quoted_at = newest.end_period_ts AND NOT EXISTS (
                    SELECT FROM markets_marketsnapshot AS later
                    WHERE later.market_id = newest.market_id
                        AND later.timestamp = newest.end_period_ts
                        AND later.id > newest.snapshot_id AND later.source <> 'IMPORT'))
            -- The recorder keeps the newest quote of an open market that it has observed.
            AND (quote_mark IS NULL OR status <> ALL('{active,inactive}'))
        FOR NO KEY UPDATE OF markets_market SKIP LOCKED)
    UPDATE markets_market AS old
    SET quoted_at = new.end_period_ts, yes_bid = new.yes_bid_close, yes_ask = new.yes_ask_close,
        yes_bid_size = NULL, yes_ask_size = NULL,
        last_price = coalesce(new.price_close, new.price_previous), volume = NULL,
        open_interest = new.open_interest, volume_24h = NULL, previous_price = NULL,
        quote_mark = NULL
    FROM newest AS new WHERE old.id = new.market_id AND old.id IN (SELECT id FROM free)
"""


class Candle(NamedTuple):
    """One period of one market, in the order of `CANDLE`, and the flags of its closing quote."""

    market_id: int
    end_period_ts: datetime
    yes_bid: tuple[Decimal | None, ...]  # open, low, high, close
    yes_ask: tuple[Decimal | None, ...]
    price: tuple[Decimal | None, ...]  # the same, then mean and previous
    volume: Decimal | None
    open_interest: Decimal | None
    quality: int


class CandlesWritten(NamedTuple):
    """Numbers of new rows, and market and end of each candle that differs from the record.

    Those that differ are not written: the record stays as it is.
    """

    candlesticks: int
    snapshots: int
    differing: Sequence[tuple[int, datetime]] = ()


class CandlestickQuerySet(models.QuerySet["Candlestick"]):
    def record(
        self,
        candles: Sequence[Candle],
        *,
        period_interval: int,
        source: str,
        recorded_at: datetime,
    ) -> CandlesWritten:
        """Write candles, and each closing quote as a snapshot; return what became of them.

        Call it inside a transaction. What is on record stays as it is. A market's newest
        quote is replaced where it is older than these and nobody else is writing it meanwhile.
        """
        if not candles:
            return CandlesWritten(0, 0)
        stage_rows("candle_staging", CANDLE_STAGED, (_row(each, source) for each in candles))
        with connection.cursor() as cursor:
            cursor.execute(INSERT_CANDLES, [period_interval, recorded_at])
            candlesticks = cursor.rowcount
            differing: list[tuple[int, datetime]] = []
            if candlesticks < len(candles):
                cursor.execute(TAKE_OUT_DIFFERING, [period_interval])
                differing = cursor.fetchall()
            cursor.execute(INSERT_SNAPSHOTS, [source, recorded_at])
            snapshots = cursor.rowcount
            cursor.execute(RENEW_QUOTES)
        return CandlesWritten(candlesticks, snapshots, differing)

    def periods(
        self, ids: Sequence[int], start: datetime, end: datetime, *, recorded_by: datetime
    ) -> list[tuple[int, int, int, int]]:
        """Return for each market and period of its candles: the market's id, the period, and the
        ends of the first and the last of them in a window; times are in microseconds."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT market_id, period_interval * 60000000::bigint,
                    (extract(epoch FROM min(end_period_ts)) * 1000000)::bigint,
                    (extract(epoch FROM max(end_period_ts)) * 1000000)::bigint
                FROM markets_candlestick
                WHERE market_id = ANY(%s::bigint[]) AND end_period_ts >= %s AND end_period_ts < %s
                    AND recorded_at <= %s
                GROUP BY market_id, period_interval
                """,
                [array_of(ids), start, end, recorded_by],
            )
            periods: list[tuple[int, int, int, int]] = cursor.fetchall()
        return periods

    def ranges(
        self, ids: Sequence[int], start: datetime, end: datetime, *, recorded_by: datetime
    ) -> dict[str, Ints]:
        """Return what traded in the candles of a window, and how far the best prices moved beyond
        their opening, by market and time, as columns (see `RANGES`): of several that end at one
        instant, in the shortest.

        Times are microseconds since 1970, prices 1/10,000 dollar, counts 1/100 contract; -1 is
        unknown. A candle that tells nothing of this is left out.
        """
        return read_integers(
            f"""
            SELECT * FROM (SELECT {", ".join(f"{sql} AS {name}" for name, sql in RANGES.items())}
            FROM (
                SELECT DISTINCT ON (market_id, end_period_ts) * FROM markets_candlestick
                WHERE market_id = ANY(%s) AND end_period_ts >= %s AND end_period_ts < %s
                    AND recorded_at <= %s
                ORDER BY market_id, end_period_ts, period_interval
            ) AS shortest) AS told
            WHERE contracts > 0 OR ask_low >= 0 OR bid_high >= 0 ORDER BY market, at
            """,
            [list(ids), start, end, recorded_by],
            list(RANGES),
        )

    def for_market(self, market: Market, *, period_interval: int) -> Self:
        return self.filter(market=market, period_interval=period_interval)

    def between(self, start: datetime, end: datetime) -> Self:
        """Periods that end from `start` on and before `end`."""
        return self.filter(end_period_ts__gte=start, end_period_ts__lt=end)


class Candlestick(models.Model):
    """One of Kalshi's own candlesticks; `end_period_ts` is its last instant, included.

    A side nobody offered at that moment is NULL, and so are trades' prices where nothing traded.
    """

    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="candlesticks",
        db_index=False,  # `candlestick_once` begins with the market
    )
    period_interval = models.IntegerField(help_text="Minutes: 1, 60 or 1440.")
    end_period_ts = models.DateTimeField()
    yes_bid_open = price_field()
    yes_bid_high = price_field()
    yes_bid_low = price_field()
    yes_bid_close = price_field()
    yes_ask_open = price_field()
    yes_ask_high = price_field()
    yes_ask_low = price_field()
    yes_ask_close = price_field()
    price_open = price_field()
    price_high = price_field()
    price_low = price_field()
    price_close = price_field()
    price_mean = price_field()
    price_previous = price_field()
    volume = count_field()
    open_interest = count_field()
    recorded_at = models.DateTimeField()

    objects = CandlestickQuerySet.as_manager()

    class Meta:
        ordering = ["end_period_ts"]
        constraints = [
            models.UniqueConstraint(
                fields=["market", "period_interval", "end_period_ts"], name="candlestick_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} until {self.end_period_ts:%Y-%m-%d %H:%M}"


def _row(candle: Candle, source: str) -> tuple[object, ...]:
    market_id, at, bid, ask, price, volume, interest, quality = candle
    quote = Quote(
        yes_bid=bid[-1],
        yes_ask=ask[-1],
        yes_bid_size=None,
        yes_ask_size=None,
        last_price=price[-1] if price[3] is None else price[3],
        volume=None,
        open_interest=interest,
    )
    # Pass plain hex: converting a UUID costs COPY as much as making it costs us.
    id = snapshot_id(market_id, at, source, None, content=content_of(quote)).hex
    return (market_id, at, *bid, *ask, *price, volume, interest, id, quality)
