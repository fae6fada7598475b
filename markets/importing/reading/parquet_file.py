"""Read a Parquet file in batches of rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kalshi_insights.arrays import np
from markets.importing.reading.raw_rows import RawRows, file_fault

ROWS_PER_BATCH = 50_000


class ParquetFile:
    """A file whose rows are numbered from 1, since it has no lines."""

    def __init__(self, path: Path) -> None:
        self._path = path

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
                read = {name: _plain(batch.column(name)) for name in columns}
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


def _plain(values: pa.Array) -> pa.Array:
    """Return values without a dictionary, and texts of any kind as the one kind of text."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    is_text = pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type)
    return values.cast(pa.string()) if is_text else values
