"""Daily partitions (UTC) of the large tables, so that retention can drop a whole day at once.

A row whose day has no partition yet goes into the table's default partition: late, but not lost.

Attaching and dropping a partition need locks that block other sessions for a moment. We never wait
for such a lock but ask for it with NOWAIT and try again: a session that does not wait takes part in
no deadlock, and it does not make others queue behind it.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import LockNotAvailable

SNAPSHOTS = "markets_marketsnapshot"
ORDER_BOOKS = "markets_orderbooksnapshot"
TRADES = "markets_trade"
# With a week of partitions ahead, a maintenance task that does not run for days costs a warning.
DAYS_AHEAD = 7
ONE_DAY = timedelta(days=1)
# Rows that are still on their way when a day ends are stored an hour later.
CLOSING_DELAY = timedelta(hours=1)
# The foreign keys of the partitioned tables point here, so a new partition locks this table too.
REFERENCED = "markets_market"
LOCK_TIMEOUT = 10  # seconds
LOCK_RETRY_INTERVAL = 0.05  # seconds


class RowKey(NamedTuple):
    """The columns of a table by which a row belongs to a day, and is told from its neighbours."""

    time: str
    id: str


KEYS = {
    SNAPSHOTS: RowKey("timestamp", "id"),
    ORDER_BOOKS: RowKey("timestamp", "id"),
    TRADES: RowKey("created_time", "trade_id"),
}
TABLES = tuple(KEYS)


class TableBusy(Exception):
    """Other sessions used a table for the whole lock timeout; nothing has changed."""


class DayPartition(NamedTuple):
    """The partition of one table for one day."""

    table: str
    day: date

    def __str__(self) -> str:
        return f"{self.table} {self.day}"

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def key(self) -> RowKey:
        return KEYS[self.table]

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Its first instant, and the first one after it."""
        return midnight(self.day), midnight(self.day + ONE_DAY)

    def is_closed(self, now: datetime) -> bool:
        return self.bounds[1] + CLOSING_DELAY <= now


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# --- Reading the catalogue ----------------------------------------------------------------------


def partitions_of(table: str) -> list[DayPartition]:
    """List the days that have a partition, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
            WHERE inhparent = %s::regclass
            """,
            [table],
        )
        days = [name.rpartition("_")[2] for (name,) in cursor.fetchall()]
    return [DayPartition(table, date.fromisoformat(day)) for day in sorted(days) if day.isdecimal()]


def is_clustered(partition: DayPartition) -> bool:
    """PostgreSQL remembers for each table the index by which it was last clustered."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(indisclustered) FROM pg_index WHERE indrelid = %s::regclass",
            [partition.name],
        )
        return bool(cursor.fetchone()[0])


def days_without_partition(tables: Iterable[str] = TABLES) -> list[date]:
    """List the days whose rows lie in a default partition. As a rule it is empty and cheap."""
    each = (
        f"SELECT DISTINCT ({KEYS[table].time} AT TIME ZONE 'UTC')::date AS day FROM {table}_default"
        for table in tables
    )
    with connection.cursor() as cursor:
        cursor.execute(f"{' UNION '.join(each)} ORDER BY day")
        return [row[0] for row in cursor.fetchall()]


def count_rows(partition: DayPartition) -> int:
    """Count the rows of that day, including those in the default partition."""
    return count_between(partition.table, *partition.bounds)


def count_between(table: str, start: datetime, end: datetime) -> int:
    time = KEYS[table].time
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {table} WHERE {time} >= %s AND {time} < %s", [start, end]
        )
        count: int = cursor.fetchone()[0]
    return count


# --- Creating, dropping and clustering ----------------------------------------------------------


def days_ahead(today: date) -> set[date]:
    return {today + n * ONE_DAY for n in range(DAYS_AHEAD + 1)}


def missing_partitions(table: str, days: Iterable[date]) -> list[DayPartition]:
    existing = {partition.day for partition in partitions_of(table)}
    return [DayPartition(table, day) for day in sorted(set(days) - existing)]


def create_missing(table: str, days: Iterable[date]) -> list[DayPartition]:
    """Create the partitions that these days lack, each with its rows of the default partition."""
    return [partition for partition in missing_partitions(table, days) if create(partition)]


def create(partition: DayPartition) -> bool:
    """Create a partition and move its rows out of the default one.

    Returns False if another process has just created it. Most rows are copied while other sessions
    go on writing; those have to wait only while the few rows that came meanwhile are moved.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # The advisory lock lets one process at a time in. The table locks cannot do that, because
        # attaching, which takes them, comes last.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [partition.table])
        if partition in partitions_of(partition.table):
            return False
        cursor.execute(f"CREATE TABLE {partition.name} (LIKE {partition.table} INCLUDING ALL)")
        _copy_from_default(cursor, partition)
        _with_lock_retries(lambda: _move_and_attach(partition))
    return True


def drop(partition: DayPartition, reason_to_keep: Callable[[], str]) -> str:
    """Drop a partition unless there is a reason to keep it; returns that reason, or "".

    `reason_to_keep` is called under a lock that keeps other sessions from adding rows.
    """
    with transaction.atomic():
        _with_lock_retries(lambda: _lock(f"{partition.name} IN SHARE MODE"))
        reason = reason_to_keep()
        if not reason:
            _with_lock_retries(lambda: _drop(partition))
    return reason


