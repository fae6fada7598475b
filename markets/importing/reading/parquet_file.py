"""Read a Parquet file in batches of rows."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kalshi_insights.arrays import np
from markets.importing.reading.raw_rows import RawRows, file_fault

ROWS_PER_BATCH = 50_000
PARSED = (
    pa.types.is_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal,
    pa.types.is_timestamp, pa.types.is_boolean,
)  # fmt: skip
LISTS = (pa.types.is_list, pa.types.is_large_list)
IN_LISTS = (
    *PARSED, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null,
    pa.types.is_dictionary,
)  # fmt: skip
TEXTS = (
    pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary,
    pa.types.is_large_binary,
)  # fmt: skip


class ParquetFile:
    """A file whose rows are numbered from 1, since it has no lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def column_names(self) -> list[str]:
        with self._open() as file:
            names: list[str] = file.schema_arrow.names
            return names

    def rows(self, columns: Sequence[str]) -> Iterator[RawRows]:
        with self._open() as file:
            total, done = max(file.metadata.num_rows, 1), 0
            for batch in self._batches(file, columns):
                lines = np.arange(done + 1, done + batch.num_rows + 1)
                done += batch.num_rows
                read = {name: self._plain(name, batch.column(name)) for name in columns}
                yield RawRows(lines, read, [], done, done / total)

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._path)
        except (pa.ArrowException, OSError) as error:
            raise file_fault(self._path.name, f"is no readable Parquet file: {error}") from None

    def _batches(self, file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            yield from file.iter_batches(ROWS_PER_BATCH, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise file_fault(self._path.name, f"is damaged: {error}") from None

    def _plain(self, name: str, values: pa.Array) -> pa.Array:
        """Return values in one of the few types that are parsed; raises BadInput for others."""
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        kind = values.type
        if _is_any(kind, PARSED) or (_is_any(kind, LISTS) and _is_any(kind.value_type, IN_LISTS)):
            return values
        if pa.types.is_date(kind):
            return values.cast(pa.timestamp("us"))
        if pa.types.is_null(kind) or _is_any(kind, TEXTS):
            try:
                return values.cast(pa.string())
            except pa.ArrowInvalid:
                raise file_fault(self._path.name, "is not UTF-8", column=name) from None
        raise file_fault(self._path.name, f"has values of the type {kind}", column=name)


def _is_any(kind: pa.DataType, kinds: Sequence[Callable[[pa.DataType], bool]]) -> bool:
    return any(is_kind(kind) for is_kind in kinds)
