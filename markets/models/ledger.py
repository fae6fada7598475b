"""The recorder's account of itself: what it did, what it saw, what it keeps and where."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from markets.archives import ArchivedDayQuerySet
from markets.coverage.coverage import HotPeriodQuerySet
from markets.models.definitions import Market
from markets.reads import PollReads
from markets.revisions import (
    ClosureQuerySet,
    DriftQuerySet,
)
from markets.runs import SweepQuerySet


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
    order_books = models.IntegerField(default=0, help_text="Order books written.")
    ages = models.JSONField(
        default=dict,
        blank=True,
        help_text=(
            "By tier, how old in seconds what was known of its markets had become when this run"
            " observed them again: p50, p95, max."
        ),
    )
    exchange_active = models.BooleanField(
        null=True, blank=True, help_text="As the exchange last said; unknown where it did not."
    )
    trading_active = models.BooleanField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why quotes are missing from this run.")
    warning = models.TextField(
        blank=True, help_text="What went wrong beside the quotes, which were recorded."
    )

    objects = PollReads.as_manager()

    class Meta:
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S}"

    def take_over_status(self) -> None:
        """What the exchange said of itself last, where that is not long ago."""
        before = Poll.objects.said_shortly_before(self.started_at)
        if before:
            self.exchange_active = before.exchange_active
            self.trading_active = before.trading_active

    @property
    def seconds(self) -> float | None:
        """How long the run took; None where it has not ended."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class Tier(models.TextChoices):
    HOT = "hot"
    UNIVERSE = "universe"
    COMBOS = "combos"
    UPDATES = "updates"
    SETTLEMENT = "settlement"
    CENSUS = "census"
    ORDER_BOOKS = "order books"
    SERIES = "series"
    FEES = "fees"
    HOURS = "hours"
    STATUS = "status"


class Sweep(models.Model):
    """One pass of a tier. A listed market was observed by every complete pass unless skipped."""

    tier = models.CharField(max_length=20, choices=Tier)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    complete = models.BooleanField(default=False)
    markets = models.IntegerField(default=0)
    skipped = ArrayField(models.TextField(), default=list, blank=True)
    pages = models.JSONField(
        default=list,
        blank=True,
        help_text="Of each page: seconds since 1970, markets, first ticker.",
    )
    cursor = models.TextField(blank=True, help_text="Where an unfinished pass goes on.")
    since_last = models.DurationField(
        null=True, blank=True, help_text="Of a whole pass: since the whole one before it began."
    )

    objects = SweepQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]
        indexes = [
            models.Index(F("tier"), F("started_at").desc(), name="sweep_tier_started"),
            # Coverage wants of a day's whole passes those before which there was a silence, from
            # an index alone: the second has the few of them after a silence of any length that
            # counts at the usual interval.
            models.Index(
                fields=["tier", "started_at"],
                include=["since_last"],
                condition=Q(complete=True, skipped=[]),
                name="sweep_whole",
            ),
            models.Index(
                fields=["tier", "started_at"],
                include=["since_last"],
                condition=Q(complete=True, skipped=[])
                & (Q(since_last=None) | Q(since_last__gt=timedelta(seconds=10))),
                name="sweep_late",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tier} {self.started_at:%Y-%m-%d %H:%M:%S}"

    def absorb(
        self, at: datetime, *, markets: int, skipped: list[str], cursor: str, first: str = ""
    ) -> None:
        """Add one page, received at `at`, to this pass; `first` is the first ticker on it."""
        self.pages.append([round(at.timestamp(), 3), markets, first])
        self.markets += markets
        self.skipped += skipped
        self.cursor = cursor

    @property
    def last_page_at(self) -> datetime:
        """When its newest page came; before the first one, when it began."""
        return datetime.fromtimestamp(self.pages[-1][0], UTC) if self.pages else self.started_at

    def has_page(self, first: str) -> bool:
        return any(page[2] == first for page in self.pages)

    def pages_since(self, at: datetime) -> range:
        """Which pages came at an instant or later."""
        seconds = round(at.timestamp(), 3)
        count = sum(page[0] >= seconds for page in self.pages)
        return range(len(self.pages) - count, len(self.pages))

    def ages_against(self, before: "Sweep", *, of: range) -> list[tuple[float, int]]:
        """Seconds since the pass before saw what each of these pages shows, and its markets.

        Listings come in the order of their tickers: the n-th market of this pass was, but for
        the few that have come and gone, the n-th of the one before.
        """
        if not before.pages:
            return []
        ends = list(accumulate(page[1] for page in before.pages))
        seen = sum(page[1] for page in self.pages[: of.start])
        ages = []
        for at, markets, _ in self.pages[of.start : of.stop]:
            place = min(bisect_right(ends, seen + markets / 2), len(ends) - 1)
            ages.append((at - before.pages[place][0], markets))
            seen += markets
        return ages

    def finish(self, at: datetime, *, complete: bool = True) -> None:
        self.finished_at = at
        self.complete = complete
        self.cursor = ""


class HotPeriod(models.Model):
    """From when until when a market was on the hot list; without an end it still is."""

    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="hot_periods")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = HotPeriodQuerySet.as_manager()

    class Meta:
        ordering = ["started_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["market"], condition=Q(ended_at=None), name="hot_period_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} from {self.started_at:%Y-%m-%d %H:%M:%S}"