def cluster(partition: DayPartition) -> None:
    """Rewrite a partition with each market's rows together, so that reading one costs few pages.

    Unlike PostgreSQL's CLUSTER it lets other sessions read and write meanwhile. Raises TableBusy,
    also where rows were added to this partition during the copy.
    """
    copy = f"{partition.name}_new"
    with advisory_lock("cluster"):
        _drop_if_exists(copy)  # A run that was killed may have left it.
        try:
            count = _copy_by_market(partition, copy)
            _with_lock_retries(lambda: _add_foreign_key(copy))
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {copy} VALIDATE CONSTRAINT market")
            _swap_if_unchanged(partition, copy, count=count)
        except TableBusy:
            _drop_if_exists(copy)
            raise


@contextmanager
def advisory_lock(name: str) -> Iterator[None]:
    """Let one process at a time in; raises TableBusy where another one is inside."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [name])
        if not cursor.fetchone()[0]:
            raise TableBusy
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [name])


def _drop_if_exists(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0]:
            _with_lock_retries(lambda: _drop_detached(name))


def _drop_detached(name: str) -> None:
    with connection.cursor() as cursor:
        _lock(f"{name}, {REFERENCED} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"DROP TABLE {name}")


def _copy_by_market(partition: DayPartition, copy: str) -> int:
    time, id = partition.key
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {copy} (LIKE {partition.table} INCLUDING ALL)")
        cursor.execute(
            f"INSERT INTO {copy} SELECT * FROM {partition.name} ORDER BY market_id, {time}, {id}"
        )
        count: int = cursor.rowcount
        # With this constraint, attaching need not scan the table while other sessions wait.
        cursor.execute(
            f"ALTER TABLE {copy} ADD CONSTRAINT day CHECK ({time} >= %s AND {time} < %s)",
            partition.bounds,
        )
        # Indexes grow in the order of the rows; in their own order they take a quarter less.
        cursor.execute(f"REINDEX TABLE {copy}")
        cursor.execute(f"ALTER TABLE {copy} CLUSTER ON {_index_by_market(copy)}")
        cursor.execute(f"ANALYZE {copy}")
    return count


def _add_foreign_key(copy: str) -> None:
    with connection.cursor() as cursor:
        _lock(f"{REFERENCED} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(
            f"""ALTER TABLE {copy} ADD CONSTRAINT market
                FOREIGN KEY (market_id) REFERENCES {REFERENCED} NOT VALID"""
        )


def _index_by_market(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT index.relname FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid
            JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
            WHERE indrelid = %s::regclass AND attname = 'market_id'
            """,
            [name],
        )
        index: str = cursor.fetchone()[0]
    return index


def _swap_if_unchanged(partition: DayPartition, copy: str, *, count: int) -> None:
    with transaction.atomic():
        _with_lock_retries(lambda: _lock(f"{partition.name} IN SHARE MODE"))
        # Rows are added and never changed, so an equal count means the same rows.
        if count_rows(partition) != count:
            raise TableBusy
        _with_lock_retries(lambda: _swap(partition, copy))


def _swap(partition: DayPartition, copy: str) -> None:
    with connection.cursor() as cursor:
        # Dropping and attaching remove and create the foreign key's triggers on the market table.
        _lock(f"{copy}, {REFERENCED} IN ACCESS EXCLUSIVE MODE")
        _drop(partition)
        cursor.execute(f"ALTER TABLE {copy} RENAME TO {partition.name}")
        _attach(cursor, partition)
        cursor.execute(f"ALTER TABLE {partition.name} DROP CONSTRAINT day")


def _move_and_attach(partition: DayPartition) -> None:
    with connection.cursor() as cursor:
        # No session may add a row to the default partition after we have emptied it of this day.
        _lock(f"ONLY {partition.table}, {REFERENCED} IN SHARE ROW EXCLUSIVE MODE")
        _lock(f"{partition.table}_default IN ACCESS EXCLUSIVE MODE")
        _copy_from_default(cursor, partition)
        time = partition.key.time
        cursor.execute(
            f"DELETE FROM {partition.table}_default WHERE {time} >= %s AND {time} < %s",
            partition.bounds,
        )
        _attach(cursor, partition)


def _attach(cursor: CursorWrapper, partition: DayPartition) -> None:
    cursor.execute(
        f"""ALTER TABLE {partition.table}
            ATTACH PARTITION {partition.name} FOR VALUES FROM (%s) TO (%s)""",
        partition.bounds,
    )


def _copy_from_default(cursor: CursorWrapper, partition: DayPartition) -> None:
    time, id = partition.key
    cursor.execute(
        f"""INSERT INTO {partition.name} SELECT * FROM {partition.table}_default AS waiting
            WHERE {time} >= %s AND {time} < %s AND NOT EXISTS (
                SELECT FROM {partition.name} AS copied
                WHERE copied.{id} = waiting.{id} AND copied.{time} = waiting.{time})""",
        partition.bounds,
    )


def _drop(partition: DayPartition) -> None:
    with connection.cursor() as cursor:
        table = partition.table
        _lock(f"ONLY {table}, {table}_default IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"DROP TABLE {partition.name}")


def _lock(tables_and_mode: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {tables_and_mode} NOWAIT")


def _with_lock_retries(work: Callable[[], None]) -> None:
    """Repeat `work` until it gets its locks; raises TableBusy after the lock timeout."""
    until = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            with transaction.atomic():
                work()
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            if time.monotonic() > until:
                raise TableBusy from error
        else:
            return
        time.sleep(LOCK_RETRY_INTERVAL)
