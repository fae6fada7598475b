"""What is recorded of the exchange, and the ledger of the recording itself.

Columns that mirror Kalshi keep Kalshi's word minus its unit suffix. Prices are dollars on the
YES scale, counts are contracts; a missing side of a book is NULL. Every instant is aware UTC.
"""

from datetime import datetime
from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.urls import reverse

from markets import prices
from markets.querysets import (
    EventQuerySet,
    MarketQuerySet,
    MarketSnapshotQuerySet,
    PollQuerySet,
    SeriesQuerySet,
    SweepQuerySet,
)


def price_field() -> "models.DecimalField[Decimal | None, Decimal | None]":
    return models.DecimalField(max_digits=6, decimal_places=4, null=True, blank=True)


def count_field() -> "models.DecimalField[Decimal | None, Decimal | None]":
    return models.DecimalField(max_digits=18, decimal_places=2, null=True, blank=True)


def within_unit(*fields: str, model: str) -> list[models.BaseConstraint]:
    """One constraint a field: NULL or between 0 and 1 dollar."""
    return [
        models.CheckConstraint(
            condition=Q(**{f"{field}__gte": 0, f"{field}__lte": 1}),
            name=f"{model}_{field}_within_unit",
        )
        for field in fields
    ]


class Status(models.TextChoices):
    """Kalshi's life of a market. Unknown words are stored as they came."""

    INITIALIZED = "initialized"
    INACTIVE = "inactive"
    ACTIVE = "active"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"


class Series(models.Model):
    ticker = models.CharField(max_length=200, unique=True)
    title = models.TextField(blank=True)
    category = models.CharField(max_length=200, blank=True, db_index=True)
    tags = ArrayField(models.TextField(), default=list, blank=True)
    frequency = models.CharField(max_length=100, blank=True)
    fee_type = models.CharField(max_length=100, blank=True)
    fee_multiplier = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    settlement_sources = models.JSONField(default=list, blank=True)
    contract_url = models.TextField(blank=True)
    exchange_index = models.IntegerField(null=True, blank=True)
    refreshed_at = models.DateTimeField(
        null=True, blank=True, help_text="When the exchange's own record was last read whole."
    )

    objects = SeriesQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]
        verbose_name_plural = "series"

    def __str__(self) -> str:
        return self.ticker


class Event(models.Model):
    ticker = models.CharField(max_length=200, unique=True)
    series = models.ForeignKey(Series, on_delete=models.PROTECT, related_name="events")
    title = models.TextField(blank=True)
    sub_title = models.TextField(blank=True)
    mutually_exclusive = models.BooleanField(null=True, blank=True)
    collateral_return_type = models.CharField(max_length=50, blank=True)
    strike_date = models.DateTimeField(null=True, blank=True)
    strike_period = models.CharField(max_length=200, blank=True)
    settlement_sources = models.JSONField(default=list, blank=True)
    fee_type_override = models.CharField(max_length=100, blank=True)
    fee_multiplier_override = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True
    )
    exchange_index = models.IntegerField(null=True, blank=True)
    recorded_at = models.DateTimeField(help_text="When this definition was last seen to change.")

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]

    def __str__(self) -> str:
        return self.ticker


class Quoted(models.Model):
    """The top of a book and what traded, as a market's newest quote and a snapshot share it."""

    yes_bid = price_field()
    yes_ask = price_field()
    yes_bid_size = count_field()
    yes_ask_size = count_field()
    last_price = price_field()
    volume = count_field()
    open_interest = count_field()

    class Meta:
        abstract = True

    @property
    def mid(self) -> Decimal | None:
        return prices.mid(self.yes_bid, self.yes_ask)

    @property
    def spread(self) -> Decimal | None:
        return prices.spread(self.yes_bid, self.yes_ask)


