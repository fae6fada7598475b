"""What the exchange lists: series, events, markets, each as it is now; and who watches what."""

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.urls import reverse

from markets import prices
from markets.reads import EventReads, MarketReads, SeriesReads


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
    """Kalshi's life of a market. Unknown words are stored as they came.

    One word is ours: a market that was open and that the exchange no longer knows is unlisted.
    """

    INITIALIZED = "initialized"
    INACTIVE = "inactive"
    ACTIVE = "active"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"
    UNLISTED = "unlisted"


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

    objects = SeriesReads.as_manager()

    class Meta:
        ordering = ["ticker"]
        verbose_name_plural = "series"

    def __str__(self) -> str:
        return self.ticker


class EventDefinition(models.Model):
    """What an event and its revisions say of it."""

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

    class Meta:
        abstract = True


class Event(EventDefinition):
    ticker = models.CharField(max_length=200, unique=True)
    series = models.ForeignKey(Series, on_delete=models.PROTECT, related_name="events")
    recorded_at = models.DateTimeField(help_text="When this definition was last seen to change.")

    objects = EventReads.as_manager()

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
    book_mark = models.BigIntegerField(null=True, editable=False)

    objects = MarketReads.as_manager()

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
