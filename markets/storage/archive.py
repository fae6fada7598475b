"""Closed days of snapshots and order books, written to files and read back.

A day is three files: its rows, the markets they speak of, and a manifest. Each is written under
another name and takes its place only when all has been read back; the manifest comes last.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import psycopg
from django.conf import settings
from django.db import DatabaseError, connection

from kalshi_insights.export import parquet
from kalshi_insights.export.parquet import ColumnTypes
from markets.models import ArchivedDay
from markets.storage import partitions
from markets.storage.manifest import ArchivedFile, ArchiveError, Manifest, sha256_of_file
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, Piece

FOLDERS = {SNAPSHOTS: "snapshots", ORDER_BOOKS: "orderbooks"}
SCHEMA_VERSION = 1
COLUMNS: dict[str, ColumnTypes] = {
    SNAPSHOTS: {
        "id": "uuid",
        "market_id": "bigint",
        "timestamp": "timestamptz",
        "recorded_at": "timestamptz",
        "sequence": "bigint",
        "quality": "smallint",
        "source": "text",
        "yes_bid": "numeric(6,4)",
        "yes_ask": "numeric(6,4)",
        "yes_bid_size": "numeric(18,2)",
        "yes_ask_size": "numeric(18,2)",
        "last_price": "numeric(6,4)",
        "volume": "numeric(18,2)",
        "open_interest": "numeric(18,2)",
        "raw_data": "jsonb",
    },
    ORDER_BOOKS: {
        "id": "uuid",
        "market_id": "bigint",
        "timestamp": "timestamptz",
        "bid_prices": "numeric(6,4)[]",
        "bid_sizes": "numeric(18,2)[]",
        "ask_prices": "numeric(6,4)[]",
        "ask_sizes": "numeric(18,2)[]",
    },
}
# Enough of a market to bring its rows back to where it is not on record; the exchange has the rest.
MARKETS = {
    "id": "bigint",
    "ticker": "text",
    "event_ticker": "text",
    "series_ticker": "text",
    "title": "text",
    "yes_sub_title": "text",
    "no_sub_title": "text",
    "status": "text",
    "result": "text",
    "open_time": "timestamptz",
    "close_time": "timestamptz",
    "price_ranges": "jsonb",
}
ROWS = """
    SELECT * FROM {table} WHERE timestamp >= '{start}' AND timestamp < '{end}'
    ORDER BY market_id, timestamp, id
"""
MARKETS_OF_ROWS = """
    SELECT market.*, event.ticker AS event_ticker, series.ticker AS series_ticker
    FROM markets_market AS market JOIN markets_event AS event ON event.id = event_id
    JOIN markets_series AS series ON series.id = series_id
    WHERE market.id IN (
        SELECT market_id FROM {table} WHERE timestamp >= '{start}' AND timestamp < '{end}')
    ORDER BY market.id
