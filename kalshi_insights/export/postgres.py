"""Rows in bulk, as PostgreSQL itself writes them: a query goes in; JSON, CSV or Arrow comes out.

No value of them becomes an object of Python, which takes longer than all else. Of CSV and Arrow a
few megabytes are held in memory at a time, however many rows there are; a stream that is closed
before its end cancels its statement and leaves the connection as it was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa
from django.core.exceptions import EmptyResultSet
from django.db import connection, models

from kalshi_insights.export import parquet
from kalshi_insights.export.parquet import Columns

if TYPE_CHECKING:
    from markets.models import Market

# How a column is written where PostgreSQL's own way is not ours, by its type without parameters.
INSTANT = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
FOR_READERS = {"timestamptz": INSTANT, "boolean": "{0}::text"}
FOR_ARROW = {
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "boolean": "{0}::text",
}
FOR_JSON = {"timestamptz": f"replace({INSTANT}, '.000000Z', 'Z')", "numeric": "{0}::text"}
FOR_CHARTS = {"timestamptz": "floor(extract(epoch FROM {0}) * 1000)::bigint"}
# Of a model's fields those that are not written as they are.
KINDS = {"DateTimeField": "timestamptz", "DecimalField": "numeric"}
# Of CSV: so that the first of it is on its way at once.
CHUNK_BYTES = 256 * 1024
# Of the CSV that one table is read from: what makes up nearly all of the memory taken. Some
# 13,000 snapshots; four times as many were no quicker, and took 50 MB more.
TABLE_BYTES = 2 * 2**20


class Lists(NamedTuple):
    """Columns as JSON lists; and of the last row, if others follow it, what was asked for."""

    columns: dict[str, msgspec.Raw]
    last: msgspec.Raw | None


class Selection(NamedTuple):
    """A statement, and what is to be shown of its rows: columns with their types."""

    sql: str
    parameters: Sequence[Any] | Mapping[str, Any]
    columns: Columns

    @classmethod
    def of(cls, rows: models.QuerySet[Any, Any], columns: Columns) -> Selection:
        return cls(*rows.query.sql_with_params(), columns)

    def json(self) -> list[msgspec.Raw]:
        """Each row as an object; decimals are strings, instants RFC 3339 in UTC."""
        rows = f"SELECT {_chosen(self.columns, FOR_JSON)} FROM ({self.sql}) AS found"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT row_to_json(told)::text FROM ({rows}) AS told", self.parameters)  # noqa: S608
            return [msgspec.Raw(text) for (text,) in cursor.fetchall()]

    def lists(self, names: Sequence[str], *, first: int, place: Sequence[str] = ()) -> Lists:
        """Numbers, and milliseconds since 1970, of the `first` so many rows.

        `place` is what is asked of the last of them where there are more.
        """
        drawn = [_written(_quoted(name), self.columns[name], FOR_CHARTS) for name in names]
        lists = [f"array_to_json((array_agg({value}))[:{first}])" for value in drawn]
        asked = [
            f"'{name}', "
            + _written(f"(array_agg({_quoted(name)}))[{first}]", self.columns[name], FOR_JSON)
            for name in place
        ]
        last = f"CASE WHEN count(*) > {first} THEN json_build_object({', '.join(asked)})::text END"
        chosen = ", ".join([*(f"coalesce({each}::text, '[]')" for each in lists), last])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {chosen} FROM ({self.sql}) AS found", self.parameters)  # noqa: S608
            *columns, told = (text and msgspec.Raw(text) for text in cursor.fetchone())
        return Lists(dict(zip(names, columns, strict=True)), told)


def json(rows: models.QuerySet[Any, Any]) -> list[msgspec.Raw]:
    """All that `values()` selects, as `Selection.json` writes it."""
    try:
        return Selection.of(rows, _columns(rows)).json()
    except EmptyResultSet:  # There is no SQL for nothing.
        return []


def _columns(rows: models.QuerySet[Any, Any]) -> Columns:
    field = rows.model._meta.get_field
    fields = {name: field(name) for name in rows.query.values_select}
    fields |= {name: each.output_field for name, each in rows.query.annotation_select.items()}
    return {name: KINDS.get(each.get_internal_type(), "") for name, each in fields.items()}


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
        f"{_written(_quoted(name), kind, written)} AS {_quoted(name)}"
        for name, kind in columns.items()
    )


def _written(value: str, kind: str, written: Mapping[str, str]) -> str:
    return written.get(kind.partition("(")[0], "{0}").format(value)


def _quoted(name: str) -> str:
    return f'"{name}"'