class Market(Quoted):
    ticker = models.CharField(max_length=200, unique=True)
    event = models.ForeignKey(Event, on_delete=models.PROTECT, related_name="markets")
    market_type = models.CharField(max_length=50, blank=True)
    title = models.TextField(blank=True)
    yes_sub_title = models.TextField(blank=True)
    no_sub_title = models.TextField(blank=True)
    status = models.CharField(max_length=50, choices=Status)
    result = models.CharField(max_length=50, blank=True)
    settlement_value = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    settlement_ts = models.DateTimeField(null=True, blank=True)
    settlement_timer_seconds = models.IntegerField(null=True, blank=True)

    open_time = models.DateTimeField()
    close_time = models.DateTimeField()
    expected_expiration_time = models.DateTimeField(null=True, blank=True)
    latest_expiration_time = models.DateTimeField(null=True, blank=True)
    created_time = models.DateTimeField(null=True, blank=True)
    updated_time = models.DateTimeField(null=True, blank=True)
    can_close_early = models.BooleanField(null=True, blank=True)

    strike_type = models.CharField(max_length=50, blank=True)
    floor_strike = models.DecimalField(max_digits=24, decimal_places=8, null=True, blank=True)
    cap_strike = models.DecimalField(max_digits=24, decimal_places=8, null=True, blank=True)
    price_level_structure = models.CharField(max_length=100, blank=True)
    price_ranges = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    exchange_index = models.IntegerField(null=True, blank=True)
    is_provisional = models.BooleanField(default=False)
    rules_primary = models.TextField(blank=True)
    rules_secondary = models.TextField(blank=True)
    raw_data = models.JSONField(
        help_text="The payload of the newest definition, its quote included as it was then."
    )
    recorded_at = models.DateTimeField(help_text="When this definition was last seen to change.")

    volume_24h = count_field()
    previous_price = price_field()
    quoted_at = models.DateTimeField(
        null=True, blank=True, help_text="The instant of the newest snapshot."
    )
    is_hot = models.BooleanField(default=False, help_text="Observed by every tick.")
    # Hashes of the newest payload's texts, by which the recorder tells news from repetition.
    quote_mark = models.BigIntegerField(null=True, editable=False)
    definition_mark = models.BigIntegerField(editable=False)

    objects = MarketQuerySet.as_manager()

    class Meta:
        ordering = ["ticker"]
        constraints = within_unit(
            "yes_bid", "yes_ask", "last_price", "settlement_value", model="market"
        )
        indexes = [
            models.Index(fields=["status", "close_time"], name="market_status_close_time"),
            models.Index(fields=["id"], condition=Q(is_hot=True), name="market_hot"),
        ]

    def __str__(self) -> str:
        return self.ticker

    def get_absolute_url(self) -> str:
        return reverse("markets:detail", args=[self.ticker])

    @property
    def change_24h(self) -> Decimal | None:
        """Dollars since the last trade a day ago; None where either trade is missing."""
        if self.last_price is None or self.previous_price is None:
            return None
        return self.last_price - self.previous_price

    @property
    def name(self) -> str:
        """What tells this market from its siblings, in Kalshi's words."""
        return self.yes_sub_title or self.title or self.ticker


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
        default=0, help_text="Bit flags: 1 crossed, 2 locked, 4 off the price grid."
    )
    raw_data = models.JSONField(
        null=True, blank=True, help_text="What the payload had that no column holds."
    )

    objects = MarketSnapshotQuerySet.as_manager()

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


class Poll(models.Model):
    """One run of the recorder. A row without `finished_at` is running, or was killed."""

    started_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    pages = models.IntegerField(default=0)
    requests = models.IntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    throttled = models.IntegerField(default=0, help_text="Answers 429.")
    markets = models.IntegerField(default=0, help_text="Payloads read, hot and universe.")
    snapshots = models.IntegerField(default=0, help_text="Snapshots written.")
    rejected = models.IntegerField(default=0, help_text="Payloads refused as nonsense.")
    rejects = models.JSONField(default=list, blank=True, help_text="The first of them, to look at.")
    error = models.TextField(blank=True, help_text="Why quotes are missing from this run.")
    warning = models.TextField(
        blank=True, help_text="What went wrong beside the quotes, which were recorded."
    )

    objects = PollQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S}"

    @property
    def seconds(self) -> float | None:
        """How long the run took; None where it has not ended."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class Tier(models.TextChoices):
    HOT = "hot"
    UNIVERSE = "universe"
    UPDATES = "updates"
    SETTLEMENT = "settlement"
    CENSUS = "census"
    SERIES = "series"


class Sweep(models.Model):
    """One pass of a tier. A listed market was observed by every complete pass unless skipped."""

    tier = models.CharField(max_length=20, choices=Tier)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    complete = models.BooleanField(default=False)
    markets = models.IntegerField(default=0)
    skipped = ArrayField(models.TextField(), default=list, blank=True)
    cursor = models.TextField(blank=True, help_text="Where an unfinished pass goes on.")

    objects = SweepQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(F("tier"), F("started_at").desc(), name="sweep_tier_started")]

    def __str__(self) -> str:
        return f"{self.tier} {self.started_at:%Y-%m-%d %H:%M:%S}"

    def absorb(self, *, markets: int, skipped: list[str], cursor: str) -> None:
        """Add one page to this pass."""
        self.markets += markets
        self.skipped += skipped
        self.cursor = cursor

    def finish(self, at: datetime) -> None:
        self.finished_at = at
        self.complete = True
        self.cursor = ""


class Watch(models.Model):
    """A market on a user's watch-list; watched markets are hot."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="watches"
    )
    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="watches")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "watches"
        constraints = [models.UniqueConstraint(fields=["user", "market"], name="watch_once")]

    def __str__(self) -> str:
        return f"{self.user} watches {self.market}"
