"""What was known when. Rows are appended and never changed."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from markets.models.definitions import Event, EventDefinition, Market, Series, Status
from markets.revisions import (
    EventRevisionQuerySet,
    FeeChangeQuerySet,
    MarketRevisionQuerySet,
)


class Known(models.Model):
    """A fact, and since when a decision could have used it."""

    known_at = models.DateTimeField(
        help_text="Observed live: when. Backfilled: the exchange's own time of the fact."
    )
    known_at_assumed = models.BooleanField(
        default=False, help_text="The exchange gives no time for it, so one was assumed."
    )
    recorded_at = models.DateTimeField(help_text="When this row was written.")

    class Meta:
        abstract = True


class MarketRevision(Known):
    """What was known of a market from an instant on, until its next revision. Never changed."""

    market = models.ForeignKey(
        Market,
        on_delete=models.PROTECT,
        related_name="revisions",
        db_index=False,  # `market_revision_once` begins with the market
    )
    status = models.CharField(max_length=50, choices=Status)
    result = models.CharField(max_length=50, blank=True)
    settlement_value = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    settlement_ts = models.DateTimeField(null=True, blank=True)
    open_time = models.DateTimeField()
    close_time = models.DateTimeField(
        null=True, blank=True, help_text="Unknown where only the final one is on record."
    )
    expected_expiration_time = models.DateTimeField(null=True, blank=True)
    price_ranges = models.JSONField(default=list, encoder=DjangoJSONEncoder)
    raw_data = models.JSONField(null=True, blank=True, help_text="The payload, where there is one.")

    objects = MarketRevisionQuerySet.as_manager()

    class Meta:
        ordering = ["known_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["market", "known_at"], name="market_revision_once")
        ]

    def __str__(self) -> str:
        return f"{self.market_id} from {self.known_at:%Y-%m-%d %H:%M:%S}"


class EventRevision(Known, EventDefinition):
    """What was known of an event from an instant on, until its next revision. Never changed."""

    event = models.ForeignKey(
        Event,
        on_delete=models.PROTECT,
        related_name="revisions",
        db_index=False,  # `event_revision_once` begins with the event
    )

    objects = EventRevisionQuerySet.as_manager()

    class Meta:
        ordering = ["known_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["event", "known_at"], name="event_revision_once")
        ]

    def __str__(self) -> str:
        return f"{self.event_id} from {self.known_at:%Y-%m-%d %H:%M:%S}"


class FeeChange(Known):
    """Fee terms of a series, or of one event, in force from `effective_at` on. Never changed.

    An event's change without a type or without a multiplier gives that term back to the series.
    """

    series = models.ForeignKey(
        Series, on_delete=models.PROTECT, related_name="fee_changes", null=True, blank=True
    )
    event = models.ForeignKey(
        Event, on_delete=models.PROTECT, related_name="fee_changes", null=True, blank=True
    )
    fee_type = models.CharField(max_length=100, blank=True)
    fee_multiplier = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    effective_at = models.DateTimeField()

    objects = FeeChangeQuerySet.as_manager()

    class Meta:
        ordering = ["effective_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(series__isnull=True) ^ Q(event__isnull=True),
                name="fee_change_of_one",
            ),
            models.UniqueConstraint(
                fields=["series", "event", "effective_at", "fee_type", "fee_multiplier"],
                nulls_distinct=False,
                name="fee_change_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.series or self.event} from {self.effective_at:%Y-%m-%d %H:%M:%S}"
