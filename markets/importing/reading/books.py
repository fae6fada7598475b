"""Order books: levels that are written as lists, in one value of a row for each side."""

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_insights.arrays import Ints, np
from markets.importing.parsed_rows import Levels
from markets.importing.reading.batch_columns import DOLLAR, BatchColumns, FileColumn

# What may stand around the numbers of a list: brackets, quotation marks and blanks.
AROUND = r"[\[\](){}\"'\s]"


def read_books(columns: BatchColumns) -> dict[str, Levels]:
    """Read both sides. Levels without contracts, or at 0 or 1 dollar, are left out."""
    bids = _levels(columns, "bid_prices", "bid_sizes")
    asks = _levels(columns, "ask_prices", "ask_sizes")
    if columns.has("no_bid_prices"):
        asks = _complements(_levels(columns, "no_bid_prices", "no_bid_sizes"))
    if columns.shape.scale == "no":
        bids, asks = _complements(asks), _complements(bids)
    return {
        "bids": _best_first(columns, bids, "bid_prices", sign=-1),
        "asks": _best_first(columns, asks, "ask_prices", sign=1),
    }


def _levels(columns: BatchColumns, prices: str, sizes: str) -> Levels:
    if not columns.has(prices):
        nothing = np.zeros(0, np.int64)
        return Levels(np.zeros(columns.rows, np.int64), nothing, nothing)
    price_column, counts = _flat(columns.column(prices))
    size_column, size_counts = _flat(columns.column(sizes))
    read_prices, read_sizes = columns.prices_of(price_column), columns.counts_of(size_column)
    unequal = FileColumn(
        price_column.name, price_column.values, price_column.values, _rows(columns)
    )
    columns.refuse(counts != size_counts, unequal, f"has not as many values as {size_column.name}")
    # Rows that are refused keep their place and lose their levels.
    counts = np.where(counts == size_counts, counts, 0)
    in_prices, in_sizes = (counts[each.rows] > 0 for each in (price_column, size_column))
    rows = price_column.rows[in_prices]
    return _quoted(columns, rows, read_prices[in_prices], read_sizes[in_sizes])


def _flat(column: FileColumn) -> tuple[FileColumn, Ints]:
    """Return the numbers in a column of lists, with the row of each, and how many each row has."""
    values = column.values
    if not pa.types.is_list(values.type) and not pa.types.is_large_list(values.type):
        values = pc.replace_substring_regex(values.cast(pa.string()), AROUND, "")
        values = pc.split_pattern(pc.if_else(pc.equal(values, ""), None, values), ",")
    counts = pc.list_value_length(values).fill_null(0).cast(pa.int64()).to_numpy()
    rows = np.repeat(np.arange(len(values)), counts)
    return FileColumn(column.name, column.values, values.flatten(), rows), counts


def _quoted(columns: BatchColumns, rows: Ints, prices: Ints, sizes: Ints) -> Levels:
    """Return the levels at which somebody quotes."""
    quoted = (prices > 0) & (prices < DOLLAR) & (sizes > 0)
    counts = np.bincount(rows[quoted], minlength=columns.rows)
    return Levels(counts.astype(np.int64), prices[quoted], sizes[quoted])


def _complements(levels: Levels) -> Levels:
    return levels._replace(prices=DOLLAR - levels.prices)


def _best_first(columns: BatchColumns, levels: Levels, field: str, *, sign: int) -> Levels:
    """Sort the levels of each row, and refuse rows that list a price twice."""
    rows = np.repeat(_rows(columns), levels.counts)
    order = np.lexsort((sign * levels.prices, rows))
    prices = levels.prices[order]
    repeated = (prices[1:] == prices[:-1]) & (rows[1:] == rows[:-1])
    if repeated.any():
        shown = field if columns.has(field) else "no_bid_prices"
        shown = shown if columns.has(shown) else "bid_prices"
        twice = np.isin(_rows(columns), rows[1:][repeated])
        columns.refuse(twice, columns.column(shown), "lists a price twice")
    return Levels(levels.counts, prices, levels.sizes[order])


def _rows(columns: BatchColumns) -> Ints:
    return np.arange(columns.rows)
