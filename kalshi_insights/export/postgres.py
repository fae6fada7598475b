"""Rows in bulk, as PostgreSQL itself writes them: a query goes in; JSON, CSV or Arrow comes out.

No value becomes a Python object, which would take longer than everything else. CSV and Arrow hold
a few megabytes in memory at a time, however many rows there are. A stream that is closed before
its end cancels its statement and leaves the connection as it was.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
from django.core.exceptions import EmptyResultSet
from django.db import connection, models

from kalshi_insights.export.copy import QUOTED_TYPES, ColumnTypes, batches
from kalshi_insights.lazy import LazyModule
from kalshi_insights.processes.session_limits import long_statement

if TYPE_CHECKING:
    import pyarrow as pa

    from kalshi_insights.export import parquet
else:
    # Arrow takes 60 MB, and few processes ever write a file.
    parquet = LazyModule("kalshi_insights.export.parquet")

# SQL expressions by type (without its parameters), where PostgreSQL's own text will not do.
RFC_3339 = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# A spreadsheet runs a text that begins like a formula, and shows it if an apostrophe comes first.
# Numbers are in columns of other types. Some spreadsheets also take the wide forms of the signs.
FORMULA = r"^[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]"
WITHOUT_FORMULA = f"regexp_replace({{0}}::text, '({FORMULA})', '''\\1')"
CSV_EXPRESSIONS = {
    "timestamptz": RFC_3339,
    "boolean": "{0}::text",
    "text": WITHOUT_FORMULA,
}
ARROW_EXPRESSIONS = {
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint",
    "boolean": "{0}::text",
}
JSON_EXPRESSIONS = {
    "timestamptz": f"replace({RFC_3339}, '.000000Z', 'Z')",
    "numeric": "{0}::text",
    "numeric[]": "to_json({0}::text[])",
}
CHART_EXPRESSIONS = {"timestamptz": "floor(extract(epoch FROM {0}) * 1000)::bigint"}
# The types of model fields that one of the expressions above stands for.
FIELD_TYPES = {"DateTimeField": "timestamptz", "DecimalField": "numeric"}
# A chunk of CSV is small, so that the first one is sent at once.
CSV_CHUNK_BYTES = 256 * 1024
# An Arrow table is read from this much CSV, some 13,000 snapshots. It takes nearly all of the
# memory: four times as much was no quicker and took 50 MB more.
TABLE_BYTES = 2 * 2**20


class ColumnLists(NamedTuple):
    """Columns as JSON lists, and the cursor fields of the last row where more rows follow it."""

    columns: dict[str, msgspec.Raw]
    last_row: msgspec.Raw | None


class ExportQuery(NamedTuple):
    """A SELECT statement, and the columns to export with their types."""

    sql: str
    parameters: Sequence[Any] | Mapping[str, Any]
    columns: ColumnTypes

    @classmethod
    def from_queryset(cls, rows: models.QuerySet[Any, Any], columns: ColumnTypes) -> Self:
        return cls(*rows.query.sql_with_params(), columns)

    def json(self) -> list[msgspec.Raw]:
        """Each row as an object; decimals are strings, instants RFC 3339 in UTC."""
        rows = f"SELECT {_select_list(self.columns, JSON_EXPRESSIONS)} FROM ({self.sql}) AS query"
        with connection.cursor() as cursor:
            as_json = f"SELECT row_to_json(exported)::text FROM ({rows}) AS exported"
            cursor.execute(as_json, self.parameters)
            return [msgspec.Raw(text) for (text,) in cursor.fetchall()]

    def column_lists(
        self, names: Sequence[str], *, limit: int, cursor_fields: Sequence[str] = ()
    ) -> ColumnLists:
        """The first `limit` rows as lists of numbers and of milliseconds since 1970.

        Where more rows follow, the result has the `cursor_fields` of the last of these.
        """
        values = [
            _expression(_quoted(name), self.columns[name], CHART_EXPRESSIONS) for name in names
        ]
        lists = [f"array_to_json((array_agg({value}))[:{limit}])" for value in values]
        last_values = [
            f"'{name}', "
            + _expression(
                f"(array_agg({_quoted(name)}))[{limit}]", self.columns[name], JSON_EXPRESSIONS
            )
            for name in cursor_fields
        ]
        last_row = (
            f"CASE WHEN count(*) > {limit}"
            f" THEN json_build_object({', '.join(last_values)})::text END"
        )
        selected = ", ".join([*(f"coalesce({each}::text, '[]')" for each in lists), last_row])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {selected} FROM ({self.sql}) AS query", self.parameters)
            *columns, last = (text and msgspec.Raw(text) for text in cursor.fetchone())
        return ColumnLists(dict(zip(names, columns, strict=True)), last)

    def csv(self) -> Iterator[bytes]:
        """A header, then the rows; an empty value is null, `""` is an empty text."""
        with closing(self._copy(CSV_EXPRESSIONS, options="HEADER")) as lines:
            yield from batches(lines, size=CSV_CHUNK_BYTES)

    def parquet(self) -> Iterator[bytes]:
        return parquet.stream_parquet(self._tables(), self.columns)

    def arrow(self) -> Iterator[bytes]:
        return parquet.stream_arrow(self._tables(), self.columns)

    def _tables(self) -> "Iterator[pa.Table]":
        quoted = [name for name, kind in self.columns.items() if kind in QUOTED_TYPES]
        options = f"FORCE_QUOTE ({', '.join(map(_quoted, quoted))})" if quoted else ""
        with closing(self._copy(ARROW_EXPRESSIONS, options=options)) as lines:
            yield from parquet.tables(self.columns, lines, size=TABLE_BYTES)

    def _copy(
        self, expressions: Mapping[str, str], *, options: str
    ) -> Generator[memoryview | bytes, None, None]:
        all_options = ", ".join(["FORMAT csv", *([options] if options else [])])
        selected = _select_list(self.columns, expressions)
        with long_statement(connection), connection.cursor() as cursor:
            # COPY takes no parameters, so they become literals. The subquery's order is that of
            # the result.
            query = cursor.mogrify(self.sql, self.parameters)
            statement = (
                f"COPY (SELECT {selected} FROM ({query}) AS query) TO STDOUT ({all_options})"
            )
            with cursor.copy(statement) as lines:
                yield from lines


def json(rows: models.QuerySet[Any, Any]) -> list[msgspec.Raw]:
    """The rows of a `values()` queryset, as `ExportQuery.json` writes them."""
    try:
        return ExportQuery.from_queryset(rows, _column_types(rows)).json()
    except EmptyResultSet:  # `none()` has no SQL.
        return []


def _column_types(rows: models.QuerySet[Any, Any]) -> ColumnTypes:
    field = rows.model._meta.get_field
    fields = {name: field(name) for name in rows.query.values_select}
    fields |= {name: each.output_field for name, each in rows.query.annotation_select.items()}
    return {name: FIELD_TYPES.get(each.get_internal_type(), "") for name, each in fields.items()}


def _select_list(columns: ColumnTypes, expressions: Mapping[str, str]) -> str:
    return ", ".join(
        f"{_expression(_quoted(name), kind, expressions)} AS {_quoted(name)}"
        for name, kind in columns.items()
    )


def _expression(value: str, kind: str, expressions: Mapping[str, str]) -> str:
    name, _, parameters = kind.partition("(")
    name += "[]" if parameters.endswith("[]") else ""
    return expressions.get(name, "{0}").format(value)


def _quoted(name: str) -> str:
    return f'"{name}"'
