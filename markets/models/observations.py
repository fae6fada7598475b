"""What was observed of markets, by us or by the exchange itself."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from markets import prices
from markets.books import OrderBookQuerySet
from markets.history import CandlestickQuerySet, TradeQuerySet
from markets.models.definitions import Market, Quoted, count_field, price_field, within_unit
from markets.reads import SnapshotReads


class Source(models.TextChoices):
    POLL = "POLL"
    WEBSOCKET = "WEBSOCKET"
    BACKFILL = "BACKFILL"


class MarketSnapshot(Quoted):
    """One observation of the top of a market's book.

    Written when something changed and as a heartbeat. `id` is made of market, instant, source
    and sequence (see `querysets.snapshot_id`), so that the same observation is the same row.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="snapshots",
        db_index=False,  # `snapshot_once` begins with the market
    )
    timestamp = models.DateTimeField(
        help_text="POLL: the instant the last byte of the response arrived."
    )
    recorded_at = models.DateTimeField(help_text="When this row was written.")
    source = models.CharField(max_length=10, choices=Source)
    sequence = models.BigIntegerField(null=True, blank=True, help_text="Streams only.")
    quality = models.SmallIntegerField(
        default=0,
        help_text="Bit flags: 1 crossed, 2 locked, 4 off the price grid, 8 one-sided, 16 stale.",
    )
    raw_data = models.JSONField(
        null=True, blank=True, help_text="What the payload had that no column holds."
    )

    objects = SnapshotReads.as_manager()

    class Meta:
        ordering = ["timestamp", "id"]
        constraints = [
            *within_unit("yes_bid", "yes_ask", "last_price", model="snapshot"),
            models.UniqueConstraint(
                fields=["market", "timestamp", "source", "sequence"],
                nulls_distinct=False,
                name="snapshot_once",
            ),
        ]
        indexes = [BrinIndex(fields=["timestamp"], name="snapshot_timestamp_brin")]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"

    @property
    def flags(self) -> prices.Quality:
        return prices.Quality(self.quality)


class RawPayload(models.Model):
    """A market's payload as it arrived, whenever it brought news; kept for hours.

    `id` is that of the snapshot it was read into.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="raw_payloads",
        db_index=False,  # looked up by a snapshot's id
        db_constraint=False,  # its snapshot has made sure
    )
    timestamp = models.DateTimeField(help_text="The instant the last byte arrived.")
    payload = models.TextField()

    class Meta:
        ordering = ["timestamp", "id"]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"


class OrderBookSnapshot(models.Model):
    """All levels of a market's book, written when they changed.

    Both sides in dollars on the YES scale, the best first; an ask is one dollar less somebody's
    NO bid. An empty side is an empty array.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="order_books",
        db_index=False,  # `order_book_once` begins with the market
    )
    timestamp = models.DateTimeField(help_text="The instant the last byte arrived.")
    bid_prices = ArrayField(models.DecimalField(max_digits=6, decimal_places=4))
    bid_sizes = ArrayField(models.DecimalField(max_digits=18, decimal_places=2))
    ask_prices = ArrayField(models.DecimalField(max_digits=6, decimal_places=4))
    ask_sizes = ArrayField(models.DecimalField(max_digits=18, decimal_places=2))

    objects = OrderBookQuerySet.as_manager()

    class Meta:
        ordering = ["timestamp", "id"]
        constraints = [
            models.UniqueConstraint(fields=["market", "timestamp"], name="order_book_once")
        ]

    def __str__(self) -> str:
        return f"{self.market_id} at {self.timestamp:%Y-%m-%d %H:%M:%S}"


class Candlestick(models.Model):
    """One of Kalshi's own candles, whole; `end_period_ts` is its last instant, included.

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


class Trade(models.Model):
    """One public match. Blocks were negotiated elsewhere and never were in the book."""

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
        ordering = ["created_time", "id"]
        indexes = [models.Index(fields=["market", "created_time"], name="trade_market_created")]

    def __str__(self) -> str:
        return self.trade_id
