"""Archive closed days of snapshots, order books, trades and the recorder's account as Parquet.

A day is three files: its rows, the markets that they belong to, and a manifest. Each file is
written under a temporary name and renamed once everything has been read back; the manifest is
renamed last.
"""

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import psycopg
from django.conf import settings
from django.db import DatabaseError, connection

from kalshi_insights.export import parquet
from kalshi_insights.export.copy import ColumnTypes
from markets.intervals import Interval
from markets.models import ArchivedDay, TapeSpan
from markets.models.storage import AT_MIDNIGHT
from markets.storage import account, midnight, partitions, staging
from markets.storage.account import ACCOUNT, TAPE_SPANS
from markets.storage.account_days import days_of_account
from markets.storage.columns import COLUMNS, FOLDERS, MARKET_COLUMNS, copy_statement
from markets.storage.manifest import (
    ArchivedFile,
    ArchiveError,
    Manifest,
    is_intact,
    read_manifest,
    sha256_of_file,
)
from markets.storage.partitions import SNAPSHOTS, TRADES, DayPartition

SCHEMA_VERSION = 1
ROWS_QUERY = """
    SELECT * FROM {table} WHERE {time} >= '{start}' AND {time} < '{end}'
    ORDER BY market_id, {time}, {id}
"""
MARKETS_QUERY = """
    SELECT market.*, event.ticker AS event_ticker, series.ticker AS series_ticker
    FROM markets_market AS market JOIN markets_event AS event ON event.id = event_id
    JOIN markets_series AS series ON series.id = series_id
    WHERE market.id IN ({ids}) ORDER BY market.id
"""
MARKET_IDS_QUERY = """
    SELECT market_id FROM {table} WHERE {time} >= '{start}' AND {time} < '{end}'
"""


class DayFiles(NamedTuple):
    """The paths of an archived day's files."""

    rows: Path
    markets: Path
    manifest: Path


def files_of(partition: DayPartition) -> DayFiles:
    folder = settings.ARCHIVE_PATH / FOLDERS[partition.table] / f"{partition.day:%Y}"
    name = f"{partition.table}-{partition.day}"
    endings = (".parquet", ".markets.parquet", ".json")
    return DayFiles(*(folder / f"{name}{ending}" for ending in endings))


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
        return midnight.has_changed(partition, archived)
    said = ACCOUNT[partition.table].said
    return bool(said) and not _says_the_same(partition, said)


def _has_other_files(partition: DayPartition, archived: ArchivedDay) -> bool:
    """Return True if files lie there that are not those on record: a backup may be older."""
    found = _manifest_on_disk(partition, archived)
    return found is not None and found.sha256 != archived.sha256


def _says_the_same(partition: DayPartition, said: Iterable[str]) -> bool:
    """Compare these columns of all rows in the database with those in the day's file."""
    columns = {name: COLUMNS[partition.table][name] for name in said}
    path = files_of(partition).rows
    try:
        archived = b"".join(parquet.lines(path, columns))
    except (OSError, parquet.ParquetError):
        return False
    with (
        connection.cursor() as cursor,
        cursor.copy(copy_statement(columns, _queries(partition)[0])) as lines,
    ):
        known = b"".join(map(bytes, lines))
    return sorted(archived.splitlines()) == sorted(known.splitlines())


def _count_rows(partition: DayPartition) -> int:
    if partition.table == AT_MIDNIGHT:
        return midnight.count_rows(partition)
    is_account = partition.table in ACCOUNT
    return account.count_rows(partition) if is_account else partitions.count_rows(partition)


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
    files = files_of(partition)
    try:
        _require_archivable(partition, now)
        with _archive_lock():
            files.manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest = _write_day(partition, files, now=now, coverage=coverage)
        record_archived(partition, manifest, verified_at=now)
    except (OSError, parquet.ParquetError, DatabaseError, psycopg.Error) as error:
        raise ArchiveError(f"{partition} is not archived: {error}") from error
    return manifest


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
    if not is_intact(files.rows, found.sha256):
        return has_fewer
    return staging.has_missing(partition, files.rows, files.markets)


