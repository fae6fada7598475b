"""A day's rows as a Parquet file and back, by way of PostgreSQL's own CSV.

Numbers stay decimals, instants become microseconds, ids sixteen bytes. What `Writer` is given and
what `batches` gives back are the same bytes: that is how a file is checked against the database.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

# Arrow's own pool keeps what an export has used: 130 MB of a web process instead of 45.
pa.set_memory_pool(pa.system_memory_pool())

# Columns, each with its type in the database: what these functions call `columns`.
Columns = Mapping[str, str]

# What a damaged file raises, beside OSError.
Unreadable = pa.ArrowException

PRICE = pa.decimal128(6, 4)
COUNT = pa.decimal128(18, 2)
# What a type of the database is in the file, and what it is in the CSV where that differs.
STORED = {
    "uuid": pa.binary(16),
    "bigint": pa.int64(),
    "smallint": pa.int16(),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "jsonb": pa.string(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "numeric(6,4)": PRICE,
    "numeric(7,6)": pa.decimal128(7, 6),
    "numeric(18,2)": COUNT,
    "numeric(18,4)": pa.decimal128(18, 4),
    "numeric(18,6)": pa.decimal128(18, 6),
    "numeric(6,4)[]": pa.list_(PRICE),
    "numeric(18,2)[]": pa.list_(COUNT),
}
WRITTEN = {
    "uuid": pa.string(),
    "timestamptz": pa.int64(),
    "numeric(6,4)[]": pa.string(),
    "numeric(18,2)[]": pa.string(),
}
QUOTED = ("uuid", "text", "jsonb", "numeric(6,4)[]", "numeric(18,2)[]")
# Also what bounds the memory: of a file being written or read, one batch at a time.
BATCH_BYTES = 8 * 2**20


class Content(NamedTuple):
    """What a file holds, however it is laid out."""

    rows: int
    sha256: str  # of the CSV


def write(sink: IO[bytes], columns: Columns, lines: Iterable[bytes | memoryview]) -> Content:
    """Write lines of CSV, as COPY gives them, as a Parquet file."""
    digest, rows = hashlib.sha256(), 0
    with pq.ParquetWriter(sink, schema(columns), compression="zstd") as file:
        for batch in batches(lines):
            digest.update(batch)
            table = _table(batch, columns)
            rows += table.num_rows
            file.write_table(table)
    return Content(rows, digest.hexdigest())


def schema(columns: Columns) -> pa.Schema:
    return pa.schema([pa.field(name, STORED[kind]) for name, kind in columns.items()])


def tables(
    columns: Columns, lines: Iterable[bytes | memoryview], *, size: int | None = None
) -> Iterator[pa.Table]:
    """Lines of CSV, as COPY gives them, as tables; `size` is that of their CSV."""
    for batch in batches(lines, size=size):
        yield _table(batch, columns)


def content(path: Path, columns: Columns) -> Content:
    """Read a whole file back, as it would be restored."""
    digest = hashlib.sha256()
    with pq.ParquetFile(path) as file:
        rows = file.metadata.num_rows
    for batch in lines(path, columns):
        digest.update(batch)
    return Content(rows, digest.hexdigest())


def lines(path: Path, columns: Columns) -> Iterator[bytes]:
    """A file's rows as CSV, many at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield _csv(file.read_row_group(group, columns=list(columns)), columns)


def span(path: Path, column: str) -> tuple[datetime | None, datetime | None]:
    """A column's least and greatest value; None where there are no rows."""
    with pq.ParquetFile(path) as file:
        index = file.schema_arrow.get_field_index(column)
        groups = (file.metadata.row_group(group) for group in range(file.num_row_groups))
        statistics = [group.column(index).statistics for group in groups]
    return (
        min((each.min for each in statistics), default=None),
        max((each.max for each in statistics), default=None),
    )


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def batches(lines: Iterable[bytes | memoryview], *, size: int | None = None) -> Iterator[bytes]:
    """Whole lines, at least `size` bytes of them at a time."""
    size = size or BATCH_BYTES
    batch = io.BytesIO()
    for line in lines:
        batch.write(line)
        if batch.tell() >= size:
            yield batch.getvalue()
            batch = io.BytesIO()
    if batch.tell():
        yield batch.getvalue()


def _table(batch: bytes, columns: Columns) -> pa.Table:
    types = {name: WRITTEN.get(kind, STORED[kind]) for name, kind in columns.items()}
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
    stored = [_stored(table[name], kind) for name, kind in columns.items()]
    return pa.table(dict(zip(columns, stored, strict=True)))


def _csv(table: pa.Table, columns: Columns) -> bytes:
    table = table.combine_chunks()
    written = [_written(table[name], kind) for name, kind in columns.items()]
    sink = io.BytesIO()
    pa.csv.write_csv(
        pa.table(dict(zip(columns, written, strict=True))),
        sink,
        pa.csv.WriteOptions(include_header=False, quoting_style="needed"),
    )
    return sink.getvalue()


def _stored(column: pa.ChunkedArray, kind: str) -> pa.Array:
    values = _one(column)
    match kind:
        case "uuid":
            return _packed(values)
        case "timestamptz":
            return values.cast(STORED[kind])
        case "numeric(6,4)[]" | "numeric(18,2)[]":
            return _lists(values, STORED[kind])
    return values


def _written(column: pa.ChunkedArray, kind: str) -> pa.Array:
    values = _one(column)
    match kind:
        case "uuid":
            return _unpacked(values)
        case "timestamptz":
            return values.cast(pa.int64())
        case "numeric(6,4)[]" | "numeric(18,2)[]":
            words = pc.binary_join(values.cast(pa.list_(pa.string())), ",")
            return pc.binary_join_element_wise("{", words, "}", "")
    return values


def _one(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _packed(hexes: pa.StringArray) -> pa.Array:
    """Ids as bytes; none is ever missing."""
    digits = b"".join(hexes.cast(pa.binary()).to_pylist())
    packed = pa.py_buffer(bytes.fromhex(digits.decode()))
    return pa.Array.from_buffers(pa.binary(16), len(hexes), [None, packed])


def _unpacked(packed: pa.Array) -> pa.Array:
    width, count = 32, len(packed)
    digits = b"".join(packed.to_pylist()).hex().encode()
    offsets = pa.array(range(0, width * (count + 1), width), pa.int32())
    buffers = [None, offsets.buffers()[1], pa.py_buffer(digits)]
    return pa.Array.from_buffers(pa.string(), count, buffers)


def _lists(words: pa.StringArray, kind: pa.ListType) -> pa.Array:
    """Lists from `{0.4200,0.4100}`, some of them empty; none is ever missing."""
    filled = pc.not_equal(words, "{}")
    split = pc.split_pattern(pc.utf8_trim(words.filter(filled), "{}"), ",")
    lengths = iter(pc.list_value_length(split).to_pylist())
    ends, end = [0], 0
    for is_filled in filled.to_pylist():
        end += next(lengths) if is_filled else 0
        ends.append(end)
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pc.list_flatten(split).cast(kind.value_type)
    )
