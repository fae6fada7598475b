"""A day's rows as a Parquet file and back, by way of PostgreSQL's own CSV.

Decimals stay decimals, instants become microseconds, and ids take sixteen bytes. The CSV that
`write` is given and the CSV that `lines` gives back are the same bytes, which is how a file is
checked against the database.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from kalshi_insights.export.copy import ColumnTypes, batches

# Arrow's own pool never gives back what an export has used: a web process then takes 130 MB
# instead of 45.
pa.set_memory_pool(pa.system_memory_pool())

# Reading a damaged file, or one without a column that is asked for, raises this, or OSError.
ParquetError = pa.ArrowException

PRICE = pa.decimal128(6, 4)
COUNT = pa.decimal128(18, 2)
# The type in the file of each type of the database.
ARROW_TYPES = {
    "uuid": pa.binary(16),
    "bigint": pa.int64(),
    "smallint": pa.int16(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "jsonb": pa.string(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "numeric(6,4)": PRICE,
    "numeric(7,5)": pa.decimal128(7, 5),
    "numeric(7,6)": pa.decimal128(7, 6),
    "numeric(18,2)": COUNT,
    "numeric(18,4)": pa.decimal128(18, 4),
    "numeric(18,6)": pa.decimal128(18, 6),
    # Numbers with as many digits as the exchange wrote.
    "numeric": pa.string(),
    "numeric(6,4)[]": pa.list_(PRICE),
    "numeric(18,2)[]": pa.list_(COUNT),
}
# The type in the CSV, where it is another one.
CSV_TYPES = {
    "uuid": pa.string(),
    "timestamptz": pa.int64(),
    "numeric(6,4)[]": pa.string(),
    "numeric(18,2)[]": pa.string(),
}
# One batch of this size is in memory at a time while a file is written or read.
BATCH_BYTES = 8 * 2**20


class FileContent(NamedTuple):
    """The content of a file, independent of how Parquet lays it out."""

    rows: int
    sha256: str  # of the CSV


def write(
    sink: IO[bytes], columns: ColumnTypes, lines: Iterable[bytes | memoryview], *, sorted_by: str
) -> FileContent:
    """Write lines of CSV, as COPY gives them in the order of a column, as a Parquet file.

    Decimals are stored as integers where they fit, which other engines read several times as fast.
    """
    digest, rows = hashlib.sha256(), 0
    order = [pq.SortingColumn(list(columns).index(sorted_by))]
    with pq.ParquetWriter(
        sink,
        schema(columns),
        compression="zstd",
        store_decimal_as_integer=True,
        sorting_columns=order,
    ) as file:
        for batch in batches(lines, size=BATCH_BYTES):
            digest.update(batch)
            table = _table_from_csv(batch, columns)
            rows += table.num_rows
            file.write_table(table)
    return FileContent(rows, digest.hexdigest())


def schema(columns: ColumnTypes) -> pa.Schema:
    return pa.schema([pa.field(name, ARROW_TYPES[kind]) for name, kind in columns.items()])


def tables(
    columns: ColumnTypes, lines: Iterable[bytes | memoryview], *, size: int = BATCH_BYTES
) -> Iterator[pa.Table]:
    """Convert lines of CSV, as COPY gives them, to tables made of `size` bytes of CSV each."""
    for batch in batches(lines, size=size):
        yield _table_from_csv(batch, columns)


def content(path: Path, columns: ColumnTypes) -> FileContent:
    """Read a whole file back as a restore would."""
    digest = hashlib.sha256()
    with pq.ParquetFile(path) as file:
        rows = file.metadata.num_rows
    for batch in lines(path, columns):
        digest.update(batch)
    return FileContent(rows, digest.hexdigest())


def lines(path: Path, columns: ColumnTypes) -> Iterator[bytes]:
    """Read a file's rows as CSV, one row group at a time."""
    if lacking := columns.keys() - column_names(path):
        raise ParquetError(f"{path} has no column {', '.join(sorted(lacking))}.")
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield _csv_from_table(file.read_row_group(group, columns=list(columns)), columns)


def column_names(path: Path) -> set[str]:
    with pq.ParquetFile(path) as file:
        return set(file.schema_arrow.names)


def min_max(path: Path, column: str) -> tuple[datetime | None, datetime | None]:
    """The least and the greatest value of a column; None where the file has no rows."""
    with pq.ParquetFile(path) as file:
        index = file.schema_arrow.get_field_index(column)
        groups = (file.metadata.row_group(group) for group in range(file.num_row_groups))
        statistics = [group.column(index).statistics for group in groups]
    return (
        min((each.min for each in statistics), default=None),
        max((each.max for each in statistics), default=None),
    )


