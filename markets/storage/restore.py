"""Restore an archived day into the database."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from django.conf import settings
from django.db import connection, transaction

from kalshi_insights.export import parquet
from kalshi_insights.export.copy import ColumnTypes
from markets.models import ArchivedDay, Event, Market, Series, Trade
from markets.storage import account_rows, archive, layout, midnight, partitions, staging
from markets.storage.account import ACCOUNT
from markets.storage.columns import COLUMNS, MARKET_COLUMNS
from markets.storage.day_files import SCHEMA_VERSION
from markets.storage.layout import DayFiles
from markets.storage.manifest import (
    ArchivedFile,
    ArchiveError,
    ArchivePath,
    Manifest,
    read_manifest,
    sha256_of_file,
)
from markets.storage.partitions import TRADES, DayPartition
from markets.storage.staging import RESTORE_EXPRESSIONS, staging_table

MARKET_BATCH = 1000
# What the archive has of a market beside the tickers of its parents.
ARCHIVED_COLUMNS = (
    "title", "yes_sub_title", "no_sub_title", "status", "result", "open_time", "close_time",
    "price_ranges",
)  # fmt: skip


class ArchivedMarket(NamedTuple):
    """A market as the archive has it."""

    ticker: str
    event_ticker: str
    series_ticker: str
    title: str
    yes_sub_title: str
    no_sub_title: str
    status: str
    result: str
    open_time: datetime | None
    close_time: datetime | None
    price_ranges: str  # as JSON


class RestoredRows(NamedTuple):
    archived: int
    inserted: int  # the others were in the database already


def restore_day(
    partition: DayPartition, *, now: datetime, accept_other_files: bool = False
) -> RestoredRows:
    """Insert the rows of a day's file that the database lacks; raises ArchiveError.

    Markets are matched by their tickers: where one has another id now, its rows get that id, and
    where it is unknown, it is created with the columns that the archive has. Files that are not
    those on record are refused unless they are accepted.
    """
    files = layout.files_of(partition)
    manifest = _fitting_manifest(partition, files)
    if not accept_other_files:
        _require_files_on_record(partition, manifest, files.rows)
    try:
        with layout.on_this_machine(files) as (rows, markets):
            _check_hash(rows, manifest, of=files.rows)
            _check_hash(markets, manifest.markets, of=files.markets)
            return _restore(partition, manifest, rows, markets, now=now)
    except parquet.ParquetError as error:
        raise ArchiveError(f"{partition} is not restored: {error}") from error


def _restore(
    partition: DayPartition, manifest: Manifest, rows: Path, markets: Path, *, now: datetime
) -> RestoredRows:
    if partition.table not in ACCOUNT:
        home = midnight.home_of(partition)
        partitions.create_missing(home.table, [home.day])
    with transaction.atomic():
        staging.stage_markets(markets)
        _create_missing_markets(now)
        staging.stage_rows(partition, rows)
        if partition.table in ACCOUNT:
            inserted = account_rows.restore_rows(partition, staging_table(partition))
        else:
            inserted = _insert_missing_rows(partition, COLUMNS[partition.table])
        times = {"restored_at": now} if inserted else {}
        archive.record_archived(partition, manifest, verified_at=now, dropped_at=None, **times)
    return RestoredRows(manifest.rows, inserted)


def _fitting_manifest(partition: DayPartition, files: DayFiles) -> Manifest:
    """Read a day's manifest and check that this database can have its rows."""
    manifest = read_manifest(files.manifest)
    if (manifest.table, manifest.day) != partition:
        raise ArchiveError(
            f"{files.manifest} belongs to another day: {manifest.table} {manifest.day}."
        )
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArchiveError(
            f"{files.manifest} has schema version {manifest.schema_version};"
            f" this program reads {SCHEMA_VERSION}."
        )
    if manifest.simulated != settings.SIMULATED:
        kind = "simulated" if manifest.simulated else "real"
        raise ArchiveError(
            f"{files.rows} was recorded from the {kind} exchange, and this database was not."
        )
    return manifest


def _require_files_on_record(
    partition: DayPartition, manifest: Manifest, rows: ArchivePath
) -> None:
    archived = ArchivedDay.objects.for_partition(partition)
    if archived and archived.sha256 != manifest.sha256:
        written, verified = (
            f"{at:%Y-%m-%d %H:%M}" for at in (manifest.written_at, archived.verified_at)
        )
        raise ArchiveError(
            f"{rows} is not the file on record. Written at {written},"
            f" it has {manifest.rows:,} rows and the SHA-256 {manifest.sha256}; that on record,"
            f" verified at {verified}, has {archived.rows:,} rows and {archived.sha256}. If this"
            f" database came from an older backup, `{archive.way_out(partition)}` adds what it"
            " lacks."
        )


