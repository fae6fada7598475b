"""Rows in bulk, as PostgreSQL itself writes them: a query goes in, CSV or Arrow comes out.

What is held in memory at a time is a few megabytes, however many rows there are. A stream that
is closed before its end cancels its statement and leaves the connection as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
from django.db import connection, models

from markets import parquet
from markets.parquet import Columns
from markets.querysets import EPOCH

if TYPE_CHECKING:
    from markets.models import Market

# How a column is written where PostgreSQL's own way is not ours.
FOR_READERS = {
    "timestamptz": """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')""",
    "boolean": "{0}::text",
}
MICROSECONDS = "(extract(epoch FROM {0}) * 1000000)::bigint"
FOR_ARROW = {"timestamptz": MICROSECONDS, "boolean": "{0}::text"}
# The driver reads an instant in five times the time that it takes to make one of a number.
FOR_ROWS = {"timestamptz": MICROSECONDS, "text": "{0}::text"}
FOR_CHARTS = FOR_ROWS | dict.fromkeys(("numeric(6,4)", "numeric(18,2)"), "{0}::float8")
# Of CSV: so that the first of it is on its way at once.
CHUNK_BYTES = 256 * 1024
# Of the CSV that one table is read from: what makes up nearly all of the memory taken. Some
# 13,000 snapshots; four times as many were no quicker, and took 50 MB more.
TABLE_BYTES = 2 * 2**20


class Selection(NamedTuple):
    """A statement, and what is to be shown of its rows: columns with their types."""

    sql: str
    parameters: Sequence[Any] | Mapping[str, Any]
    columns: Columns

    @classmethod
    def of(cls, rows: models.QuerySet[Any, Any], columns: Columns) -> Selection:
        return cls(*rows.query.sql_with_params(), columns)

    def rows(self, written: Mapping[str, str] = FOR_ROWS) -> list[dict[str, Any]]:
        """Instants, decimals (`FOR_CHARTS`: floats), ids as text, and what JSON there is."""
        statement = f"SELECT {_chosen(self.columns, written)} FROM ({self.sql}) AS found"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(statement, self.parameters)
            rows = [dict(zip(self.columns, row, strict=True)) for row in cursor.fetchall()]
        for name, kind in self.columns.items():
            if read := READ.get(kind):
                for row in rows:
                    row[name] = None if row[name] is None else read(row[name])
        return rows


def _instant(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


READ: Mapping[str, Callable[[Any], Any]] = {"timestamptz": _instant, "jsonb": msgspec.json.decode}


def of_market(
    rows: models.QuerySet[Any], market: Market, columns: Columns
) -> models.QuerySet[Any, dict[str, Any]]:
    """These columns of rows of one market as dictionaries; `ticker` is the market's."""
    named = rows.annotate(ticker=models.Value(market.ticker))
    found: models.QuerySet[Any, dict[str, Any]] = named.values(*columns)
    return found


def csv(selection: Selection) -> Iterator[bytes]:
    """With a line of names first; nothing between two commas is unknown, "" an empty text."""
    with closing(_copy(selection, FOR_READERS, options="HEADER")) as lines:
        yield from parquet.batches(lines, size=CHUNK_BYTES)


def tables(selection: Selection) -> Iterator[pa.Table]:
    quoted = [name for name, kind in selection.columns.items() if kind in parquet.QUOTED]
    options = f"FORCE_QUOTE ({', '.join(map(_quoted, quoted))})" if quoted else ""
    with closing(_copy(selection, FOR_ARROW, options=options)) as lines:
        yield from parquet.tables(selection.columns, lines, size=TABLE_BYTES)


def _copy(
    selection: Selection, written: Mapping[str, str], *, options: str
) -> Generator[memoryview | bytes, None, None]:
    described = ", ".join(["FORMAT csv", *([options] if options else [])])
    chosen = _chosen(selection.columns, written)
    with connection.cursor() as cursor:
        # As literals: COPY takes no parameters. The subquery's order is that of the result.
        found = cursor.mogrify(selection.sql, selection.parameters)
        statement = f"COPY (SELECT {chosen} FROM ({found}) AS found) TO STDOUT ({described})"  # noqa: S608
        with cursor.copy(statement) as lines:
            yield from lines


def _chosen(columns: Columns, written: Mapping[str, str]) -> str:
    return ", ".join(
        f"{written.get(kind, '{0}').format(_quoted(name))} AS {_quoted(name)}"
        for name, kind in columns.items()
    )


def _quoted(name: str) -> str:
    return f'"{name}"'