# --- Files that are streamed --------------------------------------------------------------------


class ChunkBuffer(io.RawIOBase):
    """A file to write to that gives out what was written since the last `drain`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def drain(self) -> bytes:
        drained = b"".join(self._parts)
        self._parts.clear()
        return drained


def stream_parquet(tables: Iterable[pa.Table], columns: ColumnTypes) -> Iterator[bytes]:
    """Write a Parquet file with a row group for each table; its footer comes last."""
    return _stream(lambda sink: pq.ParquetWriter(sink, schema(columns), compression="zstd"), tables)


def stream_arrow(tables: Iterable[pa.Table], columns: ColumnTypes) -> Iterator[bytes]:
    """Write an Arrow IPC stream with a record batch for each table."""
    return _stream(lambda sink: pa.ipc.new_stream(sink, schema(columns)), tables)


def _stream(
    open_writer: Callable[[ChunkBuffer], Any], tables: Iterable[pa.Table]
) -> Iterator[bytes]:
    sink = ChunkBuffer()
    with open_writer(sink) as writer:
        for table in tables:
            writer.write_table(table)
            yield sink.drain()
    yield sink.drain()


# --- CSV to Arrow and back ----------------------------------------------------------------------


def _table_from_csv(batch: bytes, columns: ColumnTypes) -> pa.Table:
    types = {name: CSV_TYPES.get(kind, ARROW_TYPES[kind]) for name, kind in columns.items()}
    table = pa.csv.read_csv(
        pa.BufferReader(batch),
        pa.csv.ReadOptions(column_names=list(columns)),
        pa.csv.ParseOptions(newlines_in_values=True),
        pa.csv.ConvertOptions(
            column_types=types,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    ).combine_chunks()
    arrays = [_from_csv(table[name], kind) for name, kind in columns.items()]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _csv_from_table(table: pa.Table, columns: ColumnTypes) -> bytes:
    table = table.combine_chunks()
    arrays = [_to_csv(table[name], kind) for name, kind in columns.items()]
    sink = io.BytesIO()
    pa.csv.write_csv(
        pa.table(dict(zip(columns, arrays, strict=True))),
        sink,
        pa.csv.WriteOptions(include_header=False, quoting_style="needed"),
    )
    return sink.getvalue()


def _from_csv(column: pa.ChunkedArray, kind: str) -> pa.Array:
    values = _as_array(column)
    match kind:
        case "uuid":
            return _bytes_from_hex(values)
        case "timestamptz":
            return values.cast(ARROW_TYPES[kind])
        case "numeric(6,4)[]" | "numeric(18,2)[]":
            return _lists_from_text(values, ARROW_TYPES[kind])
    return values


def _to_csv(column: pa.ChunkedArray, kind: str) -> pa.Array:
    values = _as_array(column)
    match kind:
        case "uuid":
            return _hex_from_bytes(values)
        case "timestamptz":
            return values.cast(pa.int64())
        case "numeric(6,4)[]" | "numeric(18,2)[]":
            joined = pc.binary_join(values.cast(pa.list_(pa.string())), ",")
            return pc.binary_join_element_wise("{", joined, "}", "")
    return values


def _as_array(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _bytes_from_hex(hexes: pa.StringArray) -> pa.Array:
    """Convert ids to bytes; an id is never null."""
    digits = b"".join(hexes.cast(pa.binary()).to_pylist())
    packed = pa.py_buffer(bytes.fromhex(digits.decode()))
    return pa.Array.from_buffers(pa.binary(16), len(hexes), [None, packed])


def _hex_from_bytes(packed: pa.Array) -> pa.Array:
    width, count = 32, len(packed)
    digits = b"".join(packed.to_pylist()).hex().encode()
    offsets = pa.array(range(0, width * (count + 1), width), pa.int32())
    buffers = [None, offsets.buffers()[1], pa.py_buffer(digits)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def _lists_from_text(texts: pa.StringArray, kind: pa.ListType) -> pa.Array:
    """Convert `{0.4200,0.4100}` to lists, some of them empty; a list is never null."""
    is_filled = pc.not_equal(texts, "{}")
    split = pc.split_pattern(pc.utf8_trim(texts.filter(is_filled), "{}"), ",")
    lengths = iter(pc.list_value_length(split).to_pylist())
    ends, end = [0], 0
    for filled in is_filled.to_pylist():
        end += next(lengths) if filled else 0
        ends.append(end)
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pc.list_flatten(split).cast(kind.value_type)
    )
