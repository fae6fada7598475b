"""Read a CSV file, plain or compressed, in pieces of whole lines."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing.parsed_rows import RefusedRow
from markets.importing.reading.raw_rows import TEXT_SHOWN, RawRows, file_fault

PIECE_BYTES = 4 * 2**20  # some 50,000 quotes
LONGEST_LINE = 16 * 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UNFINISHED = "the file ends within this line; if the line is whole, end it with a newline"
NO_COLUMN = ""


class _Lines(NamedTuple):
    """A piece of a file that ends with a newline, unless the file ends before."""

    data: bytes
    share: float


class CsvFile:
    """A file whose first line names the columns; its values are texts."""

    piece = PIECE_BYTES

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self._path = path
        self._compressed = compressed

    def column_names(self) -> list[str]:
        with self._path.open("rb") as file:
            first = next(self._pieces(file), _Lines(b"", 1)).data.partition(b"\n")[0]
        names = self._names(first)
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise file_fault(self._path.name, f"two columns are called {repeated!r}", line=1)
        return names

    def rows(self, columns: Sequence[str]) -> Iterator[RawRows]:
        """Read these columns of all rows; what stands after the last newline is refused."""
        names = self.column_names()
        with self._path.open("rb") as file:
            line = 1
            for data, share in self._pieces(file):
                whole, newline, rest = data.rpartition(b"\n")
                if line == 1:  # the header
                    _, _, whole = whole.partition(b"\n")
                    line = 2
                rows = self._read(whole + newline, line, names, columns)
                line = rows.last_line + 1
                yield self._with_rest(rows, rest)._replace(share=share)

    def _names(self, header: bytes) -> list[str]:
        try:
            text = header.removeprefix(BYTE_ORDER_MARK).decode()
        except UnicodeDecodeError:
            raise file_fault(self._path.name, "is not UTF-8", line=1) from None
        names = [name.strip() for name in next(csv.reader(io.StringIO(text, newline="")), [])]
        if not any(names):
            raise file_fault(self._path.name, "the first line names no columns", line=1)
        return names

    def _pieces(self, file: BufferedReader) -> Iterator[_Lines]:
        """Yield pieces that end with a row's newline; only the last piece may end otherwise."""
        size, rest = max(self._path.stat().st_size, 1), b""
        for block in self._blocks(file):
            data = rest + block
            end = end_of_rows(data)
            if not end and len(data) > LONGEST_LINE:
                raise file_fault(
                    self._path.name, "a line does not end, or a quotation mark does not close"
                )
            rest = data[end:]
            if end:
                yield _Lines(data[:end], file.tell() / size)
        if rest:
            yield _Lines(rest, 1.0)

    def _blocks(self, file: BufferedReader) -> Iterator[bytes]:
        """Read the file; a compressed one may end too early, as a line may."""
        stream = gzip.GzipFile(fileobj=file) if self._compressed else file
        ended = False
        while not ended:
            block = io.BytesIO()
            try:
                # What `read` has gathered would be lost where the compressed data end too early.
                while block.tell() < self.piece and (part := stream.read1(self.piece)):
                    block.write(part)
            except EOFError:
                ended = True
            except (gzip.BadGzipFile, zlib.error) as error:
                raise file_fault(self._path.name, f"is damaged: {error}") from None
            ended = ended or block.tell() < self.piece
            yield block.getvalue()

    def _with_rest(self, rows: RawRows, rest: bytes) -> RawRows:
        """Refuse what stands after the last newline, as a line of its own."""
        text = rest.decode(errors="replace")[:TEXT_SHOWN]
        if not text.strip():
            return rows
        line = rows.last_line + 1
        refused = [*rows.refused, RefusedRow(line, NO_COLUMN, UNFINISHED, text)]
        return rows._replace(refused=refused, last_line=line)

    def _read(
        self, data: bytes, first_line: int, names: Sequence[str], columns: Sequence[str]
    ) -> RawRows:
        """Read whole lines, of which the first has this number in the file."""
        malformed: list[pa.csv.InvalidRow] = []
        table = self._table(data, first_line, names, malformed)
        bad = np.array([row.number for row in malformed], np.int64) - 1
        good = np.delete(np.arange(table.num_rows + len(malformed)), bad)
        taken = np.ones(len(good) + len(bad), np.int64)  # lines that each row takes
        if b'"' in data:
            taken[good] += _newlines_in_values(table)
            taken[bad] += np.array([row.text.count("\n") for row in malformed], np.int64)
        ends = first_line + np.cumsum(taken)
        lines = ends - taken
        refused = [
            _misshapen(row, int(line)) for row, line in zip(malformed, lines[bad], strict=True)
        ]
        last = int(ends[-1]) - 1 if len(ends) else first_line - 1
        lines, filled = lines[good], ~_is_blank(table)
        if not filled.all():
            lines, table = lines[filled], table.filter(pa.array(filled))
        read = {name: table[name].combine_chunks() for name in columns}
        return RawRows(lines, read, refused, last, 0.0)

    def _table(
        self,
        data: bytes,
        first_line: int,
        names: Sequence[str],
        malformed: "list[pa.csv.InvalidRow]",
    ) -> pa.Table:
        if not data.strip():
            return pa.table({name: pa.array([], pa.string()) for name in names})

        def skip(row: pa.csv.InvalidRow) -> str:
            malformed.append(row)
            return "skip"

        try:
            return pa.csv.read_csv(
                pa.BufferReader(data),
                read_options=pa.csv.ReadOptions(
                    column_names=names, use_threads=False, block_size=len(data) + 1
                ),
                parse_options=pa.csv.ParseOptions(
                    newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=skip
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise self._unreadable(data, first_line, error) from None

    def _unreadable(self, data: bytes, first_line: int, error: pa.ArrowInvalid) -> Exception:
        for line, content in enumerate(data.split(b"\n"), start=first_line):
            try:
                content.decode()
            except UnicodeDecodeError:
                return file_fault(self._path.name, "is not UTF-8", line=line)
        return file_fault(self._path.name, str(error), line=first_line)


def end_of_rows(data: bytes) -> int:
    """Return the place behind the last newline that is outside quotation marks; 0 without one."""
    end = data.rfind(b"\n") + 1
    while end and data.count(b'"', 0, end) % 2:
        # The last mark opens a value that does not end here.
        end = data.rfind(b"\n", 0, data.rfind(b'"', 0, end)) + 1
    return end


def _newlines_in_values(table: pa.Table) -> Ints:
    """Return how many newlines the values of each row have."""
    total = np.zeros(table.num_rows, np.int64)
    for column in table.columns:
        total += pc.count_substring(column, "\n").to_numpy()
    return total


def _is_blank(table: pa.Table) -> Bools:
    """Mark the rows of empty lines, and of lines with nothing but commas."""
    blank = np.ones(table.num_rows, bool)
    for column in table.columns:
        if blank.any():
            blank &= pc.equal(column, "").to_numpy()
    return blank


def _misshapen(row: "pa.csv.InvalidRow", line: int) -> RefusedRow:
    return RefusedRow(
        line,
        NO_COLUMN,
        f"the line has {row.actual_columns} values for {row.expected_columns} columns",
        row.text[:TEXT_SHOWN],
    )
