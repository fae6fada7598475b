"""The catalogue of the archive: the days of each table that lie in files."""

from datetime import datetime

from django.db import models

from markets.storage.partitions import DayPartition


class ArchivedDayQuerySet(models.QuerySet["ArchivedDay"]):
    def for_partition(self, partition: DayPartition) -> "ArchivedDay | None":
        return self.filter(table=partition.table, day=partition.day).first()

    def by_partition(self) -> "dict[DayPartition, ArchivedDay]":
        return {DayPartition(day.table, day.day): day for day in self}

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
