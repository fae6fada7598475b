"""Tables kept in pieces of one day (UTC), so that a day can be dropped at once.

A row whose day has no piece yet goes into the table's default piece: late, never lost.

Attaching and dropping need locks that stand in everybody's way for a moment. These are never
waited for, but asked for again and again: who does not wait, takes part in no deadlock, and holds
up nobody before it is his turn.
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
RAW_PAYLOADS = "markets_rawpayload"
TABLES = (SNAPSHOTS, ORDER_BOOKS, RAW_PAYLOADS)
# So that a maintenance task that does not run for days costs nothing but a warning.
DAYS_AHEAD = 7
ONE_DAY = timedelta(days=1)
# What is on its way when a day ends is on record an hour later.
SETTLING = timedelta(hours=1)
# What the tables' foreign keys point at: a new piece is locked together with it.
REFERENCED = "markets_market"
PATIENCE = 10  # seconds
PAUSE = 0.05


class Busy(Exception):
    """Others used a table for as long as was waited; nothing has changed."""


class Piece(NamedTuple):
    """One day of a table."""

    table: str
    day: date

    def __str__(self) -> str:
        return f"{self.table} {self.day}"

    @property
    def name(self) -> str:
        return f"{self.table}_{self.day:%Y%m%d}"

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Its first instant, and the first one after it."""
        return midnight(self.day), midnight(self.day + ONE_DAY)

    def is_closed(self, now: datetime) -> bool:
        return self.span[1] + SETTLING <= now


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


# --- What is there ------------------------------------------------------------------------------


def pieces(table: str) -> list[Piece]:
    """The days that a table has, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname FROM pg_inherits JOIN pg_class AS piece ON piece.oid = inhrelid
            WHERE inhparent = %s::regclass
            """,
            [table],
        )
        days = [name.rpartition("_")[2] for (name,) in cursor.fetchall()]
    return [Piece(table, date.fromisoformat(day)) for day in sorted(days) if day.isdecimal()]


def is_arranged(piece: Piece) -> bool:
    """PostgreSQL keeps for each table by which of its indexes it was last put in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(indisclustered) FROM pg_index WHERE indrelid = %s::regclass",
            [piece.name],
        )
        return bool(cursor.fetchone()[0])


def days_waiting(table: str) -> list[date]:
    """The days of which rows lie in the default piece."""
    return days_without_partition([table])


def days_without_partition(tables: Iterable[str] = TABLES) -> list[date]:
    """The same of several tables; none as a rule, and then it costs next to nothing."""
    each = (
        f"SELECT DISTINCT (timestamp AT TIME ZONE 'UTC')::date AS day FROM {table}_default"
        for table in tables
    )
    with connection.cursor() as cursor:
        cursor.execute(f"{' UNION '.join(each)} ORDER BY day")
        return [row[0] for row in cursor.fetchall()]


def rows(piece: Piece) -> int:
    """How many rows that day has, wherever they lie."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {piece.table} WHERE timestamp >= %s AND timestamp < %s",
            piece.span,
        )
        count: int = cursor.fetchone()[0]
    return count


# --- What changes it ----------------------------------------------------------------------------


def days_ahead(today: date) -> set[date]:
    return {today + n * ONE_DAY for n in range(DAYS_AHEAD + 1)}


def missing(table: str, days: Iterable[date]) -> list[Piece]:
    there = {piece.day for piece in pieces(table)}
    return [Piece(table, day) for day in sorted(set(days) - there)]


def make(table: str, days: Iterable[date]) -> list[Piece]:
    """Make the missing ones of these days, each with the rows that wait for it."""
    return [piece for piece in missing(table, days) if add(piece)]


def add(piece: Piece) -> bool:
    """Make a day and move into it what waits for it; False if another process has just done it.

    Most rows are copied while others go on writing; these wait for the few that came meanwhile.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # One at a time. The tables' locks do not order those who add: attaching comes last.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [piece.table])
        if piece in pieces(piece.table):
            return False
        cursor.execute(f"CREATE TABLE {piece.name} (LIKE {piece.table} INCLUDING ALL)")
        _copy_waiting(cursor, piece)
        _patiently(lambda: _attach(piece))
    return True


def drop(piece: Piece, unless: Callable[[], str]) -> str:
    """Drop a day, unless `unless`, asked while nobody can add a row to it, says why not."""
    with transaction.atomic():
        _patiently(lambda: _lock(f"{piece.name} IN SHARE MODE"))
        reason = unless()
        if not reason:
            _patiently(lambda: _drop(piece))
    return reason


def arrange(piece: Piece) -> None:
    """Write a day anew, each market's rows together: to read one of them then costs few pages.

    Others go on meanwhile. Raises Busy, also where they have written to that very day.
    """
    new = f"{piece.name}_new"
    with _alone("arrange"):
        _discard(new)  # what one who was killed has left
        try:
            count = _copy_in_order(piece, new)
            _patiently(lambda: _refer(new))
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {new} VALIDATE CONSTRAINT market")
            _exchange(piece, new, count=count)
        except Busy:
            _discard(new)
            raise


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """One process at a time; raises Busy where another one is at it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [what])
        if not cursor.fetchone()[0]:
            raise Busy
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtext(%s))", [what])


