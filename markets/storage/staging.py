"""The files of an archived day in staging tables, beside the rows of the database."""

from collections.abc import Set
from datetime import timedelta
from pathlib import Path

from django.db import connection, transaction

from kalshi_insights.export import parquet
from kalshi_insights.export.copy import ColumnTypes, stage_csv
from markets.models.trades import SAME_TRADE_WITHIN
from markets.storage import midnight
from markets.storage.account import ACCOUNT
from markets.storage.account_rows import StagedRows
from markets.storage.columns import COLUMNS, FOLDERS, MARKET_COLUMNS
from markets.storage.partitions import TRADES, DayPartition

# A staging table holds these types in the form that the files have, and converts them on reading.
RESTORE_EXPRESSIONS = {"timestamptz": "'epoch'::timestamptz + {0} * interval '1 microsecond'"}
STAGING_TYPES = {"timestamptz": "bigint"}
STAGED_MARKETS = "archived_market"


def staging_table(partition: DayPartition) -> str:
    return f"archived_{FOLDERS[partition.table]}"


def stage_markets(path: Path) -> None:
    _stage(STAGED_MARKETS, MARKET_COLUMNS, path)


def stage_rows(partition: DayPartition, path: Path) -> None:
    """Stage a day's rows; columns that were not archived yet get the values stated for them."""
    table, columns = staging_table(partition), COLUMNS[partition.table]
    later = ACCOUNT[partition.table].later if partition.table in ACCOUNT else {}
    lacking = later.keys() - parquet.column_names(path)
    _stage(table, columns, path, lacking=lacking)
    if lacking:
        values = ", ".join(f'"{name}" = {later[name]}' for name in lacking)
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {values}")  # noqa: S608


def _stage(
    table: str, columns: ColumnTypes, path: Path, *, lacking: Set[str] = frozenset()
) -> None:
    staged = {name: STAGING_TYPES.get(kind, kind) for name, kind in columns.items()}
    filled = {name: kind for name, kind in columns.items() if name not in lacking}
    stage_csv(table, staged, parquet.lines(path, filled), filled=filled)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {table}")


def count_missing(partition: DayPartition, rows: Path, markets: Path) -> int:
    """Count the rows of a day's files that the database lacks, by what tells rows apart."""
    table = staging_table(partition)
    with transaction.atomic():
        if partition.table in ACCOUNT:
            stage_markets(markets)
            stage_rows(partition, rows)
            return StagedRows(partition.table, ACCOUNT[partition.table], table).count_missing()
        home = midnight.home_of(partition)
        columns = COLUMNS[partition.table]
        _stage(table, columns, rows, lacking=columns.keys() - {home.key.id})
        return _count_missing_ids(home, table)


def _count_missing_ids(home: DayPartition, staged: str) -> int:
    time, id = home.key
    start, end = home.bounds
    # The same trade may be on record with a time that another source told, of the next day even.
    apart = SAME_TRADE_WITHIN if home.table == TRADES else timedelta()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT count(*) FROM {staged} AS archived WHERE NOT EXISTS (
                SELECT FROM {home.table} AS known WHERE known.{id} = archived.{id}
                    AND known.{time} >= %s AND known.{time} < %s)""",  # noqa: S608
            [start - apart, end + apart],
        )
        missing: int = cursor.fetchone()[0]
    return missing
