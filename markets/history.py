"""What the exchange itself recorded before we did: its candlesticks and its public trades."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple, Self

from django.db import connection, models

from markets.querysets import snapshot_id

if TYPE_CHECKING:
    from markets.models import Candlestick, Market, Trade  # noqa: F401

PRICE = "numeric(6,4)"
COUNT = "numeric(18,2)"
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
TRADE = {
    "trade_id": "text",
    "market_id": "bigint",
    "created_time": "timestamptz",
    "count": COUNT,
    "yes_price": PRICE,
    "taker_outcome_side": "text",
    "taker_book_side": "text",
    "is_block_trade": "boolean",
}
CANDLE_STAGED = {**CANDLE, "snapshot_id": "uuid", "quality": "smallint"}

INSERT_CANDLES = f"""
    INSERT INTO markets_candlestick ({", ".join(CANDLE)}, period_interval, recorded_at)
    SELECT {", ".join(CANDLE)}, %s, %s FROM candle_staging
    ORDER BY market_id, end_period_ts ON CONFLICT DO NOTHING
"""
INSERT_SNAPSHOTS = """
    INSERT INTO markets_marketsnapshot (id, market_id, timestamp, yes_bid, yes_ask,
        last_price, open_interest, quality, source, recorded_at)
    SELECT snapshot_id, market_id, end_period_ts, yes_bid_close, yes_ask_close,
        coalesce(price_close, price_previous), open_interest, quality, %s, %s
    FROM candle_staging ORDER BY market_id, end_period_ts ON CONFLICT DO NOTHING
"""
# A market that is locked is being observed at this moment: later than any candle.
RENEW_QUOTES = """
    WITH newest AS MATERIALIZED (
        SELECT DISTINCT ON (market_id) * FROM candle_staging ORDER BY market_id, end_period_ts DESC
    ), free AS MATERIALIZED (
        SELECT id FROM markets_market JOIN newest ON newest.market_id = id
        WHERE quoted_at IS NULL OR quoted_at < newest.end_period_ts
            -- Of an open market that it has seen, the recorder tells.
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
INSERT_TRADES = f"""
    INSERT INTO markets_trade ({", ".join(TRADE)}, recorded_at)
    SELECT {", ".join(TRADE)}, %s FROM trade_staging ORDER BY trade_id ON CONFLICT DO NOTHING
"""


class Candle(NamedTuple):
    """One period of one market, in the order of `CANDLE`, and the flags of its closing quote."""

    market_id: int
    end_period_ts: datetime
    yes_bid: tuple[Decimal | None, ...]  # open, low, high, close
    yes_ask: tuple[Decimal | None, ...]
    price: tuple[Decimal | None, ...]  # the same, then mean and previous
    volume: Decimal
    open_interest: Decimal
    quality: int


class Written(NamedTuple):
    candlesticks: int
    snapshots: int


class CandlestickQuerySet(models.QuerySet["Candlestick"]):
    def record(
        self,
        candles: Sequence[Candle],
        *,
        period_interval: int,
        source: str,
        recorded_at: datetime,
    ) -> Written:
        """Write candles, and each one's closing quote as a snapshot; tells how many were new.

        To be called inside a transaction. What is on record stays as it is. A market's newest
        quote is replaced where it is older than these and nobody else is writing it meanwhile.
        """
        if not candles:
            return Written(0, 0)
        _stage("candle_staging", CANDLE_STAGED, (_row(each, source) for each in candles))
        with connection.cursor() as cursor:
            cursor.execute(INSERT_CANDLES, [period_interval, recorded_at])
            candlesticks = cursor.rowcount
            cursor.execute(INSERT_SNAPSHOTS, [source, recorded_at])
            snapshots = cursor.rowcount
            cursor.execute(RENEW_QUOTES)
        return Written(candlesticks, snapshots)

    def for_market(self, market: Market, *, period_interval: int) -> Self:
        return self.filter(market=market, period_interval=period_interval)

    def between(self, start: datetime, end: datetime) -> Self:
        """Periods that end from `start` on and before `end`."""
        return self.filter(end_period_ts__gte=start, end_period_ts__lt=end)


class PublicTrade(NamedTuple):
    """One public match, in the order of `TRADE`."""

    trade_id: str
    market_id: int
    created_time: datetime
    contracts: Decimal
    yes_price: Decimal
    taker_outcome_side: str
    taker_book_side: str
    is_block_trade: bool


class TradeQuerySet(models.QuerySet["Trade"]):
    def record(self, trades: Sequence[PublicTrade], *, recorded_at: datetime) -> int:
        """Write those trades that are not on record; tells how many. Inside a transaction."""
        if not trades:
            return 0
        _stage("trade_staging", TRADE, trades)
        with connection.cursor() as cursor:
            cursor.execute(INSERT_TRADES, [recorded_at])
            written: int = cursor.rowcount
        return written

    def for_market(self, market: Market) -> Self:
        return self.filter(market=market)

    def oldest_first(self) -> Self:
        return self.order_by("created_time", "trade_id")

    def in_the_book(self) -> Self:
        """Without blocks, which were negotiated elsewhere."""
        return self.filter(is_block_trade=False)

    def blocks(self) -> Self:
        return self.filter(is_block_trade=True)

    def between(self, start: datetime, end: datetime) -> Self:
        """From `start` on and before `end`."""
        return self.filter(created_time__gte=start, created_time__lt=end)


def _row(candle: Candle, source: str) -> tuple[object, ...]:
    market_id, at, bid, ask, price, volume, interest, quality = candle
    # COPY takes the digits as they are: writing a UUID out costs as much as making it.
    id = snapshot_id(market_id, at, source, None).hex
    return (market_id, at, *bid, *ask, *price, volume, interest, id, quality)


def _stage(table: str, columns: dict[str, str], rows: Iterable[Sequence[object]]) -> None:
    described = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS {table} ({described}) ON COMMIT DELETE ROWS"
        )
        # A second call in the same transaction finds the first one's rows.
        cursor.execute(f"TRUNCATE {table}")
        with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