def _discard(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0]:
            _patiently(lambda: _drop_new(name))


def _drop_new(name: str) -> None:
    with connection.cursor() as cursor:
        _lock(f"{name}, {REFERENCED} IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"DROP TABLE {name}")


def _copy_in_order(piece: Piece, new: str) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {new} (LIKE {piece.table} INCLUDING ALL)")
        cursor.execute(
            f"INSERT INTO {new} SELECT * FROM {piece.name} ORDER BY market_id, timestamp"
        )
        count: int = cursor.rowcount
        # So that nothing is looked through again while others wait for the exchange.
        cursor.execute(
            f"ALTER TABLE {new} ADD CONSTRAINT day CHECK (timestamp >= %s AND timestamp < %s)",
            piece.span,
        )
        cursor.execute(f"ALTER TABLE {new} CLUSTER ON {_index_by_market(new)}")
        cursor.execute(f"ANALYZE {new}")
    return count


def _refer(new: str) -> None:
    with connection.cursor() as cursor:
        _lock(f"{REFERENCED} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(
            f"""ALTER TABLE {new} ADD CONSTRAINT market
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
        found: str = cursor.fetchone()[0]
    return found


def _exchange(piece: Piece, new: str, *, count: int) -> None:
    with transaction.atomic():
        _patiently(lambda: _lock(f"{piece.name} IN SHARE MODE"))
        # Rows are added and never changed: as many are the same ones.
        if rows(piece) != count:
            raise Busy
        _patiently(lambda: _replace(piece, new))


def _replace(piece: Piece, new: str) -> None:
    with connection.cursor() as cursor:
        # Whose triggers for a reference are taken away and made anew.
        _lock(f"{new}, {REFERENCED} IN ACCESS EXCLUSIVE MODE")
        _drop(piece)
        cursor.execute(f"ALTER TABLE {new} RENAME TO {piece.name}")
        _attach_table(cursor, piece)
        cursor.execute(f"ALTER TABLE {piece.name} DROP CONSTRAINT day")


def _attach(piece: Piece) -> None:
    with connection.cursor() as cursor:
        # Nobody may put a row into the default piece between its emptying and the new piece.
        _lock(f"ONLY {piece.table}, {REFERENCED} IN SHARE ROW EXCLUSIVE MODE")
        _lock(f"{piece.table}_default IN ACCESS EXCLUSIVE MODE")
        _copy_waiting(cursor, piece)
        cursor.execute(
            f"DELETE FROM {piece.table}_default WHERE timestamp >= %s AND timestamp < %s",
            piece.span,
        )
        _attach_table(cursor, piece)


def _attach_table(cursor: CursorWrapper, piece: Piece) -> None:
    cursor.execute(
        f"ALTER TABLE {piece.table} ATTACH PARTITION {piece.name} FOR VALUES FROM (%s) TO (%s)",
        piece.span,
    )


def _copy_waiting(cursor: CursorWrapper, piece: Piece) -> None:
    cursor.execute(
        f"""INSERT INTO {piece.name} SELECT * FROM {piece.table}_default AS waiting
            WHERE timestamp >= %s AND timestamp < %s AND NOT EXISTS (
                SELECT FROM {piece.name} AS copied
                WHERE copied.id = waiting.id AND copied.timestamp = waiting.timestamp)""",
        piece.span,
    )


def _drop(piece: Piece) -> None:
    with connection.cursor() as cursor:
        _lock(f"ONLY {piece.table}, {piece.table}_default IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"DROP TABLE {piece.name}")


def _lock(what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {what} NOWAIT")


def _patiently(work: Callable[[], None]) -> None:
    """Do it once nobody stands in the way; raises Busy where somebody always does."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with transaction.atomic():
                work()
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            if time.monotonic() > until:
                raise Busy from error
        else:
            return
        time.sleep(PAUSE)