def _check_hash(path: Path, content: ArchivedFile, *, of: ArchivePath) -> None:
    try:
        found = sha256_of_file(path)
    except OSError as error:
        raise ArchiveError(f"{of} cannot be read: {error.strerror}") from error
    if found != content.sha256:
        raise ArchiveError(
            f"{of} is damaged and nothing was restored: its SHA-256 is {found}, and its"
            f" manifest says {content.sha256}."
        )


def _create_missing_markets(now: datetime) -> None:
    columns = ", ".join(
        RESTORE_EXPRESSIONS.get(MARKET_COLUMNS[name], "{0}").format(name)
        for name in ArchivedMarket._fields
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {columns} FROM archived_market
                WHERE ticker NOT IN (SELECT ticker FROM markets_market WHERE NOT is_placeholder)
                ORDER BY ticker"""  # noqa: S608
        )
        unknown = [ArchivedMarket(*row) for row in cursor.fetchall()]
    for start in range(0, len(unknown), MARKET_BATCH):
        _create_markets(unknown[start : start + MARKET_BATCH], now)


def _create_markets(unknown: list[ArchivedMarket], now: datetime) -> None:
    events = _ensure_events(unknown, now)
    placeholders = Market.objects.filter(is_placeholder=True).ids(each.ticker for each in unknown)
    markets = [
        Market(
            pk=placeholders.get(market.ticker),
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
            definition_mark=0,  # so the next payload from the exchange counts as a change
        )
        for market in unknown
    ]
    Market.objects.bulk_create((each for each in markets if not each.pk), ignore_conflicts=True)
    known = [each for each in markets if each.pk]
    Market.objects.bulk_update(known, ["event", "is_placeholder", *ARCHIVED_COLUMNS])


def _ensure_events(unknown: list[ArchivedMarket], now: datetime) -> dict[str, int]:
    series = Series.objects.ids(market.series_ticker for market in unknown)
    parents = {market.event_ticker: series[market.series_ticker] for market in unknown}
    Event.objects.bulk_create(
        [
            Event(ticker=ticker, series_id=parent, recorded_at=now)
            for ticker, parent in parents.items()
        ],
        ignore_conflicts=True,
    )
    named = Event.objects.filter(ticker__in=parents)
    named.filter(is_placeholder=True).update(is_placeholder=False)
    return dict(named.values_list("ticker", "id"))


def _insert_missing_rows(partition: DayPartition, columns: ColumnTypes) -> int:
    """Insert the rows that are missing and return their number.

    Raises ArchiveError where another row has the same key and other values, or a row no market.
    """
    archived = _archived_rows_query(partition, columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT count(*) FROM {staging_table(partition)})"  # noqa: S608
            f" - (SELECT count(*) FROM ({archived}) AS known)"
        )
        homeless: int = cursor.fetchone()[0]
    if homeless:
        raise ArchiveError(
            f"{partition} is not restored: {homeless:,} of its rows are of markets that its"
            " files do not have."
        )
    if partition.table == TRADES:
        inserted, different = Trade.objects.restore(archived, columns, *partition.bounds)
    else:
        inserted, different = _insert_by_key(partition, archived, ", ".join(columns))
    if different:
        raise ArchiveError(
            f"{partition} is not restored: {different:,} of the archived rows are in the database"
            " with other values."
        )
    return inserted


def _insert_by_key(partition: DayPartition, archived: str, names: str) -> tuple[int, int]:
    """Insert the rows whose keys are missing; return their number, and how many rows differ."""
    home = midnight.home_of(partition)
    time = home.key.time
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {home.table} ({names}) {archived} ON CONFLICT DO NOTHING")
        inserted = cursor.rowcount
        cursor.execute(
            f"""SELECT count(*) FROM ({archived} EXCEPT SELECT {names} FROM {home.table}
                    WHERE {time} >= %s AND {time} < %s) AS different""",  # noqa: S608
            home.bounds,
        )
        return inserted, cursor.fetchone()[0]


def _archived_rows_query(partition: DayPartition, columns: ColumnTypes) -> str:
    """Select the archived rows with the market ids of this database."""
    expressions = {
        name: RESTORE_EXPRESSIONS.get(kind, "{0}").format(f"archived.{name}")
        for name, kind in columns.items()
    }
    expressions["market_id"] = "market.id"
    selected = ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())
    return f"""SELECT {selected} FROM {staging_table(partition)} AS archived
        JOIN archived_market AS old ON old.id = archived.market_id
        JOIN markets_market AS market ON market.ticker = old.ticker"""  # noqa: S608
