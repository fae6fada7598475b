"""Archive closed days of snapshots, order books, trades and the recorder's account as Parquet."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

import psycopg
from django.db import DatabaseError, connection

from kalshi_insights.export import parquet
from markets.intervals import Interval
from markets.models import ArchivedDay, TapeSpan
from markets.models.storage import AT_MIDNIGHT
from markets.storage import account, day_files, layout, midnight, partitions, staging
from markets.storage.account import ACCOUNT, TAPE_SPANS
from markets.storage.account_days import days_of_account
from markets.storage.columns import COLUMNS, copy_statement
from markets.storage.imported_rows import count_recorded
from markets.storage.layout import files_of
from markets.storage.manifest import ArchiveError, ArchiveUnreachable, Manifest, read_manifest
from markets.storage.partitions import SNAPSHOTS, TRADES, DayPartition


def days_to_archive(
    tables: Collection[str], *, now: datetime, include_archived: bool = False
) -> list[DayPartition]:
    """List closed days that are not archived or have changed since, oldest first."""
    archived = ArchivedDay.objects.by_partition()
    return [
        partition
        for partition in sorted(_days_in_database(tables), key=lambda each: each.day)
        if partition.is_closed(now)
        and (include_archived or _has_changed(partition, archived.get(partition)))
        and (_count_rows(partition) or _is_known_to_be_empty(partition))
    ]


def _is_known_to_be_empty(partition: DayPartition) -> bool:
    """Return True for a day of trades that was read and has none."""
    window = Interval(*partition.bounds)
    return partition.table == TRADES and TapeSpan.objects.tells_of(window)


def _has_changed(partition: DayPartition, archived: ArchivedDay | None) -> bool:
    """Return True for a day that is not archived as it is.

    The account of a closed day stays, but for the spans of the tape and the periods of imports:
    gaps are closed and rows are imported later.
    """
    if archived is None or _has_other_files(partition, archived):
        return True
    if partition.table in partitions.TABLES:
        came_again = archived.dropped_at is not None
        return came_again or _count_rows(partition) != archived.rows
    if partition.table == AT_MIDNIGHT:
        return midnight.has_changed(partition)
    said = ACCOUNT[partition.table].said
    return bool(said) and not _says_the_same(partition, said)


def _has_other_files(partition: DayPartition, archived: ArchivedDay) -> bool:
    """Return True if files lie there that are not those on record: a backup may be older."""
    found = _manifest_on_disk(partition, archived)
    return found is not None and found.sha256 != archived.sha256


def _says_the_same(partition: DayPartition, said: Iterable[str]) -> bool:
    """Compare these columns of all rows in the database with those in the day's file."""
    columns = {name: COLUMNS[partition.table][name] for name in said}
    rows_query, _ = day_files.queries_of(partition)
    try:
        with layout.on_this_machine(files_of(partition)) as (rows, _):
            archived = b"".join(parquet.lines(rows, columns))
    except (OSError, ArchiveError, parquet.ParquetError):
        return False
    with (
        connection.cursor() as cursor,
        cursor.copy(copy_statement(columns, rows_query)) as lines,
    ):
        known = b"".join(map(bytes, lines))
    return sorted(archived.splitlines()) == sorted(known.splitlines())


def _count_rows(partition: DayPartition) -> int:
    if partition.table == AT_MIDNIGHT:
        return midnight.count_rows(partition)
    is_account = partition.table in ACCOUNT
    return account.count_rows(partition) if is_account else count_recorded(partition)


def _days_in_database(tables: Collection[str]) -> Iterator[DayPartition]:
    """Yield the days of these tables, but for those of which there is only their end."""
    remnants = midnight.remnants()
    if TRADES in tables:
        yield from _quiet_days()
    for table in tables:
        if table in ACCOUNT:
            yield from days_of_account(table)
            continue
        rows = SNAPSHOTS if table == AT_MIDNIGHT else table
        days = [each.day for each in partitions.partitions_of(rows)]
        for day in days + partitions.days_without_partition([rows]):
            if DayPartition(rows, day) not in remnants:
                yield DayPartition(table, day)


def _quiet_days() -> Iterator[DayPartition]:
    """Yield the days of the tape on which no trade was ever written, and none archived."""
    of_trades = ArchivedDay.objects.filter(table=TRADES).values_list("day", flat=True)
    known = {*of_trades, *(each.day for each in partitions.partitions_of(TRADES))}
    known.update(partitions.days_without_partition([TRADES]))
    for each in days_of_account(TAPE_SPANS):
        if each.day not in known:
            yield DayPartition(TRADES, each.day)


