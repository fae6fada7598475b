"""Public trades."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Self

from django.db import connection, models

from kalshi_insights.export.copy import stage_rows
from markets.models.fields import COUNT, PRICE
from markets.models.markets import Market

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
INSERT_TRADES = f"""
    INSERT INTO markets_trade ({", ".join(TRADE)}, recorded_at)
    SELECT {", ".join(TRADE)}, %s FROM trade_staging ORDER BY trade_id ON CONFLICT DO NOTHING
"""
SELECT_DIFFERING = f"""
    SELECT new.market_id, new.created_time FROM trade_staging AS new
    JOIN markets_trade AS old ON old.trade_id = new.trade_id
    WHERE ROW({", ".join(f"old.{name}" for name in TRADE)})
        IS DISTINCT FROM ROW({", ".join(f"new.{name}" for name in TRADE)})
"""


class PublicTrade(NamedTuple):
    """One public trade, its fields in the order of `TRADE`."""

    trade_id: str
    market_id: int
    created_time: datetime
    contracts: Decimal
    yes_price: Decimal
    taker_outcome_side: str
    taker_book_side: str
    is_block_trade: bool


class TradesWritten(NamedTuple):
    """The number of new trades, and market and time of each that differs from the record.

    Those that differ are not written: the record stays as it is.
    """

    trades: int
    differing: Sequence[tuple[int, datetime]] = ()


class TradeQuerySet(models.QuerySet["Trade"]):
    def record(self, trades: Sequence[PublicTrade], *, recorded_at: datetime) -> TradesWritten:
        """Write the trades that are not on record; call it in a transaction."""
        if not trades:
            return TradesWritten(0)
        stage_rows("trade_staging", TRADE, trades)
        with connection.cursor() as cursor:
            cursor.execute(INSERT_TRADES, [recorded_at])
            written: int = cursor.rowcount
            differing: list[tuple[int, datetime]] = []
            if written < len(trades):
                cursor.execute(SELECT_DIFFERING)
                differing = cursor.fetchall()
        return TradesWritten(written, differing)

    def for_market(self, market: Market) -> Self:
        return self.filter(market=market)

    def oldest_first(self) -> Self:
        return self.order_by("created_time", "trade_id")

    def in_the_book(self) -> Self:
        """Trades without block trades, which were negotiated outside the order book."""
        return self.filter(is_block_trade=False)

    def blocks(self) -> Self:
        return self.filter(is_block_trade=True)

    def between(self, start: datetime, end: datetime) -> Self:
        """Trades from `start` on and before `end`."""
        return self.filter(created_time__gte=start, created_time__lt=end)


class Trade(models.Model):
    """One public trade. Block trades were negotiated outside the order book."""

    trade_id = models.CharField(max_length=100, unique=True)
    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="trades")
    created_time = models.DateTimeField()
    count = models.DecimalField(max_digits=18, decimal_places=2)
    yes_price = models.DecimalField(max_digits=6, decimal_places=4)
    taker_outcome_side = models.CharField(max_length=50)
    taker_book_side = models.CharField(max_length=50)
    is_block_trade = models.BooleanField()
    recorded_at = models.DateTimeField()

    objects = TradeQuerySet.as_manager()

    class Meta:
        ordering = ["created_time", "trade_id"]
        indexes = [models.Index(fields=["market", "created_time"], name="trade_market_created")]

    def __str__(self) -> str:
        return self.trade_id
