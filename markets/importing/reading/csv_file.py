"""Read a CSV file, plain or compressed, in pieces of whole lines."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing.parsed_rows import RefusedRow
from markets.importing.reading.file_bytes import Block, FileBytes
from markets.importing.reading.raw_rows import TEXT_SHOWN, RawRows, file_fault

PIECE_BYTES = 4 * 2**20  # some 50,000 quotes
LONGEST_LINE = 16 * 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UNFINISHED = "the file ends within this line; if the line is whole, end it with a newline"
NO_COLUMN = ""
# What stands between values: a comma, unless another of these stands more often between names.
DELIMITERS = ",;\t|"


class _Header(NamedTuple):
    names: list[str]
    delimiter: str


class CsvFile:
    """A file whose first line names the columns; its values are texts."""

    piece = PIECE_BYTES

    def __init__(self, path: Path, *, compressed: bool) -> None:
        self._name = path.name
        self._bytes = FileBytes(path, compressed=compressed)

    @property
    def size(self) -> int:
        """The bytes of the file that are read."""
        return self._bytes.size

    def column_names(self) -> list[str]:
        return self._header().names

    def rows(self, columns: Sequence[str]) -> Iterator[RawRows]:
        """Read these columns of all rows; what stands after the last newline is refused."""
        header, line = self._header(), 1
        for data, share in self._pieces():
            rows_of_piece = data
            if line == 1:  # the header
                _, _, rows_of_piece = data.partition(b"\n")
                line = 2
            whole, newline, rest = rows_of_piece.rpartition(b"\n")
            rows = self._read(whole + newline, line, header, columns)
            line = rows.last_line + 1
            yield self._with_rest(rows, rest)._replace(share=share)

    def _header(self) -> _Header:
        first = self._bytes.first_line(LONGEST_LINE)
        try:
            text = first.removeprefix(BYTE_ORDER_MARK).decode()
            delimiter = max(DELIMITERS, key=text.count)
            names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except UnicodeDecodeError:
            raise file_fault(self._name, "is not UTF-8", line=1) from None
        except csv.Error as error:
            raise file_fault(self._name, str(error), line=1) from None
        named = [name.strip() or f"column {n}" for n, name in enumerate(names, start=1)]
        if "\r" in text.rstrip():
            raise file_fault(self._name, "lines must end with newlines, as in Unix or Windows")
        if not any(name.strip() for name in names):
            raise file_fault(self._name, "the first line names no columns", line=1)
        return _Header(named, delimiter)

    def _pieces(self) -> Iterator[Block]:
        """Yield pieces that end with a row's newline; only the last piece may end otherwise."""
        rest = b""
        for block in self._bytes.blocks(self.piece):
            data = rest + block.data
            end = end_of_rows(data)
            if not end and len(data) > LONGEST_LINE:
                reason = "a line does not end, or a quotation mark does not close"
                raise file_fault(self._name, reason)
            rest = data[end:]
            if end:
                yield Block(data[:end], block.share)
        if rest:
            yield Block(rest, 1.0)

    def _with_rest(self, rows: RawRows, rest: bytes) -> RawRows:
        """Refuse what stands after the last newline, as a line of its own."""
        text = rest.decode(errors="replace")[:TEXT_SHOWN]
        if not text.strip():
            return rows
        line = rows.last_line + 1
        refused = [*rows.refused, RefusedRow(line, NO_COLUMN, UNFINISHED, text)]
        return rows._replace(refused=refused, last_line=line)

    def _read(
        self, data: bytes, first_line: int, header: _Header, columns: Sequence[str]
    ) -> RawRows:
        """Read whole lines, of which the first has this number in the file."""
        self._check_text(data, first_line)
        malformed: list[pa.csv.InvalidRow] = []
        table = self._table(data, first_line, header, malformed)
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
        header: _Header,
        malformed: "list[pa.csv.InvalidRow]",
    ) -> pa.Table:
        if not data:
            return pa.table({name: pa.array([], pa.string()) for name in header.names})

        def skip(row: pa.csv.InvalidRow) -> str:
            malformed.append(row)
            return "skip"

        try:
            return pa.csv.read_csv(
                pa.BufferReader(data),
                read_options=pa.csv.ReadOptions(
                    column_names=header.names, use_threads=False, block_size=len(data) + 1
                ),
                parse_options=pa.csv.ParseOptions(
                    delimiter=header.delimiter,
                    newlines_in_values=True,
                    ignore_empty_lines=False,
                    invalid_row_handler=skip,
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: pa.string() for name in header.names},
                    strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid as error:
            raise file_fault(self._name, str(error), line=first_line) from None

    def _check_text(self, data: bytes, first_line: int) -> None:
        """Raise BadInput for what is not UTF-8, and for a value that does not end."""
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = first_line + data.count(b"\n", 0, error.start)
            raise file_fault(self._name, "is not UTF-8", line=line) from None
        if data.count(b'"') % 2:
            line = first_line + data.count(b"\n", 0, data.rfind(b'"'))
            raise file_fault(self._name, "a quotation mark does not close", line=line)


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