def archive_day(
    partition: DayPartition, *, now: datetime, coverage: float | None = None
) -> Manifest:
    """Write a day's files, read them back and record the day.

    Raises ArchiveError, and then leaves no file of the attempt behind.
    """
    try:
        _require_archivable(partition, now)
        manifest = day_files.write_day(partition, now=now, coverage=coverage)
        record_archived(partition, manifest, verified_at=now)
    except (OSError, parquet.ParquetError, DatabaseError, psycopg.Error) as error:
        raise ArchiveError(f"{partition} is not archived: {error}") from error
    return manifest


def days_to_move() -> list[DayPartition]:
    """List the days on record that lie where archives of before had them, or still do in part."""
    return [each for each in ArchivedDay.objects.by_partition() if layout.lies_as_before(each)]


def move_day(partition: DayPartition) -> None:
    """Move a day to where it would be written now; raises ArchiveError, and leaves it then."""
    try:
        day_files.move_day(partition)
    except OSError as error:
        raise ArchiveError(f"{partition} is not moved: {error}") from error
    moved = layout.name_within(layout.place_of(partition).rows)
    ArchivedDay.objects.filter(table=partition.table, day=partition.day).update(file=moved)


def _require_archivable(partition: DayPartition, now: datetime) -> None:
    if not partition.is_closed(now):
        raise ArchiveError(
            f"{partition} is not archived: the day must have ended at least an hour ago."
        )
    archived, rows = ArchivedDay.objects.for_partition(partition), _count_rows(partition)
    found = _manifest_on_disk(partition, archived)
    if (archived and archived.dropped_at) or _would_lose(partition, archived, found, rows):
        in_files = found.rows if found else archived.rows if archived else 0
        hint = ""
        if archived and _has_other_files(partition, archived):
            hint = (
                " Its files are not those on record, as after restoring an older backup;"
                f" `{way_out(partition)}` takes what they have."
            )
        raise ArchiveError(
            f"{partition} has {rows:,} rows in the database and {in_files:,} in the archive,"
            f" some of which would be lost: restore the day first.{hint}"
        )


def way_out(partition: DayPartition) -> str:
    """Return the command that restores a day from files that are not those on record."""
    return f"restorearchive {partition.day} --table {partition.table} --accept-other-files"


def _would_lose(
    partition: DayPartition, archived: ArchivedDay | None, found: Manifest | None, rows: int
) -> bool:
    """Return True if a day's files have what the database does not."""
    said = ACCOUNT[partition.table].said if partition.table in ACCOUNT else ()
    if said:
        # One span of the tape may say more than its pieces, and those on record may change.
        is_known = archived and (found is None or found.sha256 == archived.sha256)
        return found is not None and not is_known and not _says_the_same(partition, said)
    if found is None:
        return archived is not None and rows < archived.rows
    has_fewer = rows < found.rows
    if has_fewer and partition.table not in ACCOUNT and staging.count_near(partition) < found.rows:
        # Such a day may come up at each run: its files need not be read to refuse it.
        return True
    files = files_of(partition)
    if not layout.has_files_of(found, files):
        return has_fewer
    with layout.on_this_machine(files) as (rows_file, markets_file):
        return staging.has_missing(partition, rows_file, markets_file)


def _manifest_on_disk(partition: DayPartition, archived: ArchivedDay | None) -> Manifest | None:
    """Read the manifest that would be replaced; of a day on record it may be missing or damaged.

    Raises ArchiveUnreachable where nobody knows what is there.
    """
    files = files_of(partition)
    if archived is None:
        return read_manifest(files.manifest) if layout.is_there(files) else None
    try:
        return read_manifest(files.manifest)
    except ArchiveUnreachable:
        raise
    except ArchiveError:
        return None


def record_archived(partition: DayPartition, manifest: Manifest, **times: datetime | None) -> None:
    ArchivedDay.objects.update_or_create(
        table=partition.table,
        day=partition.day,
        defaults={
            "file": layout.name_within(files_of(partition).rows),
            "rows": manifest.rows,
            "first_at": manifest.first_at,
            "last_at": manifest.last_at,
            "sha256": manifest.sha256,
            "schema_version": manifest.schema_version,
            "coverage": manifest.coverage,
            **times,
        },
    )
