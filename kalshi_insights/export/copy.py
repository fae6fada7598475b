"""Rows into PostgreSQL by COPY, straight into a table or into a temporary staging table, and whole
numbers out of it into arrays.

COPY is the fastest way in. A staging table lets the statements that follow decide what becomes
of the rows: INSERT ... ON CONFLICT DO NOTHING, UPDATE ... FROM, a join with what is there.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from django.db import connection

from kalshi_insights.arrays import Ints, np

# Bytes before the first row of a binary COPY without oids, and after the last one.
COPY_HEAD, COPY_TAIL = 19, -2
# The CSV quotes values of these types, so that an empty text differs from a null.
QUOTED_TYPES = ("uuid", "text", "jsonb", "numeric(6,4)[]", "numeric(18,2)[]")
# The columns of a table, each with its type in the database.
ColumnTypes = Mapping[str, str]


def copy_rows(table: str, columns: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    """Append rows, whose values are in the order of `columns`."""
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def stage_rows(table: str, columns: ColumnTypes, rows: Iterable[Sequence[object]]) -> None:
    """Fill a staging table with rows; `columns` maps its columns to their types."""
    create_staging_table(table, columns)
    copy_rows(table, columns, rows)


def stage_csv(
    table: str, columns: ColumnTypes, chunks: Iterable[bytes], *, filled: Iterable[str] = ()
) -> None:
    """Fill a staging table with CSV that has the columns in this order and no header.

    The CSV may have a part of them alone, `filled`; the others are NULL then.
    """
    create_staging_table(table, columns)
    names = ", ".join(f'"{name}"' for name in filled or columns)
    statement = f"COPY {table} ({names}) FROM STDIN (FORMAT csv)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for chunk in chunks:
            copy.write(chunk)


def create_staging_table(table: str, columns: ColumnTypes) -> None:
    """Create an empty temporary table, or empty the one of that name.

    Call it inside a transaction: its rows go when the transaction ends. The table itself stays
    with the connection, since creating one every few seconds would bloat PostgreSQL's catalogs.
    So a name always stands for the same columns.
    """
    described = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    with connection.cursor() as cursor:
        # An earlier call in the same transaction has left its rows.
        cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS {table} ({described}) ON COMMIT DELETE ROWS;"
            f" TRUNCATE {table}"
        )


def read_integers(
    select: str, parameters: Sequence[object] | Mapping[str, object], columns: Sequence[str]
) -> dict[str, Ints]:
    """Read the rows of a statement, whose columns are all bigint and never NULL, into arrays."""
    field = [("length", ">i4"), ("value", ">i8")]
    row = np.dtype([("fields", ">i2"), *((name, field) for name in columns)])
    with connection.cursor() as cursor:
        # COPY takes no parameters, so they go in as literals.
        statement = cursor.mogrify(select, parameters)
        with cursor.copy(f"COPY ({statement}) TO STDOUT (FORMAT binary)") as copy:
            data = b"".join(copy)
    rows = np.frombuffer(data[COPY_HEAD:COPY_TAIL], row)
    return {name: rows[name]["value"].astype(np.int64) for name in columns}


def batches(lines: Iterable[bytes | memoryview], *, size: int) -> Iterator[bytes]:
    """Join whole lines that COPY gives into batches of at least `size` bytes."""
    batch = io.BytesIO()
    for line in lines:
        batch.write(line)
        if batch.tell() >= size:
            yield batch.getvalue()
            batch = io.BytesIO()
    if batch.tell():
        yield batch.getvalue()