class Closure(models.Model):
    """When the exchange said beforehand that it would rest."""

    start = models.DateTimeField()
    end = models.DateTimeField()
    known_at = models.DateTimeField()

    objects = ClosureQuerySet.as_manager()

    class Meta:
        ordering = ["start"]
        constraints = [models.UniqueConstraint(fields=["start", "end"], name="closure_once")]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


class Drift(models.Model):
    """Something in a payload that the contract, as we know it, does not have."""

    class Kind(models.TextChoices):
        FIELD = "field", "unknown field"
        WORD = "word", "unknown word"
        SHAPE = "shape", "not the contract's shape"

    kind = models.CharField(max_length=10, choices=Kind)
    where = models.CharField(max_length=300, help_text="What payload, which field, which word.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    count = models.BigIntegerField(default=1)
    sample = models.TextField(help_text="The first one seen.")

    objects = DriftQuerySet.as_manager()

    class Meta:
        ordering = ["-last_seen_at"]
        verbose_name_plural = "drift"
        constraints = [models.UniqueConstraint(fields=["kind", "where"], name="drift_once")]

    def __str__(self) -> str:
        return self.where


class BackfillSpan(models.Model):
    """How far the backfill of one market and kind has come, so that it can go on."""

    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="backfills")
    kind = models.CharField(max_length=20, help_text="trades, or candles and their minutes.")
    start = models.DateTimeField()
    end = models.DateTimeField()
    done_until = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["market", "kind", "start", "end"], name="backfill_span_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} {self.kind} from {self.start:%Y-%m-%d %H:%M}"


class ArchivedDay(models.Model):
    """One day of one table, written to a file and read back from it whole."""

    table = models.CharField(max_length=100)
    day = models.DateField()
    file = models.TextField(help_text="Within the archive's folder.")
    rows = models.BigIntegerField()
    first_at = models.DateTimeField(null=True, blank=True)
    last_at = models.DateTimeField(null=True, blank=True)
    sha256 = models.CharField(max_length=64)
    schema_version = models.IntegerField()
    coverage = models.FloatField(
        null=True, blank=True, help_text="Share of the day's slots with an observation; or unknown."
    )
    verified_at = models.DateTimeField()
    dropped_at = models.DateTimeField(
        null=True, blank=True, help_text="When retention took the rows out of the database."
    )
    restored_at = models.DateTimeField(
        null=True, blank=True, help_text="When they were put back; then retention leaves them."
    )

    objects = ArchivedDayQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "table"]
        constraints = [models.UniqueConstraint(fields=["table", "day"], name="archived_day_once")]

    def __str__(self) -> str:
        return f"{self.table} {self.day}"
