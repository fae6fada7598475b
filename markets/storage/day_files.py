"""The files of an archived day: written aside, read back, and put in their places.

A day is three files: its rows, the markets that they belong to, and a manifest. The manifest is
put in its place last, and no day without one is listed.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import msgspec
from django.conf import settings
from django.db import connection

from kalshi_insights.export import parquet
from kalshi_insights.export.copy import ColumnTypes
from kalshi_insights.export.object_storage import ObjectPath
from markets.models.storage import AT_MIDNIGHT
from markets.storage import account, layout, midnight
from markets.storage.account import ACCOUNT
from markets.storage.columns import COLUMNS, MARKET_COLUMNS, copy_statement
from markets.storage.imported_rows import RECORDED
from markets.storage.layout import ASIDE, DayFiles, LocalFiles
from markets.storage.manifest import (
    ArchivedFile,
    ArchiveError,
    ArchivePath,
    ArchiveUnreachable,
    Manifest,
    read_manifest,
    sha256_of_file,
)
from markets.storage.partitions import DayPartition, TableBusy, advisory_lock

SCHEMA_VERSION = 1
ROWS_QUERY = """
    SELECT * FROM {table} WHERE {time} >= '{start}' AND {time} < '{end}' AND {recorded}
    ORDER BY market_id, {time}, {id}
"""
MARKETS_QUERY = """
    SELECT market.*, event.ticker AS event_ticker, series.ticker AS series_ticker
    FROM markets_market AS market JOIN markets_event AS event ON event.id = event_id
    JOIN markets_series AS series ON series.id = series_id
    WHERE market.id IN ({ids}) ORDER BY market.id
"""
MARKET_IDS_QUERY = """
    SELECT market_id FROM {table} WHERE {time} >= '{start}' AND {time} < '{end}' AND {recorded}
"""


def write_day(partition: DayPartition, *, now: datetime, coverage: float | None) -> Manifest:
    """Write a day's files, read them back and put them in their places.

    Where it fails, the files of before are still there, and none of the attempt. A storage that is
    lost between two of the names leaves a day that is not intact: it is kept, and written again.
    """
    with archive_lock(), _folder_aside() as folder:
        written = LocalFiles(folder / "rows", folder / "markets", folder / "manifest")
        manifest = _write_files(partition, written, now=now, coverage=coverage)
        _put_in_place(written, layout.place_of(partition))
        _remove(layout.earlier_place_of(partition))
    return manifest


def move_day(partition: DayPartition) -> None:
    """Move a day's files from where archives of before have them; raises ArchiveError.

    They are copied as they are, so that a move that breaks off leaves the day where it was. One
    that broke off after that has only to take away what is left there.
    """
    earlier, files = layout.earlier_place_of(partition), layout.place_of(partition)
    with archive_lock(), _folder_aside() as folder:
        if layout.is_there(files):
            _require_intact(partition, files, of=files)
        else:
            copies = LocalFiles(folder / "rows", folder / "markets", folder / "manifest")
            for path, copy in zip(earlier, copies, strict=True):
                _copy(path, copy)
            _require_intact(partition, copies, of=earlier)
            _put_in_place(copies, files)
        _remove(earlier)


def _require_intact(partition: DayPartition, files: DayFiles | LocalFiles, *, of: DayFiles) -> None:
    if not layout.has_files_of(read_manifest(files.manifest), files):
        raise ArchiveError(f"{partition} is not moved: its files are damaged: {of.rows}")


def _copy(path: ArchivePath, target: Path) -> None:
    with path.open("rb") as source, _open_synced(target) as sink:
        shutil.copyfileobj(source, sink)


def _write_files(
    partition: DayPartition, files: LocalFiles, *, now: datetime, coverage: float | None
) -> Manifest:
    rows_query, ids_query = queries_of(partition)
    is_account, columns = partition.table in ACCOUNT, COLUMNS[partition.table]
    first = "number" if is_account else "market_id"
    rows = _write_file(files.rows, partition, columns, query=rows_query, sorted_by=first)
    markets_query = MARKETS_QUERY.format(ids=ids_query)
    markets = _write_file(
        files.markets, partition, MARKET_COLUMNS, query=markets_query, sorted_by="id"
    )
    time = ACCOUNT[partition.table].time if is_account else midnight.home_of(partition).key.time
    first_at, last_at = parquet.min_max(files.rows, time)
    manifest = Manifest(
        **msgspec.structs.asdict(rows),
        table=partition.table,
        day=partition.day,
        first_at=first_at,
        last_at=last_at,
        coverage=coverage,
        schema_version=SCHEMA_VERSION,
        columns=dict(columns),
        markets=markets,
        written_at=now,
        simulated=settings.SIMULATED,
    )
    with _open_synced(files.manifest) as sink:
        sink.write(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def queries_of(partition: DayPartition) -> tuple[str, str]:
    """Return what selects a day's rows, and the ids of the markets that they belong to."""
    if partition.table in ACCOUNT:
        return account.rows_query(partition), account.market_ids_query(partition)
    if partition.table == AT_MIDNIGHT:
        rows = midnight.rows_query(partition)
        return rows, f"SELECT market_id FROM ({rows}) AS found"  # noqa: S608
    # The bounds go in as literals, because COPY takes no parameters.
    start, end = partition.bounds
    values = {"table": partition.table, "start": start, "end": end, **partition.key._asdict()}
    values["recorded"] = RECORDED[partition.table]
    return ROWS_QUERY.format(**values), MARKET_IDS_QUERY.format(**values)


