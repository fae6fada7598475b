"""The columns of some rows by the field that each stands for, read into the database's units.

Each read refuses the rows whose value makes no sense. What contradicts something that nobody said,
such as a price over a dollar where no unit was stated, refuses the whole file instead: BadInput
names the flag that settles it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_insights.arrays import Bools, Ints, np
from kalshi_insights.bad_input import UNWRITABLE, BadInput
from markets.importing.parsed_rows import MISSING
from markets.importing.reading.fields import LISTS
from markets.importing.reading.file_shape import FileShape
from markets.importing.reading.instants import Times, out_of_range, read_times
from markets.importing.reading.local_time import ClockFalls, instants_of
from markets.importing.reading.raw_rows import RawRows, RowFaults, file_fault, shown
from markets.importing.reading.values import WholeParts, as_bools, codes, texts, whole_parts
from markets.kalshi.fields import fits_ticker

DOLLAR = 10_000  # of prices
MILLION = 1_000_000  # of settlement values
# Parts of the units in which prices may be written.
PARTS = {"dollars": DOLLAR, "cents": 100}
LARGEST_COUNT = 10**14  # in 1/100 contract


class FileColumn(NamedTuple):
    """A column of the file; values that belong to rows of which a row may have several."""

    name: str
    values: pa.Array  # of the rows, as the report of faults shows them
    numbers: pa.Array
    rows: Ints  # of each number


@dataclass(slots=True)
class PriceStatistics:
    """The prices that were read so far, by which a wrong unit shows itself."""

    largest: int = 0
    has_fractions: bool = False  # of the unit
    largest_settlement: int = 0  # in 1/1,000,000 dollar
    known: int = 0
    over: int = 0  # those over a dollar, which are refused

    def add_settlements(self, values: Ints) -> None:
        self.largest_settlement = max(self.largest_settlement, int(values.max(initial=0)))

    def add(self, prices: Ints, over: Bools, parts: int) -> None:
        self.known += int((prices != MISSING).sum() + over.sum())
        self.over += int(over.sum())
        self.largest = max(self.largest, int(prices.max(initial=0)))
        self.has_fractions = self.has_fractions or bool((prices[prices != MISSING] % parts).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContext:
    """All that the batches of one file share."""

    file: str
    shape: FileShape
    now: datetime
    falls: ClockFalls | None = None
    prices: PriceStatistics = field(default_factory=PriceStatistics)


class BatchColumns:
    """Reads columns of one batch; `faults` gathers the rows that make no sense."""

    def __init__(self, context: FileContext, raw: RawRows) -> None:
        self._context = context
        self._raw = raw
        self.shape = context.shape
        self.lines = raw.lines
        self.rows = len(raw.lines)
        self.faults = RowFaults(raw.lines)
        self.tickers, self.market = self._read_tickers()

    def has(self, field: str) -> bool:
        return field in self.shape.columns

    def missing(self) -> Ints:
        return np.full(self.rows, MISSING)

    def column(self, field: str) -> FileColumn:
        """Return the column of a field; raises BadInput for lists where one value is expected."""
        name = self.shape.columns[field]
        values = self._raw.columns[name]
        if pa.types.is_nested(values.type) and field not in LISTS:
            raise file_fault(
                self._context.file, f"has lists, and {field} is one value", column=name
            )
        return FileColumn(name, values, values, np.arange(self.rows))

    def prices(self, field: str) -> Ints:
        """Read prices in 1/10,000 dollar, 0 and 1 dollar among them."""
        return self.prices_of(self.column(field)) if self.has(field) else self.missing()

    def counts(self, field: str) -> Ints:
        """Read sizes and counts in 1/100 contract."""
        return self.counts_of(self.column(field)) if self.has(field) else self.missing()

    def prices_of(self, column: FileColumn) -> Ints:
        parts = PARTS[self.shape.unit or "dollars"]
        read = whole_parts(column.numbers, parts)
        self._refuse_parts(column, read, "a price", "a hundredth of a cent")
        over = read.values > DOLLAR
        if over.any() and not self.shape.unit:
            raise self._unknown_unit(column, int(np.flatnonzero(over)[0]))
        self._refuse_over(read.values, column, dollar=DOLLAR)
        prices = np.where(over, MISSING, read.values)
        self._context.prices.add(prices, over, parts)
        return prices

    def counts_of(self, column: FileColumn) -> Ints:
        read = whole_parts(column.numbers, 100)
        self._refuse_parts(column, read, "a count", "a hundredth of a contract")
        too_large = read.values > LARGEST_COUNT
        self.refuse(too_large, column, "is more than there can be")
        return np.where(too_large, MISSING, read.values)

    def settlement_values(self) -> Ints:
        """Read settlement values in 1/1,000,000 dollar."""
        if not self.has("settlement_value"):
            return self.missing()
        column = self.column("settlement_value")
        read = whole_parts(column.numbers, MILLION // (100 if self.shape.unit == "cents" else 1))
        self._refuse_parts(column, read, "a settlement value", "a millionth of a dollar")
        over = read.values > MILLION
        if over.any() and not self.shape.unit:
            raise self._unknown_unit(column, int(np.flatnonzero(over)[0]))
        self._refuse_over(read.values, column, dollar=MILLION)
        values = np.where(over, MISSING, read.values)
        self._context.prices.add_settlements(values)
        return values

    def instants(self, field: str, *, latest: datetime) -> Ints:
        """Read instants in microseconds since 1970."""
        if not self.has(field):
            return self.missing()
        column = self.column(field)
        times = read_times(column.values, self.shape.time_format)
        form = f" in the format {self.shape.time_format}" if self.shape.time_format else ""
        self.refuse(times.malformed, column, f"is not a time{form}")
        found = self._with_zone(column, times, by_order=field == "at")
        self.refuse(out_of_range(found), column, "is not in the exchange's time")
        late = out_of_range(found, latest=latest)
        # A clock that is read in the wrong zone may tell times that are still to come.
        zone = f"; {self.shape.time_zone} may be the wrong zone" if self.shape.time_zone else ""
        self.refuse(late & times.local, column, f"is in the future{zone}")
        self.refuse(late, column, "is in the future")
        return found

    def local_times(self) -> Times:
        """Read the times of rows as the file has them, and refuse none."""
        return read_times(self.column("at").values, self.shape.time_format)

    def changes_of_books(self) -> Bools:
        """Mark the rows that change one level of a book, where the others are whole books."""
        if self.shape.only is None:
            return np.zeros(self.rows, bool)
        words = texts(self._raw.columns[self.shape.only[0]])
        return as_bools(pc.equal(words, self.shape.changes))

    def codes(self, field: str, words: Mapping[str, int]) -> Ints:
        """Read words as the numbers that stand for them."""
        if not self.has(field):
            return self.missing()
        column = self.column(field)
        found, unknown = codes(column.values, words)
        self.refuse(unknown, column, f"is none of {', '.join(words)}")
        return found

    def texts(self, field: str, *, longest: int = 10_000) -> list[str]:
        """Read texts; empty where there is none."""
        if not self.has(field):
            return [""] * self.rows
        column = self.column(field)
        found: list[str] = texts(column.values).fill_null("").to_pylist()
        unwritable = [len(each) > longest or UNWRITABLE.search(each) is not None for each in found]
        self.refuse(np.array(unwritable, bool), column, "is no text that can be kept")
        return found

    def refuse(self, at_fault: Bools, column: FileColumn, reason: str) -> None:
        if at_fault.any():
            rows = np.zeros(self.rows, bool)
            rows[column.rows[at_fault]] = True
            self.faults.refuse(rows, column.name, reason, column.values)

    def refuse_missing(self, values: Ints, field: str) -> None:
        self.refuse(values == MISSING, self.column(field), "is missing")

    def _refuse_parts(self, column: FileColumn, read: WholeParts, name: str, part: str) -> None:
        self.refuse(read.malformed, column, f"is not {name}")
        self.refuse(read.too_fine, column, f"is finer than {part}")
        self.refuse(read.negative, column, "is negative")

    def _refuse_over(self, values: Ints, column: FileColumn, *, dollar: int) -> None:
        """Refuse what is over a dollar; whole dollars may well be cents."""
        over = values > dollar
        if self.shape.unit == "dollars":
            cents = over & (values <= 100 * dollar) & (values % dollar == 0)
            self.refuse(cents, column, "is over a dollar; if it is in cents, give --unit cents")
        self.refuse(over, column, "is over a dollar")

    def _read_tickers(self) -> tuple[Sequence[str], Ints]:
        if self.shape.ticker:
            return [self.shape.ticker], np.zeros(self.rows, np.int64)
        column = self.column("ticker")
        tickers, market = _distinct(column.values)
        self.refuse(market == len(tickers) - 1, column, "is missing")
        is_bad = [not fits_ticker(each) for each in tickers]
        self.refuse(np.array(is_bad)[market], column, "is not a ticker")
        return tickers, market

    def _with_zone(self, column: FileColumn, times: Times, *, by_order: bool) -> Ints:
        places = np.flatnonzero(times.local)
        if not len(places):
            return times.values
        zone = self.shape.time_zone
        if not zone:
            raise BadInput(
                "--time-zone",
                f"{self._place(column, int(places[0]))} has no time zone; name that of its clock:"
                " --time-zone America/New_York or --time-zone UTC",
            )
        local = instants_of(times.values[places], zone)
        self._refuse_at(places[local.skipped], column, f"is an hour that {zone} skipped")
        found = times.values.copy()
        found[places] = local.first
        twice = np.flatnonzero(local.is_twice)
        if len(twice):
            rows = places[twice]
            second, unsettled = self._settle(rows, times, by_order=by_order)
            found[rows] = np.where(second, local.second[twice], local.first[twice])
            reason = f"came twice in {zone}, and the order of rows does not tell which it is"
            self._refuse_at(rows[unsettled], column, reason)
        return found

    def _settle(self, rows: Ints, times: Times, *, by_order: bool) -> tuple[Bools, Bools]:
        if not by_order or self._context.falls is None:
            return np.zeros(len(rows), bool), np.ones(len(rows), bool)
        return self._context.falls.settle(
            self.tickers, self.market[rows], self.lines[rows], times.values[rows]
        )

    def _refuse_at(self, rows: Ints, column: FileColumn, reason: str) -> None:
        at_fault = np.zeros(self.rows, bool)
        at_fault[rows] = True
        self.refuse(at_fault, column, reason)

    def _unknown_unit(self, column: FileColumn, place: int) -> BadInput:
        return BadInput(
            "--unit",
            f"{self._place(column, place)} is over a dollar; state the unit: --unit cents, or"
            " --unit dollars to refuse such rows",
        )

    def _place(self, column: FileColumn, place: int) -> str:
        line = int(self.lines[column.rows[place]])
        text = shown(column.numbers[place])
        return f"{self._context.file}, line {line}, column {column.name}: {text}"


def _distinct(values: pa.Array) -> tuple[list[str], Ints]:
    """Return the texts of a column, the last of them empty, and the place of each row's.

    Few tickers have many rows, so that only those that differ are looked at as texts.
    """
    written = pc.dictionary_encode(values.cast(pa.string()))
    named = pc.dictionary_encode(texts(written.dictionary))
    found = [*named.dictionary.to_pylist(), ""]
    nothing = len(found) - 1
    places = np.append(named.indices.fill_null(nothing).to_numpy().astype(np.int64), nothing)
    return found, places[written.indices.fill_null(len(places) - 1).to_numpy()]
