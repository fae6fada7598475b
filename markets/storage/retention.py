"""Retention: create daily partitions ahead of time, drop what has expired, cluster closed days."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial

import structlog
from django.conf import settings
from django.db import transaction

from markets.intervals import Interval
from markets.models import ArchivedDay, DiskUsage, MarketHour, PayloadBlock, TapeDay, TapeSpan
from markets.storage import layout, midnight, partitions
from markets.storage.imported_rows import count_imported
from markets.storage.partitions import ONE_DAY, SNAPSHOTS, TABLES, TRADES, DayPartition, TableBusy

log = structlog.get_logger(__name__)
# Seconds of clustering in one run: a backlog of many days is worked off in several runs, so that
# clustering never delays the creation of the next days.
CLUSTERING_BUDGET = 60
CLUSTERED_TABLES = (SNAPSHOTS, TRADES)


@dataclass(slots=True)
class MaintenanceReport:
    """The findings and the work of one run of maintenance."""

    late: list[DayPartition] = field(default_factory=list)  # had rows in the default partition
    created: list[DayPartition] = field(default_factory=list)
    dropped: list[DayPartition] = field(default_factory=list)
    dropped_payloads: int = 0
    clustered: list[DayPartition] = field(default_factory=list)
    kept: dict[DayPartition, str] = field(default_factory=dict)  # expired, with the reason
    busy: list[DayPartition] = field(default_factory=list)  # in use; left for the next run
    compared: date | None = None  # whose trades were compared with its volumes


def maintain(*, now: datetime) -> MaintenanceReport:
    """Create the coming days, move late rows into their day, roll up the midpoints of the hours.

    Then drop expired days and payloads, cluster closed days, the newest first, within
    CLUSTERING_BUDGET, compare a day's trades with its volumes, and measure the disk. It is safe
    beside the recorder, which it blocks for a moment a day.
    """
    report = MaintenanceReport()
    for table in TABLES:
        _ensure_partitions(table, now=now, report=report)
    MarketHour.objects.roll_up(now=now)
    for partition in expired(now):
        _drop_expired(partition, now=now, report=report)
    kept_since = now - timedelta(hours=settings.RAW_PAYLOAD_HOURS)
    report.dropped_payloads = PayloadBlock.objects.drop_before(kept_since)
    until = time.monotonic() + CLUSTERING_BUDGET
    for partition in unclustered(now):
        if time.monotonic() >= until:
            break
        _cluster(partition, report=report)
    report.compared = compare_trades(now)
    DiskUsage.objects.measure(at=now)
    return report


def compare_trades(now: datetime) -> date | None:
    """Compare the trades of the newest closed day that was not compared yet with its volumes."""
    closed = [each.day for each in partitions.partitions_of(TRADES) if each.is_closed(now)]
    due = [
        day
        for day in TapeDay.objects.due(closed)
        if TapeSpan.objects.within(Interval(*DayPartition(TRADES, day).bounds)).exists()
    ]
    if due:
        TapeDay.objects.compare(due[0], at=now)
    return due[0] if due else None


def unclustered(now: datetime) -> Iterator[DayPartition]:
    """Yield the closed days of large tables whose rows lie as they came, the newest first."""
    days = [day for table in CLUSTERED_TABLES for day in partitions.partitions_of(table)]
    for partition in sorted(days, key=lambda each: each.day, reverse=True):
        if (
            partition.is_closed(now)
            and not partitions.is_clustered(partition)
            and partitions.count_rows(partition)
        ):
            yield partition


def expired(now: datetime) -> list[DayPartition]:
    """List the days that are older than the settings keep, the oldest of each table first."""
    archived = ArchivedDay.objects.by_partition() | midnight.remnants()
    return [
        partition
        for table in TABLES
        for partition in partitions.partitions_of(table)
        if _expires_at(partition, archived.get(partition)) <= now
    ]


def _expires_at(partition: DayPartition, archived: ArchivedDay | None) -> datetime:
    """A restored day is kept for another full retention period."""
    end = partition.bounds[1]
    days = settings.TRADE_RETENTION_DAYS if partition.table == TRADES else settings.RETENTION_DAYS
    if not days:
        return datetime.max.replace(tzinfo=UTC)
    restored_at = archived.restored_at if archived else None
    return max(end, restored_at or end) + timedelta(days=days)


def _ensure_partitions(table: str, *, now: datetime, report: MaintenanceReport) -> None:
    late = partitions.days_without_partition([table])
    if late:
        log.warning("partitions_missing", table=table, days=[str(day) for day in late])
        report.late += [DayPartition(table, day) for day in late]
    days = partitions.days_ahead(now.date()) | set(late)
    for partition in partitions.missing_partitions(table, days):
        try:
            if partitions.create(partition):
                report.created.append(partition)
        except TableBusy:
            report.busy.append(partition)


def _drop_expired(partition: DayPartition, *, now: datetime, report: MaintenanceReport) -> None:
    try:
        with transaction.atomic():
            reason = partitions.drop(partition, partial(reason_to_keep, partition))
            if not reason:
                midnight.mark_dropped(partition, now)
    except TableBusy:
        report.busy.append(partition)
        return
    if reason:
        report.kept[partition] = reason
    else:
        report.dropped.append(partition)


def _cluster(partition: DayPartition, *, report: MaintenanceReport) -> None:
    try:
        partitions.cluster(partition)
    except TableBusy:
        report.busy.append(partition)
    else:
        report.clustered.append(partition)


def reason_to_keep(partition: DayPartition) -> str:
    """Say why dropping this day would lose data; empty where it would not."""
    if imported := count_imported(partition):
        return f"{imported:,} rows of imports, which stay until the imports are undone"
    rows = partitions.count_rows(partition)
    if not rows:
        return ""
    remnant = midnight.remnants().get(partition)
    archived = remnant or ArchivedDay.objects.for_partition(partition)
    if archived is None:
        return "not archived"
    reason = _reason_to_doubt(archived, rows)
    if not reason and not remnant and not midnight.is_carried(partition):
        return f"its last quotes are not archived with {partition.day + ONE_DAY}"
    return reason


def _reason_to_doubt(archived: ArchivedDay, rows: int) -> str:
    """Say why these many rows may not be those of the archive; empty where they are."""
    if archived.dropped_at:
        return f"{rows:,} rows came after it was dropped: restore it, then archive it again"
    if rows != archived.rows:
        return f"{rows:,} rows, and {archived.rows:,} in the archive: archive it again"
    if layout.is_intact(DayPartition(archived.table, archived.day), archived.sha256):
        return ""
    return f"its files are missing, damaged or not those on record: {archived.file}"
