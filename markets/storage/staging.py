"""The files of an archived day in staging tables, beside the rows of the database."""

from collections.abc import Set
from datetime import datetime, timedelta
from pathlib import Path

from django.db import connection, transaction

from kalshi_insights.export import parquet
from kalshi_insights.export.copy import ColumnTypes, stage_csv
from markets.models.trades import LEARNED_LATER, SAME_TRADE_WITHIN
from markets.storage import midnight, partitions
from markets.storage.account import ACCOUNT
from markets.storage.account_rows import StagedRows
from markets.storage.columns import COLUMNS, FOLDERS, MARKET_COLUMNS
from markets.storage.imported_rows import RECORDED
from markets.storage.partitions import TRADES, DayPartition

# A staging table holds these types in the form that the files have, and converts them on reading.
RESTORE_EXPRESSIONS = {"timestamptz": "'epoch'::timestamptz + {0} * interval '1 microsecond'"}
STAGING_TYPES = {"timestamptz": "bigint"}
STAGED_MARKETS = "archived_market"
# The columns that `LEARNED_LATER` compares.
LEARNED_BY = ("created_time", "known_at")


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


def has_missing(partition: DayPartition, rows: Path, markets: Path) -> bool:
    """Return True if the database lacks a row of a day's files, or says less of one."""
    table = staging_table(partition)
    with transaction.atomic():
        if partition.table in ACCOUNT:
            stage_markets(markets)
            stage_rows(partition, rows)
            return StagedRows(partition.table, ACCOUNT[partition.table], table).are_missing()
        home = midnight.home_of(partition)
        columns = COLUMNS[partition.table]
        compared = {home.key.id, *(LEARNED_BY if home.table == TRADES else ())}
        _stage(table, columns, rows, lacking=columns.keys() - compared)
        return _has_missing_rows(home, table)


def count_near(partition: DayPartition) -> int:
    """Count the rows among which those of a day's files are, if the database has them."""
    home = midnight.home_of(partition)
    return partitions.count_between(home.table, *_times_near(home))


def _times_near(home: DayPartition) -> tuple[datetime, datetime]:
    start, end = home.bounds
    # The same trade may be on record with a time that another source told, of the next day even.
    apart = SAME_TRADE_WITHIN if home.table == TRADES else timedelta()
    return start - apart, end + apart


def _has_missing_rows(home: DayPartition, staged: str) -> bool:
    time, id = home.key
    learned_later = LEARNED_LATER if home.table == TRADES else "false"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT EXISTS (SELECT FROM {staged} AS new WHERE NOT EXISTS (
                SELECT FROM {home.table} AS old
                WHERE old.{id} = new.{id} AND old.{RECORDED[home.table]}
                    AND old.{time} >= %s AND old.{time} < %s AND NOT ({learned_later})))""",  # noqa: S608
            _times_near(home),
        )
        is_any: bool = cursor.fetchone()[0]
    return is_any
