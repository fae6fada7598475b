"""Tables as files have them: every value is read by the line and the column it stands in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pandas as pd

# A bid of nothing and an ask of a whole dollar are nobody's.
NOBODY = (Decimal(0), Decimal(1))
RESULTS = ("yes", "no", "")


class Malformed(ValueError):
    """A table that cannot be read; says the file, and the line and column where it can."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file; what is not there is None."""

    file: str
    line: int
    values: Mapping[str, Any]

    def fault(self, column: str, message: str) -> Malformed:
        return Malformed(f"{self.file}, line {self.line}, column {column}: {message}")

    def text(self, column: str, among: Sequence[str] = ()) -> str:
        value = self.values[column]
        text = "" if pd.isna(value) else str(value)
        if among and text not in among:
            raise self.fault(column, f"{text!r} is none of {', '.join(map(repr, among))}")
        return text

    def number(self, column: str) -> Decimal | None:
        value = self.values[column]
        if pd.isna(value):
            return None
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise self.fault(column, f"{value!r} is no number") from None
        if not number.is_finite():
            raise self.fault(column, f"{value!r} is no number")
        return number

    def price(self, column: str, *, unit: Decimal = Decimal(1), places: int = 4) -> Decimal | None:
        """In dollars of a column in some unit of them; None where it is nobody's."""
        number = self.number(column)
        if number is None:
            return None
        price = round(number * unit, places)
        if not 0 <= price <= 1:
            raise self.fault(column, f"{number} is no price")
        if places == 4 and price != number * unit:
            raise self.fault(column, f"{number} is finer than a hundredth of a cent")
        return None if price in NOBODY else price

    def count(self, column: str) -> Decimal:
        number = self.number(column)
        if number is None or number < 0:
            raise self.fault(column, f"{self.values[column]!r} is no count")
        return number

    def instant(self, column: str) -> datetime:
        """Text and times without a zone are UTC, numbers are seconds since 1970."""
        value = self.values[column]
        try:
            at = pd.Timestamp(int(value), unit="s") if _is_number(value) else pd.Timestamp(value)
        except (ValueError, TypeError, OverflowError):
            raise self.fault(column, f"{value!r} is no instant") from None
        if pd.isna(at):
            raise self.fault(column, "no instant is given")
        at = at.tz_localize(UTC) if at.tzinfo is None else at.tz_convert(UTC)
        found: datetime = at.to_pydatetime()
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or str(value).isdigit()


def read(path: Path, columns: Sequence[str]) -> list[Row]:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as fault:
        raise Malformed(f"{path.name}: {fault}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise Malformed(f"{path.name}: no column {', '.join(missing)}")
    # The first line of a CSV file has the names.
    first = 1 if path.suffix == ".parquet" else 2
    records = table[list(columns)].astype(object).to_dict("records")
    return [Row(path.name, line, values) for line, values in enumerate(records, start=first)]
