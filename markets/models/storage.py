"""The catalogue of the archive: the days of each table that lie in files."""

from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import models

from markets.intervals import Interval, merge
from markets.observed import STALE_AFTER
from markets.storage.partitions import ONE_DAY, SNAPSHOTS, TRADES, DayPartition, partitions_of

# In the archive, the last quotes before a day, which stood when it began.
AT_MIDNIGHT = "markets_quotesatmidnight"


class ArchivedDayQuerySet(models.QuerySet["ArchivedDay"]):
    def for_partition(self, partition: DayPartition) -> "ArchivedDay | None":
        return self.filter(table=partition.table, day=partition.day).first()

    def by_partition(self) -> "dict[DayPartition, ArchivedDay]":
        return {DayPartition(day.table, day.day): day for day in self}

    def remnants(self) -> "dict[DayPartition, ArchivedDay]":
        """Return the days of which the database has no more than the last quotes.

        They came with the following day when that was restored, which is what each is known by.
        Rows that came to such a day later are not looked for.
        """
        carried = self.filter(table=AT_MIDNIGHT, restored_at__isnull=False)
        before = {each.day - ONE_DAY: each for each in carried}
        present = self.filter(table=SNAPSHOTS, day__in=before, dropped_at=None)
        whole = set(present.values_list("day", flat=True))
        return {
            DayPartition(SNAPSHOTS, day): each for day, each in before.items() if day not in whole
        }

    def kept_snapshots(self) -> list[Interval]:
        """Return the time whose snapshots are on record.

        Of a remnant it is as much before its end as an observation is fresh for: what has no
        last quote there was not listed.
        """
        last = timedelta(seconds=STALE_AFTER * settings.UNIVERSE_INTERVAL)
        remnants = self.remnants()
        days = (each for each in partitions_of(SNAPSHOTS) if each not in remnants)
        ends = (each.bounds[1] for each in remnants)
        return merge([*(each.bounds for each in days), *((end - last, end) for end in ends)])

    def lacking_trades(self, spans: str) -> list[date]:
        """List the days whose trades are not on record, though spans of the tape may be.

        They were dropped, or the spans were restored without them. A day of the archive that had
        no trade lacks none.
        """
        restored = models.Q(table=spans, restored_at__isnull=False)
        told = self.filter(models.Q(table=TRADES) | restored)
        rows = list(told.values_list("table", "day", "dropped_at", "rows"))
        lost = {day: bool(at and count) for table, day, at, count in rows if table == TRADES}
        return sorted({day for _, day, _, _ in rows if lost.get(day, True)})

    def mark_dropped(self, partition: DayPartition, at: datetime) -> None:
        archived = self.filter(table=partition.table, day=partition.day)
        archived.update(dropped_at=at, restored_at=None)


class ArchivedDay(models.Model):
    """One day of one table, written to a file and verified by reading it back."""

    table = models.CharField(max_length=100)
    day = models.DateField()
    file = models.TextField(help_text="Path within the archive's folder.")
    rows = models.BigIntegerField()
    first_at = models.DateTimeField(null=True, blank=True)
    last_at = models.DateTimeField(null=True, blank=True)
    sha256 = models.CharField(max_length=64)
    schema_version = models.IntegerField()
    coverage = models.FloatField(
        null=True,
        blank=True,
        help_text="Share of the day's slots with an observation; null: unknown.",
    )
    verified_at = models.DateTimeField()
    dropped_at = models.DateTimeField(
        null=True, blank=True, help_text="When retention took the rows out of the database."
    )
    restored_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the rows were restored; retention then leaves them alone.",
    )

    objects = ArchivedDayQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "table"]
        constraints = [models.UniqueConstraint(fields=["table", "day"], name="archived_day_once")]

    def __str__(self) -> str:
        return f"{self.table} {self.day}"
