"""Parse the rows of one file, batch by batch."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing.parsed_rows import MISSING, Levels, ParsedRows, RowBatch, rows_where
from markets.importing.reading.batch_columns import BatchColumns, FileContext
from markets.importing.reading.book_changes import StandingBooks
from markets.importing.reading.books import read_books
from markets.importing.reading.definitions import read_definitions, read_results
from markets.importing.reading.quotes import read_quotes, read_trades
from markets.importing.reading.raw_rows import RawRows
from markets.importing.reading.seen_rows import SeenRows, hashes_of, text_hashes
from markets.importing.reading.values import as_bools, texts
from markets.models.imports import Kind

# A clock may be ahead of ours by less than zones differ.
AHEAD = timedelta(minutes=5)
LONGEST_ID = 200
OF_AN_INSTANT = (Kind.QUOTES, Kind.BOOKS, Kind.TRADES)


class RowParser:
    """Parses the batches of one file in their order, and remembers the rows it has had."""

    def __init__(self, context: FileContext) -> None:
        self._context = context
        self._seen = SeenRows()
        self._books = StandingBooks()
        self._numbers: dict[str, int] = {}  # of the markets of the file, in order of appearance

    def parse(self, raw: RawRows) -> RowBatch:
        """Parse rows; raises BadInput for what only a flag can settle."""
        wanted_raw = self._wanted(raw)
        left_out = len(raw.lines) - len(wanted_raw.lines)
        columns = BatchColumns(self._context, wanted_raw)
        rows = self._read(columns, self._times(columns))
        is_of_use = _is_of_use(rows)
        accepted = columns.faults.accepted & is_of_use
        kept = accepted & ~self._repeated(rows, accepted)
        refused = sorted([*raw.refused, *columns.faults.rows()])
        return RowBatch(
            rows=rows_where(rows, kept),
            refused=refused,
            duplicates=rows.lines[accepted & ~kept],
            left_out=left_out + int((columns.faults.accepted & ~is_of_use).sum()),
            last_line=raw.last_line,
            share=raw.share,
        )

    def _wanted(self, raw: RawRows) -> RawRows:
        """Return the rows that the layout is of."""
        only = self._context.shape.only
        if only is None:
            return raw
        column, words = only
        chosen = pc.is_in(texts(raw.columns[column]), pa.array(words))
        filtered = {name: values.filter(chosen) for name, values in raw.columns.items()}
        return raw._replace(lines=raw.lines[as_bools(chosen)], columns=filtered)

    def _times(self, columns: BatchColumns) -> Ints:
        latest = self._context.now + AHEAD
        at = columns.instants("at", latest=latest)
        if columns.has("at_else"):
            at = np.where(at == MISSING, columns.instants("at_else", latest=latest), at)
        if self._context.shape.kind in OF_AN_INSTANT:
            columns.refuse_missing(at, "at")
        return at

    def _read(self, columns: BatchColumns, at: Ints) -> ParsedRows:
        """Read all rows of a batch, those that are refused among them."""
        kind = self._context.shape.kind
        numbers: Mapping[str, Ints] = {}
        words: Mapping[str, Sequence[str]] = {}
        levels: Mapping[str, Levels] = {}
        if kind == Kind.QUOTES:
            numbers = read_quotes(columns)
        elif kind == Kind.BOOKS:
            levels = read_books(columns)
            if self._context.shape.changes:
                levels = self._books.follow(columns, at, levels)
        elif kind == Kind.TRADES:
            words = {"trade_id": columns.texts("trade_id", longest=LONGEST_ID)}
            numbers = read_trades(columns)
        elif kind == Kind.SETTLEMENTS:
            results, value = read_results(columns)
            numbers, words = {"settlement_value": value}, {"result": results}
        else:
            numbers, words = read_definitions(columns)
        tickers, market = columns.tickers, columns.market
        return ParsedRows(kind, columns.lines, tickers, market, at, numbers, words, levels)

    def _repeated(self, rows: ParsedRows, accepted: Bools) -> Bools:
        """Mark those of the accepted rows that repeat an earlier row of the file.

        A trade without an id repeats none: two of one size and price may share an instant. Nor
        does a row of changes: a book may come back to what it was at the same instant.
        """
        if self._context.shape.changes:
            return np.zeros(len(rows.lines), bool)
        for ticker in rows.tickers:
            self._numbers.setdefault(ticker, len(self._numbers))
        numbers = np.array([self._numbers[each] for each in rows.tickers], np.int64)
        looked_at, columns = accepted, [numbers[rows.market]]
        if rows.kind == Kind.TRADES:
            looked_at = accepted & np.array([bool(each) for each in rows.texts["trade_id"]], bool)
        else:
            columns += [rows.at, *rows.numbers.values(), *map(_level_hashes, rows.levels.values())]
        columns += map(text_hashes, rows.texts.values())
        repeated = np.zeros(len(rows.lines), bool)
        hashes = hashes_of(columns)[looked_at]
        repeated[looked_at] = self._seen.repeated(hashes, rows.at[looked_at])
        return repeated


def _is_of_use(rows: ParsedRows) -> Bools:
    """Mark the rows that tell something: of settlements those with a result."""
    if rows.kind != Kind.SETTLEMENTS:
        return np.ones(len(rows.lines), bool)
    return np.array([bool(each) for each in rows.texts["result"]], bool)


def _level_hashes(levels: Levels) -> Ints:
    """Return a hash of the levels of each row."""
    place = np.arange(len(levels.prices)) - np.repeat(
        np.cumsum(levels.counts) - levels.counts, levels.counts
    )
    each = hashes_of([place, levels.prices, levels.sizes])
    total = np.zeros(len(levels.counts), np.int64)
    np.add.at(total, np.repeat(np.arange(len(levels.counts)), levels.counts), each)
    return total