"""
# How the types that CSV and PostgreSQL do not write alike come out of the database.
WRITTEN = {
    "uuid": "replace({0}::text, '-', '') AS {0}",
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint AS {0}",
}

Coverage = Callable[[Piece], float | None]


class Place(NamedTuple):
    """Where the files of a day are."""

    rows: Path
    markets: Path
    manifest: Path


def place(piece: Piece) -> Place:
    folder = settings.ARCHIVE_PATH / FOLDERS[piece.table] / f"{piece.day:%Y}"
    name = f"{piece.table}-{piece.day}"
    endings = (".parquet", ".markets.parquet", ".json")
    return Place(*(folder / f"{name}{ending}" for ending in endings))


# --- Into the archive ---------------------------------------------------------------------------


def due(tables: Iterable[str], *, now: datetime, again: bool = False) -> list[Piece]:
    """Closed days whose rows the archive has not, oldest first; with `again`, those it has too."""
    archived = ArchivedDay.objects.by_piece()
    return [
        piece
        for piece in sorted(_days(tables), key=lambda piece: piece.day)
        if piece.is_closed(now)
        and (rows := partitions.rows(piece))
        and (again or piece not in archived or rows != archived[piece].rows)
    ]


def _days(tables: Iterable[str]) -> Iterator[Piece]:
    for table in tables:
        yield from partitions.pieces(table)
        yield from (Piece(table, day) for day in partitions.days_waiting(table))


def archive_day(piece: Piece, *, now: datetime, coverage: Coverage | None = None) -> Manifest:
    """Write a day, check it, record it; raises ArchiveError, and then nothing of it is left."""
    at = place(piece)
    try:
        _refuse(piece, now)
        with _alone():
            at.manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest = _write_day(piece, at, now=now, coverage=coverage)
        note(piece, manifest, verified_at=now)
    except (OSError, parquet.ParquetError, DatabaseError, psycopg.Error) as error:
        raise ArchiveError(f"{piece} is not archived: {error}") from error
    return manifest


def _refuse(piece: Piece, now: datetime) -> None:
    if not piece.is_closed(now):
        raise ArchiveError(f"{piece} is not archived: it ended less than an hour ago, or has not.")
    archived, rows = ArchivedDay.objects.of(piece), partitions.rows(piece)
    if archived and (archived.dropped_at or rows < archived.rows):
        raise ArchiveError(
            f"{piece} has {rows:,} rows in the database and {archived.rows:,} in the archive,"
            " which would be lost: restore the day first."
        )


def _write_day(piece: Piece, at: Place, *, now: datetime, coverage: Coverage | None) -> Manifest:
    # Left in the opposite order: the manifest takes its place last.
    with (
        _replacing(at.manifest) as manifest_path,
        _replacing(at.rows) as rows_path,
        _replacing(at.markets) as markets_path,
    ):
        rows = _write(rows_path, piece, COLUMNS[piece.table], query=ROWS)
        markets = _write(markets_path, piece, MARKETS, query=MARKETS_OF_ROWS)
        first_at, last_at = parquet.min_max(rows_path, "timestamp")
        manifest = Manifest(
            **msgspec.structs.asdict(rows),
            table=piece.table,
            day=piece.day,
            first_at=first_at,
            last_at=last_at,
            coverage=coverage(piece) if coverage else None,
            schema_version=SCHEMA_VERSION,
            columns=dict(COLUMNS[piece.table]),
            markets=markets,
            written_at=now,
            simulated=settings.SIMULATED,
        )
        with _flushed(manifest_path) as sink:
            sink.write(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _write(path: Path, piece: Piece, columns: ColumnTypes, *, query: str) -> ArchivedFile:
    """Write what a query finds of a day, and read it back as it would be restored."""
    # As literals: COPY takes no parameters, nor does Django's cursor pass any on to it.
    start, end = piece.span
    found = query.format(table=piece.table, start=start, end=end)
    with (
        connection.cursor() as cursor,
        _flushed(path) as sink,
        cursor.copy(_copy_out(columns, found)) as lines,
    ):
        written = parquet.write(sink, columns, lines)
    if parquet.content(path, columns) != written:
        raise ArchiveError(f"{piece} is not archived: its file reads back otherwise than written.")
    return ArchivedFile(
        rows=written.rows,
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        content_sha256=written.sha256,
    )


def _copy_out(columns: ColumnTypes, query: str) -> str:
    chosen = ", ".join(WRITTEN.get(kind, "{0}").format(name) for name, kind in columns.items())
    quoted = ", ".join(name for name, kind in columns.items() if kind in parquet.QUOTED_TYPES)
    # The subquery's order is that of the result, for nothing is joined or grouped outside it.
    return f"""
        COPY (SELECT {chosen} FROM ({query}) AS found)
        TO STDOUT (FORMAT csv, FORCE_QUOTE ({quoted}))
    """  # noqa: S608


def note(piece: Piece, manifest: Manifest, **times: datetime | None) -> None:
    ArchivedDay.objects.update_or_create(
        table=piece.table,
        day=piece.day,
        defaults={
            "file": str(place(piece).rows.relative_to(settings.ARCHIVE_PATH)),
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
def _alone() -> Iterator[None]:
    """Not two at the same files: the second gives up at once."""
    settings.ARCHIVE_PATH.mkdir(parents=True, exist_ok=True)
    with (settings.ARCHIVE_PATH / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(f"Another run is writing to {settings.ARCHIVE_PATH}.") from None
        yield


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path beside this one, for what takes its place at the end if all has gone well."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
        _flush_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _flushed(path: Path) -> Iterator[IO[bytes]]:
    with path.open("wb") as sink:
        yield sink
        sink.flush()
        os.fsync(sink.fileno())


def _flush_folder(folder: Path) -> None:
    """Only then a new name in it survives a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