def _manifest_on_disk(partition: DayPartition, archived: ArchivedDay | None) -> Manifest | None:
    """Read the manifest that would be replaced; of a day on record it may be missing or damaged."""
    manifest = files_of(partition).manifest
    if archived is None:
        return read_manifest(manifest) if manifest.exists() else None
    try:
        return read_manifest(manifest)
    except ArchiveError:
        return None


def _write_day(
    partition: DayPartition, files: DayFiles, *, now: datetime, coverage: float | None
) -> Manifest:
    # The files are renamed in the opposite order, so that the manifest comes last.
    with (
        _atomic_replace(files.manifest) as manifest_path,
        _atomic_replace(files.rows) as rows_path,
        _atomic_replace(files.markets) as markets_path,
    ):
        rows_query, ids_query = _queries(partition)
        rows = _write_file(rows_path, partition, COLUMNS[partition.table], query=rows_query)
        markets_query = MARKETS_QUERY.format(ids=ids_query)
        markets = _write_file(markets_path, partition, MARKET_COLUMNS, query=markets_query)
        is_account = partition.table in ACCOUNT
        time = ACCOUNT[partition.table].time if is_account else midnight.home_of(partition).key.time
        first_at, last_at = parquet.min_max(rows_path, time)
        manifest = Manifest(
            **msgspec.structs.asdict(rows),
            table=partition.table,
            day=partition.day,
            first_at=first_at,
            last_at=last_at,
            coverage=coverage,
            schema_version=SCHEMA_VERSION,
            columns=dict(COLUMNS[partition.table]),
            markets=markets,
            written_at=now,
            simulated=settings.SIMULATED,
        )
        with _open_synced(manifest_path) as sink:
            sink.write(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _queries(partition: DayPartition) -> tuple[str, str]:
    """Return what selects a day's rows, and the ids of the markets that they belong to."""
    if partition.table in ACCOUNT:
        return account.rows_query(partition), account.market_ids_query(partition)
    if partition.table == AT_MIDNIGHT:
        rows = midnight.rows_query(partition)
        return rows, f"SELECT market_id FROM ({rows}) AS found"  # noqa: S608
    # The bounds go in as literals, because COPY takes no parameters.
    start, end = partition.bounds
    values = {"table": partition.table, "start": start, "end": end, **partition.key._asdict()}
    return ROWS_QUERY.format(**values), MARKET_IDS_QUERY.format(**values)


def _write_file(
    path: Path, partition: DayPartition, columns: ColumnTypes, *, query: str
) -> ArchivedFile:
    """Write a query's rows of one day, and read them back as a restore would."""
    statement = copy_statement(columns, query)
    with (
        connection.cursor() as cursor,
        _open_synced(path) as sink,
        cursor.copy(statement) as lines,
    ):
        written = parquet.write(sink, columns, lines)
    if parquet.content(path, columns) != written:
        raise ArchiveError(
            f"{partition} is not archived: its file reads back differently from what was written."
        )
    return ArchivedFile(
        rows=written.rows,
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        content_sha256=written.sha256,
    )


def record_archived(partition: DayPartition, manifest: Manifest, **times: datetime | None) -> None:
    ArchivedDay.objects.update_or_create(
        table=partition.table,
        day=partition.day,
        defaults={
            "file": str(files_of(partition).rows.relative_to(settings.ARCHIVE_PATH)),
            "rows": manifest.rows,
            "first_at": manifest.first_at,
            "last_at": manifest.last_at,
            "sha256": manifest.sha256,
            "schema_version": manifest.schema_version,
            "coverage": manifest.coverage,
            **times,
        },
    )


@contextmanager
def _archive_lock() -> Iterator[None]:
    """Let one process at a time write files; a second one gives up at once."""
    settings.ARCHIVE_PATH.mkdir(parents=True, exist_ok=True)
    with (settings.ARCHIVE_PATH / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(f"Another run is writing to {settings.ARCHIVE_PATH}.") from None
        yield


@contextmanager
def _atomic_replace(path: Path) -> Iterator[Path]:
    """Give a temporary path, which replaces `path` unless an exception is raised."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _open_synced(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that is on disk when the block ends."""
    with path.open("wb") as sink:
        yield sink
        sink.flush()
        os.fsync(sink.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a rename within the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
