"""A day of the archive, brought back into the database."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import connection, transaction

from kalshi_insights.export import parquet
from kalshi_insights.export.copy import stage_csv
from kalshi_insights.export.parquet import ColumnTypes
from markets.models import ArchivedDay, Event, Market, Series
from markets.storage import archive, partitions
from markets.storage.archive import COLUMNS, FOLDERS, MARKETS, SCHEMA_VERSION
from markets.storage.manifest import (
    ArchivedFile,
    ArchiveError,
    Manifest,
    read_manifest,
    sha256_of_file,
)
from markets.storage.partitions import Piece

# How the types that come as something else become what they were.
READ = {"timestamptz": "'epoch'::timestamptz + {0} * interval '1 microsecond'"}
STAGED = {"timestamptz": "bigint"}
MARKETS_AT_ONCE = 1000


class Listed(NamedTuple):
    """What the archive knows of a market."""

    ticker: str
    event_ticker: str
    series_ticker: str
    title: str
    yes_sub_title: str
    no_sub_title: str
    status: str
    result: str
    open_time: datetime
    close_time: datetime
    price_ranges: str  # as JSON


class Restored(NamedTuple):
    rows: int
    written: int  # of them; the others were there


def restore_day(piece: Piece, *, now: datetime) -> Restored:
    """Put back what a day's file has and the database has not; raises ArchiveError.

    Markets are known by their tickers: where they have other ids now, the rows get those, and
    where they are not on record, they are put there with what the archive knows of them.
    """
    manifest = verified(piece)
    partitions.make(piece.table, [piece.day])
    files = archive.place(piece)
    with transaction.atomic():
        _stage("archived_market", MARKETS, files.markets)
        _provide_markets(now)
        _stage(_staging_table(piece), COLUMNS[piece.table], files.rows)
        written = _put_back(piece, COLUMNS[piece.table])
        times = {"restored_at": now} if written else {}
        archive.note(piece, manifest, verified_at=now, dropped_at=None, **times)
    return Restored(manifest.rows, written)


def verified(piece: Piece) -> Manifest:
    """A day's manifest, its files being what it says they are."""
    files = archive.place(piece)
    manifest = read_manifest(files.manifest)
    if (manifest.table, manifest.day) != piece:
        raise ArchiveError(f"{files.manifest} is that of {manifest.table} {manifest.day}.")
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArchiveError(
            f"{files.manifest} has schema version {manifest.schema_version};"
            f" this program reads {SCHEMA_VERSION}."
        )
    if manifest.simulated != settings.SIMULATED:
        kind = "simulated" if manifest.simulated else "real"
        raise ArchiveError(f"{files.rows} is of the {kind} exchange, this database is not.")
    _check(files.rows, manifest)
    _check(files.markets, manifest.markets)
    archived = ArchivedDay.objects.of(piece)
    if archived and archived.sha256 != manifest.sha256:
        raise ArchiveError(
            f"{files.rows} is not the file on record: its SHA-256 is {manifest.sha256},"
            f" the database remembers {archived.sha256}."
        )
    return manifest


def _check(path: Path, part: ArchivedFile) -> None:
    try:
        found = sha256_of_file(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    if found != part.sha256:
        raise ArchiveError(
            f"{path} is damaged, nothing was restored: its SHA-256 is {found},"
            f" its manifest says {part.sha256}."
        )


def _stage(table: str, columns: ColumnTypes, path: Path) -> None:
    staged = {name: STAGED.get(kind, kind) for name, kind in columns.items()}
    stage_csv(table, staged, parquet.lines(path, columns))
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {table}")


def _provide_markets(now: datetime) -> None:
    columns = ", ".join(READ.get(MARKETS[name], "{0}").format(name) for name in Listed._fields)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {columns} FROM archived_market
                WHERE ticker NOT IN (SELECT ticker FROM markets_market) ORDER BY ticker"""  # noqa: S608
        )
        unknown = [Listed(*row) for row in cursor.fetchall()]
    for start in range(0, len(unknown), MARKETS_AT_ONCE):
        _add_markets(unknown[start : start + MARKETS_AT_ONCE], now)


def _add_markets(unknown: list[Listed], now: datetime) -> None:
    events = _event_ids(unknown, now)
    Market.objects.bulk_create(
        [
            Market(
                ticker=market.ticker,
                event_id=events[market.event_ticker],
                title=market.title,
                yes_sub_title=market.yes_sub_title,
                no_sub_title=market.no_sub_title,
                status=market.status,
                result=market.result,
                open_time=market.open_time,
                close_time=market.close_time,
                price_ranges=msgspec.json.decode(market.price_ranges),
                raw_data={},
                recorded_at=now,
                definition_mark=0,  # whatever the exchange says of it next is news
            )
            for market in unknown
        ],
        ignore_conflicts=True,
    )


def _event_ids(unknown: list[Listed], now: datetime) -> dict[str, int]:
    series = Series.objects.ids(market.series_ticker for market in unknown)
    parents = {market.event_ticker: series[market.series_ticker] for market in unknown}
    Event.objects.bulk_create(
        [
            Event(ticker=ticker, series_id=parent, recorded_at=now)
            for ticker, parent in parents.items()
        ],
        ignore_conflicts=True,
    )
    return dict(Event.objects.filter(ticker__in=parents).values_list("ticker", "id"))


def _put_back(piece: Piece, columns: ColumnTypes) -> int:
    """Write what is not there; how many rows that was. Everything else must be equal."""
    names, archived = ", ".join(columns), _archived(piece, columns)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {piece.table} ({names}) {archived} ON CONFLICT DO NOTHING")
        written: int = cursor.rowcount
        cursor.execute(
            f"""SELECT count(*) FROM ({archived} EXCEPT SELECT {names} FROM {piece.table}
                    WHERE timestamp >= %s AND timestamp < %s) AS different""",  # noqa: S608
            piece.span,
        )
        different: int = cursor.fetchone()[0]
    if different:
        raise ArchiveError(
            f"{piece} is not restored: {different:,} of the archived rows are in the database"
            " with other values."
        )
    return written


def _staging_table(piece: Piece) -> str:
    return f"archived_{FOLDERS[piece.table]}"


def _archived(piece: Piece, columns: ColumnTypes) -> str:
    """The archive's rows with this database's markets."""
    read = {
        name: READ.get(kind, "{0}").format(f"archived.{name}") for name, kind in columns.items()
    }
    read["market_id"] = "market.id"
    chosen = ", ".join(f"{expression} AS {name}" for name, expression in read.items())
    return f"""SELECT {chosen} FROM {_staging_table(piece)} AS archived
        JOIN archived_market AS old ON old.id = archived.market_id
        JOIN markets_market AS market ON market.ticker = old.ticker"""  # noqa: S608
