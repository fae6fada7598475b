"""The files of the rows that imports refuse, which a person can correct and import again."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kalshi_insights.bad_input import BadInput
from markets.importing.parsed_rows import RefusedRow

COLUMNS = ("file", *RefusedRow._fields)


class RefusedFile:
    """A CSV file; rows are appended to one that is there."""

    def __init__(self, path: Path) -> None:
        """Check that the file can be one of refused rows; raises BadInput."""
        self.path = path
        if path.exists() and self._header() != list(COLUMNS):
            raise BadInput("--refused", f"{path} is there and is no file of refused rows")

    def create(self) -> None:
        """Create the file unless it is there; raises BadInput where nothing can be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(())
        except OSError as error:
            raise BadInput("--refused", f"{self.path}: {error.strerror}") from None

    def add(self, file: str, refused: Sequence[RefusedRow]) -> None:
        if refused:
            self._append((file, *row) for row in refused)

    def cut_after(self, line: int) -> None:
        """Drop the rows after a line, which an import that goes on from there refuses again.

        Raises BadInput where the file is damaged, or cannot be written anew.
        """
        if not self.path.exists():
            return
        try:
            self._write_up_to(line)
        except OSError as error:
            raise BadInput("--refused", f"{self.path}: {error.strerror}") from None
        except (ValueError, csv.Error) as error:
            raise BadInput("--refused", f"{self.path}: {error}") from None

    def _write_up_to(self, line: int) -> None:
        part = self.path.with_suffix(".part")
        with self.path.open(newline="") as old, part.open("w", newline="") as new:
            csv.writer(new).writerows(_up_to(line, csv.reader(old)))
        part.replace(self.path)

    def _append(self, rows: Iterable[Sequence[object]]) -> None:
        with self.path.open("a", newline="") as out:
            writer = csv.writer(out)
            writer.writerows([] if out.tell() else [COLUMNS])
            writer.writerows(rows)

    def _header(self) -> list[str]:
        try:
            with self.path.open(newline="") as file:
                return next(csv.reader(file), [])
        except (OSError, ValueError, csv.Error) as error:
            raise BadInput("--refused", f"{self.path}: {error}") from None


class RefusedFolder:
    """A folder with a file for each import that refuses rows, named by the import's number."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Create the folder unless it is there; raises BadInput where nothing can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput("--refused", f"{self.path}: {error.strerror}") from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise BadInput("--refused", f"{self.path}: nothing can be written there")

    def file_of(self, import_id: int, *, after_line: int) -> RefusedFile:
        """Return the file of an import that goes on after a line."""
        file = RefusedFile(self.path / f"import-{import_id}.csv")
        file.cut_after(after_line)
        return file


def _up_to(line: int, rows: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield the header, and the rows up to a line of the file that was imported."""
    yield next(rows, list(COLUMNS))
    at = COLUMNS.index("line")
    # An interruption may have cut off the last row.
    yield from (row for row in rows if len(row) == len(COLUMNS) and int(row[at]) <= line)
