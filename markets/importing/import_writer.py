"""The writer of an import: batches of parsed rows into the record, each in one transaction.

The transaction of a batch also notes the line that the import has come to, so that an import that
was cut off goes on from there, without losing a row or writing one twice.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

from django.db import transaction

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing import fee_terms, placeholders
from markets.importing.book_rows import write_books
from markets.importing.definition_rows import create_named, write_definitions
from markets.importing.parsed_rows import MISSING, ParsedRows, RowBatch
from markets.importing.quote_rows import write_quotes
from markets.importing.row_ids import PlacedRows
from markets.importing.settlement_rows import write_settlements
from markets.importing.tables import TABLES
from markets.importing.trade_rows import write_trades
from markets.models import Import, ImportedSpan
from markets.models.imports import ImportState, ImportTaken, Kind, MarketRows, RowCounts
from markets.models.observations import instant, microseconds
from markets.storage import partitions

DAY = 86_400_000_000  # microseconds
EPOCH_DAY = date(1970, 1, 1)
NOTHING = RowCounts(0)


WRITERS: Mapping[str, Callable[[PlacedRows, ParsedRows, datetime], Bools]] = {
    Kind.QUOTES: write_quotes,
    Kind.BOOKS: write_books,
    Kind.TRADES: write_trades,
    Kind.SETTLEMENTS: write_settlements,
    Kind.MARKETS: write_definitions,
}


class ImportWriter:
    """Writes the batches of one import, in the order of their lines.

    Once a write has failed, another writer goes on.
    """

    def __init__(self, row: Import) -> None:
        self.row = row
        self._ids: dict[str, int] = {}
        self._days: set[int] = set()

    def write(self, batch: RowBatch) -> RowCounts:
        """Write a batch, unless it is written already; return the numbers of its rows.

        Raises ImportTaken where another process has gone on with the import, and ValueError for a
        batch of which a part is written: it must begin after the line of the import.
        """
        if batch.last_line <= self.row.line:
            return NOTHING
        if len(batch.rows.lines) and batch.rows.lines.min() <= self.row.line:
            raise ValueError(f"The batch begins before line {self.row.line + 1}.")
        self._create_partitions(batch.rows.at)
        with transaction.atomic():
            counts = self._write(batch, now=datetime.now(UTC))
        self.row.refresh_from_db()
        return counts

    def finish(self) -> None:
        """Mark the import as finished; raises ImportTaken where it is another's by now."""
        if not self._end(ImportState.FINISHED):
            raise ImportTaken.of(self.row)

    def interrupt(self) -> None:
        """Mark the import as interrupted, unless another process has gone on with it."""
        self._end(ImportState.INTERRUPTED)

    def _end(self, state: ImportState) -> bool:
        ended = Import.objects.end(self.row, state, at=datetime.now(UTC))
        self.row.refresh_from_db()
        return ended

    def _create_partitions(self, at: Ints) -> None:
        """Create the days of rows, before the transaction that would hold their locks."""
        new = set(np.unique(at // DAY).tolist()) - self._days
        for table in TABLES[self.row.kind] if new else ():
            days = (EPOCH_DAY + timedelta(days=number) for number in new)
            partitions.create_missing(table, days)
        self._days |= new

    def _write(self, batch: RowBatch, *, now: datetime) -> RowCounts:
        Import.objects.advance(self.row, batch.last_line)
        rows = batch.rows
        written = self._write_rows(rows, now=now) if len(rows.lines) else 0
        repeated = len(batch.duplicates) + len(rows.lines) - written
        counts = RowCounts(written, len(batch.refused), repeated)
        Import.objects.add_counts(self.row, counts)
        return counts

    def _write_rows(self, rows: ParsedRows, *, now: datetime) -> int:
        placed = self._placed(rows, now=now)
        written = WRITERS[self.row.kind](placed, rows, now)
        found = market_rows(placed.select(written), otherwise=microseconds(now))
        ImportedSpan.objects.add(self.row, found)
        first = {id: own.first_at for id, own in found.items()}
        fee_terms.assume_stated(self.row, first, now=now)
        return int(written.sum())

    def _placed(self, rows: ParsedRows, *, now: datetime) -> PlacedRows:
        new = [ticker for ticker in rows.tickers if ticker not in self._ids]
        if new and rows.kind == Kind.MARKETS:
            create_named(rows, now=now)
        if new:
            self._ids |= placeholders.market_ids(new, now=now)
        ids = np.array([self._ids[ticker] for ticker in rows.tickers], np.int64)
        return PlacedRows.of(self.row, rows.lines, ids[rows.market], rows.at)


def market_rows(placed: PlacedRows, *, otherwise: int) -> dict[int, MarketRows]:
    """Return the number of rows of each market, and the instants of the first and the last.

    `otherwise` is the instant of rows that have none.
    """
    if not len(placed.at):
        return {}
    at = np.where(placed.at == MISSING, otherwise, placed.at)
    ids, place = np.unique(placed.market, return_inverse=True)
    counts = np.bincount(place)
    first, last = np.full(len(ids), at.max()), np.full(len(ids), at.min())
    np.minimum.at(first, place, at)
    np.maximum.at(last, place, at)
    columns = zip(ids.tolist(), first.tolist(), last.tolist(), counts.tolist(), strict=True)
    return {id: MarketRows(instant(a), instant(b), count) for id, a, b, count in columns}
