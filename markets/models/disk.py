"""The room that the database takes on disk, by table, and the rate at which it grows."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from django.apps import apps
from django.db import connection, models

# Rates are those of the last day, and none are told before this much of it was measured.
RATED_OVER = timedelta(days=1)
RATED_FROM = timedelta(hours=1)
# A little more than a day is kept, so that there is a measure from a day ago.
KEPT = RATED_OVER + timedelta(hours=1)
# Tables below this share of the whole are told together.
SMALL = 0.01
SIZES = """
    SELECT coalesce(whole.relname, part.relname),
        coalesce(sum(pg_total_relation_size(part.oid)), 0)::bigint
    FROM pg_class AS part
        LEFT JOIN pg_inherits ON inhrelid = part.oid
        LEFT JOIN pg_class AS whole ON whole.oid = inhparent
    WHERE part.relkind = 'r' AND part.relnamespace = current_schema()::regnamespace
    GROUP BY 1
"""
# Only some users may ask for the folder.
DATA_FOLDER = """
    SELECT current_setting('data_directory')
    WHERE pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
"""


class TableUse(NamedTuple):
    """Bytes of one table with its indexes, and by how many it grows in a day, if that is known."""

    name: str
    bytes: int
    per_day: float | None


@dataclass(frozen=True, slots=True)
class DiskSummary:
    """The newest measure: the largest tables first, and the rest as the last of them."""

    measured_at: datetime
    rated_over: timedelta | None
    tables: list[TableUse]
    free_bytes: int | None

    @property
    def total(self) -> TableUse:
        return sum_of("all", self.tables)

    @property
    def days_left(self) -> int | None:
        """Whole days until the disk is full at this rate, if nothing is dropped; None: unknown."""
        per_day = self.total.per_day
        return int(self.free_bytes / per_day) if self.free_bytes is not None and per_day else None


class DiskUsageQuerySet(models.QuerySet["DiskUsage"]):
    def measure(self, *, at: datetime) -> "DiskUsage":
        """Measure every table, which asks the file system for the size of each of its files."""
        newest = self.order_by("pk").last()
        with connection.cursor() as cursor:
            cursor.execute(SIZES)
            sizes: dict[str, int] = dict(cursor.fetchall())
        grown = newest.grown_to(sizes) if newest else dict.fromkeys(sizes, 0)
        self.exclude(measured_at__range=(at - KEPT, at)).delete()
        return self.create(measured_at=at, sizes=sizes, grown=grown, free_bytes=free_bytes())

    def summary(self) -> DiskSummary | None:
        """Return the newest measure with its rates; None where nothing was measured yet."""
        newest = self.order_by("pk").last()
        if newest is None:
            return None
        within = (newest.measured_at - RATED_OVER, newest.measured_at - RATED_FROM)
        before = self.filter(measured_at__range=within).order_by("measured_at").first()
        return newest.compared_with(before)


def free_bytes() -> int | None:
    """The free bytes of the disk with the database's folder; None where we cannot see it."""
    with connection.cursor() as cursor:
        cursor.execute(DATA_FOLDER)
        row = cursor.fetchone()
    if row is None or not _is_here(connection.connection.info.host):
        return None
    try:
        return shutil.disk_usage(row[0]).free
    except OSError:  # a container's folder, behind a port of this machine
        return None


def _is_here(host: str) -> bool:
    """Return True for a socket's folder and for this machine's own addresses."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class DiskUsage(models.Model):
    """The size of every table at one instant, and how much each has grown since the first one.

    What a table loses when days are dropped does not count against its growth.
    """

    measured_at = models.DateTimeField()
    sizes = models.JSONField(help_text="Bytes by table, with its partitions and indexes.")
    grown = models.JSONField(help_text="Bytes by table that were added since measuring began.")
    free_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="Of the database's disk; null: not known here."
    )

    objects = DiskUsageQuerySet.as_manager()

    class Meta:
        ordering = ["-measured_at"]
        verbose_name_plural = "disk usage"

    def __str__(self) -> str:
        return f"disk usage at {self.measured_at:%Y-%m-%d %H:%M:%S}"

    def grown_to(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Return what each table has grown by since the first measure, if these are its sizes."""
        return {
            table: self.grown.get(table, 0) + max(size - self.sizes.get(table, 0), 0)
            for table, size in sizes.items()
        }

    def compared_with(self, before: "DiskUsage | None") -> DiskSummary:
        """Tell sizes, and rates since an earlier measure, if there is one."""
        over = self.measured_at - before.measured_at if before else None
        tables = [self._use_of(table, before, over=over) for table in self.sizes]
        tables.sort(key=lambda use: (-use.bytes, use.name))
        limit = SMALL * sum(self.sizes.values())
        shown = [use for use in tables if use.bytes >= limit]
        if len(shown) < len(tables):
            shown.append(sum_of("everything else", tables[len(shown) :]))
        return DiskSummary(self.measured_at, over, shown, self.free_bytes)

    def _use_of(
        self, table: str, before: "DiskUsage | None", *, over: timedelta | None
    ) -> TableUse:
        per_day = None
        if before and over:
            per_day = (self.grown[table] - before.grown.get(table, 0)) * (RATED_OVER / over)
        return TableUse(plural_of(table), self.sizes[table], per_day)


def sum_of(name: str, uses: Sequence[TableUse]) -> TableUse:
    rates = [use.per_day for use in uses if use.per_day is not None]
    return TableUse(name, sum(use.bytes for use in uses), sum(rates) if rates else None)


def plural_of(table: str) -> str:
    """Return the words for a table's rows; tables without a model keep their own name."""
    models_of = {model._meta.db_table: model for model in apps.get_models()}
    return str(models_of[table]._meta.verbose_name_plural) if table in models_of else table
