"""Read a file of an import: its shape, a look at the whole of it, and its rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from kalshi_insights.arrays import np
from kalshi_insights.bad_input import UNWRITABLE
from markets.importing.parsed_rows import MISSING, ParsedRows, RefusedRow, RowBatch, rows_where
from markets.importing.reading.assumptions import CrossedRows, check_unit
from markets.importing.reading.batch_columns import (
    BatchColumns,
    FileContext,
    PriceStatistics,
)
from markets.importing.reading.description import Description
from markets.importing.reading.file_shape import FileShape, shape_of
from markets.importing.reading.files import ENDINGS, open_file
from markets.importing.reading.local_time import ClockFalls, changes_its_clock
from markets.importing.reading.raw_rows import file_fault, in_parts
from markets.importing.reading.row_parser import RowParser

OnShare = Callable[[float], None]
ROWS_SHOWN, LINES_SHOWN = 5, 5
CHANGES_AT_ONCE = 5_000


@dataclass(slots=True)
class FirstLines:
    """Rows that are left out for one reason: how many, and the lines of the first."""

    count: int = 0
    lines: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        self.count += 1
        if len(self.lines) < LINES_SHOWN:
            self.lines.append(line)


@dataclass(slots=True)
class Survey:
    """A whole file as it would be imported."""

    shape: FileShape
    rows: int = 0
    refused: int = 0
    reasons: dict[str, FirstLines] = field(default_factory=dict)
    duplicates: FirstLines = field(default_factory=FirstLines)
    left_out: int = 0
    tickers: set[str] = field(default_factory=set)
    first: int = MISSING  # times of the earliest row and of the latest
    last: int = MISSING
    sample: ParsedRows | None = None  # the first rows
    clock_falls: list[tuple[str, int]] = field(default_factory=list)

    def add(self, batch: RowBatch) -> None:
        self.rows += len(batch.rows.lines)
        self.left_out += batch.left_out
        self.tickers.update(batch.rows.tickers)
        for row in batch.refused:
            self.refused += 1
            self.reasons.setdefault(_reason(row), FirstLines()).add(row.line)
        for line in batch.duplicates.tolist():
            self.duplicates.add(line)
        times = batch.rows.at[batch.rows.at != MISSING]
        if len(times):
            self.first = min(int(times.min()), self.first if self.first != MISSING else 2**62)
            self.last = max(int(times.max()), self.last)
        if self.sample is None and len(batch.rows.lines):
            is_first = np.arange(len(batch.rows.lines)) < ROWS_SHOWN
            self.sample = rows_where(batch.rows, is_first)


class SourceFile:
    """A file with its shape. The rows are the same whenever it is read."""

    def __init__(self, path: Path, said: Description, *, now: datetime | None = None) -> None:
        """Match the file's header with what is said of it; raises BadInput."""
        self.path = path
        self._file = open_file(path)
        header = _checked_names(path.name, self._file.column_names())
        self.shape = shape_of(path.name, stem(path), header, said)
        self.unread = [name for name in header if name not in self.shape.read]
        self._now = now or datetime.now(UTC)
        self._falls: ClockFalls | None = None

    @property
    def size(self) -> int:
        """The bytes of the file that are read: those that it had when it was opened."""
        return self._file.size

    def survey(self, on_share: OnShare = lambda share: None) -> Survey:
        """Read the whole file once; raises BadInput where the file contradicts what is assumed."""
        survey, crossed = Survey(self.shape), CrossedRows(self.path.name, self.shape)
        prices = PriceStatistics()
        for batch in self._batches(prices):
            survey.add(batch)
            crossed.add(batch.rows)
            on_share(batch.share)
        crossed.check()
        check_unit(self.path.name, self.shape, prices)
        survey.clock_falls = self._falls.found if self._falls else []
        return survey

    def rows(self, *, after_line: int = 0) -> Iterator[RowBatch]:
        """Read the rows after a line, or all of them."""
        for batch in self._batches(PriceStatistics()):
            if batch.last_line > after_line:
                yield _after(batch, after_line) if after_line else batch

    def _batches(self, prices: PriceStatistics) -> Iterator[RowBatch]:
        if self._falls is None:
            self._falls = self._clock_falls()
        parser = RowParser(self._context(prices, self._falls))
        for raw in self._file.rows(self.shape.read):
            # Each change makes a whole book, so that few of them take as much memory as many rows.
            for part in in_parts(raw, CHANGES_AT_ONCE) if self.shape.changes else (raw,):
                yield parser.parse(part)

    def _context(self, prices: PriceStatistics, falls: ClockFalls | None) -> FileContext:
        return FileContext(
            file=self.path.name, shape=self.shape, now=self._now, falls=falls, prices=prices
        )

    def _clock_falls(self) -> ClockFalls | None:
        """Look through local times for the hours that came twice."""
        zone = self.shape.time_zone
        if not zone or "at" not in self.shape.columns or not changes_its_clock(ZoneInfo(zone)):
            return None
        falls = ClockFalls(zone)
        context = self._context(PriceStatistics(), None)
        columns_read = self.shape.columns
        names = [columns_read[each] for each in ("ticker", "at") if each in columns_read]
        for raw in self._file.rows(names):
            columns = BatchColumns(context, raw)
            times = columns.local_times()
            known = np.flatnonzero(times.local & columns.faults.accepted)
            falls.add(columns.tickers, columns.market[known], raw.lines[known], times.values[known])
        return falls


def _checked_names(file: str, names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise file_fault(file, f"two columns are called {name!r}", line=1)
        if UNWRITABLE.search(name):
            raise file_fault(file, f"the name {name!r} cannot be kept", line=1)
    return names


def stem(path: Path) -> str:
    """Return the name of a file without its folder and its ending."""
    endings = [each for each in ENDINGS if path.name.lower().endswith(each)]
    ending = max(endings, key=len, default=path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _reason(row: RefusedRow) -> str:
    return f"{row.column}: {row.reason}" if row.column else row.reason


def _after(batch: RowBatch, line: int) -> RowBatch:
    """Return the part of a batch that comes after a line."""
    return batch._replace(
        rows=rows_where(batch.rows, batch.rows.lines > line),
        refused=[row for row in batch.refused if row.line > line],
        duplicates=batch.duplicates[batch.duplicates > line],
    )
