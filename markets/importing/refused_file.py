"""The file of the rows that imports refuse, which a person can correct and import again."""

import csv
from collections.abc import Sequence
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
            with self.path.open("a", newline="") as out:
                csv.writer(out).writerows([] if out.tell() else [COLUMNS])
        except OSError as error:
            raise BadInput("--refused", f"{self.path}: {error.strerror}") from None

    def add(self, file: str, refused: Sequence[RefusedRow]) -> None:
        if refused:
            with self.path.open("a", newline="") as out:
                csv.writer(out).writerows((file, *row) for row in refused)

    def _header(self) -> list[str]:
        try:
            with self.path.open(newline="") as file:
                return next(csv.reader(file), [])
        except (OSError, ValueError, csv.Error) as error:
            raise BadInput("--refused", f"{self.path}: {error}") from None
