"""Rows of a file before their values are read, and the rows that are refused meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from kalshi_insights.arrays import Bools, Ints, np
from kalshi_insights.bad_input import BadInput
from markets.importing.parsed_rows import RefusedRow

TEXT_SHOWN = 200  # characters of a value at fault


class RawRows(NamedTuple):
    """Some rows as the file has them, each column an array of the file's own type."""

    lines: Ints
    columns: Mapping[str, pa.Array]
    refused: Sequence[RefusedRow]  # rows that have not the columns of the header
    last_line: int
    share: float


def in_parts(raw: RawRows, rows: int) -> Iterator[RawRows]:
    """Yield rows in parts of so many; all of them if there are no more."""
    refused = list(raw.refused)
    for first in range(0, max(len(raw.lines), 1), rows):
        end = first + rows
        is_last = end >= len(raw.lines)
        last_line = raw.last_line if is_last else int(raw.lines[end]) - 1
        yield RawRows(
            lines=raw.lines[first:end],
            columns={name: each.slice(first, rows) for name, each in raw.columns.items()},
            refused=[row for row in refused if row.line <= last_line],
            last_line=last_line,
            share=raw.share,
        )
        refused = [row for row in refused if row.line > last_line]


class RowFaults:
    """The faults of some rows; the first that is found in a row counts."""

    def __init__(self, lines: Ints) -> None:
        self._lines = lines
        self._first = np.full(len(lines), -1)
        self._found: list[tuple[str, str, pa.Array]] = []

    @property
    def accepted(self) -> Bools:
        return self._first < 0

    def refuse(self, at_fault: Bools, column: str, reason: str, values: pa.Array) -> None:
        """Refuse rows; `values` are those of the column, of which the report shows its own."""
        new = at_fault & self.accepted
        if new.any():
            self._first[new] = len(self._found)
            self._found.append((column, reason, values))

    def rows(self) -> list[RefusedRow]:
        refused = []
        for place in np.flatnonzero(~self.accepted):
            column, reason, values = self._found[self._first[place]]
            refused.append(
                RefusedRow(int(self._lines[place]), column, reason, shown(values[place]))
            )
        return refused


def shown(value: pa.Scalar) -> str:
    """Write a value of a file as a report shows it; an unknown one is empty."""
    content = value.as_py()
    return "" if content is None else str(content)[:TEXT_SHOWN]


def file_fault(name: str, message: str, *, line: int | None = None, column: str = "") -> BadInput:
    """Return the error of a file that cannot be read, with the place in it."""
    place = [name, *([f"line {line}"] if line else []), *([f"column {column}"] if column else [])]
    return BadInput(", ".join(place), message)