def _write_file(
    path: Path, partition: DayPartition, columns: ColumnTypes, *, query: str, sorted_by: str
) -> ArchivedFile:
    """Write a query's rows of one day, and read them back as a restore would."""
    statement = copy_statement(columns, query)
    with (
        connection.cursor() as cursor,
        _open_synced(path) as sink,
        cursor.copy(statement) as lines,
    ):
        written = parquet.write(sink, columns, lines, sorted_by=sorted_by)
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


@contextmanager
def _open_synced(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that is on disk when the block ends."""
    with path.open("wb") as sink:
        yield sink
        sink.flush()
        os.fsync(sink.fileno())


# --- One writer, aside --------------------------------------------------------------------------


@contextmanager
def archive_lock() -> Iterator[None]:
    """Let one process at a time write files; a second one gives up at once.

    In object storage there is no lock, so that it is the database's: it keeps out the processes of
    this installation alone.
    """
    root = layout.archive_root()
    with ExitStack() as stack:
        try:
            lock = _lock_of(root) if isinstance(root, Path) else advisory_lock("archive")
            stack.enter_context(lock)
        except (BlockingIOError, TableBusy):
            raise ArchiveError(f"Another run is writing to {root}.") from None
        yield


@contextmanager
def _lock_of(folder: Path) -> Iterator[None]:
    with _told_unwritable():
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@contextmanager
def _folder_aside() -> Iterator[Path]:
    """Give an empty folder of this machine, from which files can be renamed into the archive.

    It replaces what a run has left that was killed.
    """
    root = layout.archive_root()
    if not isinstance(root, Path):
        with TemporaryDirectory(prefix="kalshi-archive-") as folder:
            yield Path(folder)
        return
    aside = root / ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


# --- Into their places --------------------------------------------------------------------------


def _put_in_place(written: LocalFiles, files: DayFiles) -> None:
    """Let a day's files take their names, the manifest last.

    In object storage they are uploaded aside and compared first, so that a name never stands for
    a part of a file.
    """
    with ExitStack() as stack:
        steps = [
            _prepare(written.markets, files.markets, stack),
            _prepare(written.rows, files.rows, stack),
            _prepare(written.manifest, files.manifest, stack),
        ]
        for take_name in steps:
            take_name()


def _prepare(path: Path, target: ArchivePath, stack: ExitStack) -> Callable[[], None]:
    """Bring a file to where it can take its name at once, and return what does that."""
    if isinstance(target, Path):
        return partial(_rename, path, target)
    aside = layout.aside_of(target)
    stack.callback(_forget, aside)
    with _told_unwritable():
        aside.upload(path)
        if sha256_of_file(aside) != sha256_of_file(path):
            raise ArchiveError(f"{target} reads back differently from what was written.")
    return partial(_take_name, aside, target)


def _take_name(aside: ObjectPath, target: ObjectPath) -> None:
    with _told_unwritable():
        aside.replace(target)


@contextmanager
def _told_unwritable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveUnreachable(f"ARCHIVE_PATH cannot be written: {error}") from error


def _forget(aside: ObjectPath) -> None:
    """Delete what an upload may have left; where that fails, the next upload replaces it."""
    with suppress(OSError):
        aside.unlink(missing_ok=True)


def _remove(files: DayFiles) -> None:
    """Delete a day's files, the manifest first."""
    files.manifest.unlink(missing_ok=True)
    files.rows.unlink(missing_ok=True)
    files.markets.unlink(missing_ok=True)


def _rename(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    _sync_folder(target.parent)
    _sync_folder(target.parent.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename within the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
