"""Read tables from files and convert their values; errors name the line and the column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pandas as pd

from markets.kalshi.fields import EARLIEST, fits_ticker

# A bid of zero or an ask of a dollar means that nobody quotes that side.
EMPTY_SIDES = (Decimal(0), Decimal(1))
RESULTS = ("yes", "no", "")


class MalformedTable(ValueError):
    """A table that cannot be read. The message names the file, and the line and column if known."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of a file."""

    file: str
    line: int
    values: Mapping[str, Any]

    def error(self, column: str, message: str) -> MalformedTable:
        return MalformedTable(f"{self.file}, line {self.line}, column {column}: {message}")

    def text(self, column: str, among: Sequence[str] = ()) -> str:
        value = self.values[column]
        text = "" if pd.isna(value) else str(value)
        if among and text not in among:
            raise self.error(column, f"{text!r} is not one of {', '.join(map(repr, among))}")
        return text

    def ticker(self, column: str) -> str:
        ticker = self.text(column)
        if not fits_ticker(ticker):
            raise self.error(column, f"{ticker!r} is not a ticker")
        return ticker

    def number(self, column: str) -> Decimal | None:
        value = self.values[column]
        if pd.isna(value):
            return None
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise self.error(column, f"{value!r} is not a number") from None
        if not number.is_finite():
            raise self.error(column, f"{value!r} is not a number")
        return number

    def price(
        self, column: str, *, unit: Decimal = Decimal(1), rounded: bool = False
    ) -> Decimal | None:
        """Read a price in dollars, given the unit of the column; None where nobody quotes.

        Only a mean may be `rounded` to a hundredth of a cent.
        """
        number = self.number(column)
        if number is None:
            return None
        price = round(number * unit, 4)
        if not 0 <= price <= 1:
            raise self.error(column, f"{number} is not a price")
        if not rounded and price != number * unit:
            raise self.error(column, f"{number} is finer than a hundredth of a cent")
        return None if price in EMPTY_SIDES else price

    def count(self, column: str) -> Decimal:
        number = self.number(column)
        fits = number is not None and 0 <= number < 10**16 and round(number, 2) == number
        if number is None or not fits:
            raise self.error(column, f"{self.values[column]!r} is not a count")
        return number

    def instant(self, column: str) -> datetime:
        """Read an instant. Times without a zone are UTC, and numbers are seconds since 1970."""
        value = self.values[column]
        try:
            at = pd.Timestamp(int(value), unit="s") if _is_number(value) else pd.Timestamp(value)
        except (ValueError, TypeError, OverflowError):
            raise self.error(column, f"{value!r} is not a time") from None
        if pd.isna(at):
            raise self.error(column, "the time is missing")
        at = at.tz_localize(UTC) if at.tzinfo is None else at.tz_convert(UTC)
        instant: datetime = at.to_pydatetime()
        if instant < EARLIEST:
            raise self.error(column, f"{instant:%Y-%m-%d} is before the exchange existed")
        return instant


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or str(value).isdigit()


def read_table(path: Path, columns: Sequence[str]) -> list[TableRow]:
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise MalformedTable(f"{path.name}: {error}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise MalformedTable(f"{path.name}: missing column {', '.join(missing)}")
    # The first line of a CSV file has the column names.
    first = 1 if path.suffix == ".parquet" else 2
    records = table[list(columns)].astype(object).to_dict("records")
    return [TableRow(path.name, line, values) for line, values in enumerate(records, start=first)]
