"""What is kept: the days of partitioned tables, made ahead and let go."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from django.conf import settings
from django.db import transaction

from markets.models import ArchivedDay
from markets.storage import partitions
from markets.storage.manifest import ArchiveError, read_manifest, sha256_of_file
from markets.storage.partitions import RAW_PAYLOADS, SNAPSHOTS, TABLES, Busy, Piece

log = structlog.get_logger(__name__)
# Seconds of one run: a record of many days is arranged in several, and the next days in none.
ARRANGING = 60


@dataclass(slots=True)
class Report:
    """What maintenance found and did."""

    waiting: list[Piece] = field(default_factory=list)  # their rows lay in the default piece
    made: list[Piece] = field(default_factory=list)
    dropped: list[Piece] = field(default_factory=list)
    arranged: list[Piece] = field(default_factory=list)
    kept: dict[Piece, str] = field(default_factory=dict)  # due to be dropped, and why they were not
    busy: list[Piece] = field(default_factory=list)  # in use all the while; the next run's


def maintain(*, now: datetime) -> Report:
    """Make the days to come, give waiting rows their day, drop what retention lets go.

    And arrange closed days, the newest first, for as long as ARRANGING. Safe beside the recorder,
    which it holds up for a moment a day.
    """
    report = Report()
    for table in TABLES:
        _provide(table, now=now, report=report)
    for piece in due(now):
        _let_go(piece, now=now, report=report)
    until = time.monotonic() + ARRANGING
    for piece in unarranged(now):
        if time.monotonic() >= until:
            break
        _arrange(piece, report=report)
    return report


def unarranged(now: datetime) -> Iterator[Piece]:
    """Closed days of snapshots that lie as they came, the newest first."""
    for piece in reversed(partitions.pieces(SNAPSHOTS)):
        if piece.is_closed(now) and not partitions.is_arranged(piece) and partitions.rows(piece):
            yield piece


def due(now: datetime) -> list[Piece]:
    """The days that the settings no longer ask to keep, the oldest of each table first."""
    archived = ArchivedDay.objects.by_piece()
    return [
        piece
        for table in TABLES
        for piece in partitions.pieces(table)
        if _kept_until(piece, archived.get(piece)) <= now
    ]


def _kept_until(piece: Piece, archived: ArchivedDay | None) -> datetime:
    """A day that was put back is kept for as long again."""
    end = piece.span[1]
    if piece.table == RAW_PAYLOADS:
        return end + timedelta(hours=settings.RAW_PAYLOAD_HOURS)
    if not settings.RETENTION_DAYS:
        return datetime.max.replace(tzinfo=UTC)
    restored_at = archived.restored_at if archived else None
    return max(end, restored_at or end) + timedelta(days=settings.RETENTION_DAYS)


def _provide(table: str, *, now: datetime, report: Report) -> None:
    waiting = partitions.days_waiting(table)
    if waiting:
        log.warning("partitions_missing", table=table, days=[str(day) for day in waiting])
        report.waiting += [Piece(table, day) for day in waiting]
    for piece in partitions.missing(table, partitions.days_ahead(now.date()) | set(waiting)):
        try:
            if partitions.add(piece):
                report.made.append(piece)
        except Busy:
            report.busy.append(piece)


def _let_go(piece: Piece, *, now: datetime, report: Report) -> None:
    try:
        with transaction.atomic():
            reason = partitions.drop(piece, partial(reason_to_keep, piece))
            if not reason:
                ArchivedDay.objects.note_dropped(piece, now)
    except Busy:
        report.busy.append(piece)
        return
    if reason:
        report.kept[piece] = reason
    else:
        report.dropped.append(piece)


def _arrange(piece: Piece, *, report: Report) -> None:
    try:
        partitions.arrange(piece)
    except Busy:
        report.busy.append(piece)
    else:
        report.arranged.append(piece)


def reason_to_keep(piece: Piece) -> str:
    """Why dropping this day would lose something; empty where it would not."""
    rows = 0 if piece.table == RAW_PAYLOADS else partitions.rows(piece)
    if not rows:
        return ""
    archived = ArchivedDay.objects.of(piece)
    if archived is None:
        return "not archived"
    if archived.dropped_at:
        return f"{rows:,} rows came after it was dropped: restore it, then archive it again"
    if rows != archived.rows:
        return f"{rows:,} rows, and {archived.rows:,} in the archive: archive it again"
    return "" if is_sound(archived) else f"its files are missing or damaged: {archived.file}"


def is_sound(archived: ArchivedDay) -> bool:
    """True while a day's three files are those that were verified."""
    rows = settings.ARCHIVE_PATH / archived.file
    try:
        manifest = read_manifest(rows.with_suffix(".json"))
        markets = sha256_of_file(rows.with_suffix(".markets.parquet"))
        return sha256_of_file(rows) == manifest.sha256 == archived.sha256 and (
            markets == manifest.markets.sha256
        )
    except (OSError, ArchiveError):
        return False
