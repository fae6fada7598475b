"""Rows of a file as columns of whole numbers, in the units of the database.

Prices are on the YES scale in 1/10,000 dollar, settlement values in 1/1,000,000 dollar, sizes and
counts in 1/100 contract, instants in microseconds since 1970.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Bools, Ints, np
from markets.models.imports import Kind

# Stands for a number or an instant that is unknown, or for the price of a side nobody quotes.
MISSING = -1
# The columns of each kind. All of them are always there; what a file does not tell is MISSING, or
# an empty text.
NUMBERS: Mapping[Kind, Sequence[str]] = {
    Kind.QUOTES: (
        "yes_bid", "yes_ask", "yes_bid_size", "yes_ask_size", "last_price", "volume",
        "open_interest",
    ),
    Kind.BOOKS: (),
    # `taker_side` is a `TakerSide`, and `is_block_trade` 0 or 1.
    Kind.TRADES: ("yes_price", "count", "taker_side", "is_block_trade"),
    Kind.SETTLEMENTS: ("settlement_value",),
    Kind.MARKETS: (
        "open_time", "close_time", "expected_expiration_time", "settlement_ts",
        "settlement_value", "mutually_exclusive",
    ),
}  # fmt: skip
TEXTS: Mapping[Kind, Sequence[str]] = {
    Kind.QUOTES: (),
    Kind.BOOKS: (),
    Kind.TRADES: ("trade_id",),
    # `result` is yes, no, scalar or, where it is unknown, empty.
    Kind.SETTLEMENTS: ("result",),
    # Strikes are decimals, as long as the file writes them.
    Kind.MARKETS: (
        "event_ticker", "series_ticker", "title", "yes_sub_title", "no_sub_title", "category",
        "result", "strike_type", "floor_strike", "cap_strike",
    ),
}  # fmt: skip
LEVELS: Mapping[Kind, Sequence[str]] = dict.fromkeys(Kind, ()) | {Kind.BOOKS: ("bids", "asks")}


class Levels(NamedTuple):
    """The levels of one side of the books of all rows, one row's after the other's, best first."""

    counts: Ints  # of the levels of each row
    prices: Ints
    sizes: Ints


class ParsedRows(NamedTuple):
    """Rows of one file, as they follow each other in it; `lines`, `market` and `at` and each column
    have one value a row."""

    kind: Kind
    lines: Ints  # in the file, whose first line is 1; of Parquet the number of the row, from 1
    tickers: Sequence[str]  # distinct
    market: Ints  # places in `tickers`
    # When a quote, a book or a trade was, when a settlement was made, since when a definition
    # holds; MISSING where the last two do not tell.
    at: Ints
    numbers: Mapping[str, Ints]
    texts: Mapping[str, Sequence[str]]
    levels: Mapping[str, Levels]


class RefusedRow(NamedTuple):
    """A row that is left out, with the value at fault as the file has it."""

    line: int
    column: str
    reason: str
    text: str


class RowBatch(NamedTuple):
    """Some rows of a file, and those among them that are left out."""

    rows: ParsedRows
    refused: Sequence[RefusedRow]
    duplicates: Ints  # lines of rows that repeat an earlier row wholly, or its trade id
    left_out: int  # rows that are of no use to this kind, such as markets without a result
    last_line: int  # all lines up to it are parsed
    share: float  # of the file that is parsed, from 0 to 1


def rows_where(rows: ParsedRows, kept: Bools) -> ParsedRows:
    """Return some of the rows, with the tickers that they are of."""
    markets, market = np.unique(rows.market[kept], return_inverse=True)
    places = np.flatnonzero(kept).tolist()
    return ParsedRows(
        kind=rows.kind,
        lines=rows.lines[kept],
        tickers=[rows.tickers[each] for each in markets],
        market=market.astype(np.int64),
        at=rows.at[kept],
        numbers={name: each[kept] for name, each in rows.numbers.items()},
        texts={name: [each[place] for place in places] for name, each in rows.texts.items()},
        levels={name: _levels_where(each, kept) for name, each in rows.levels.items()},
    )


def _levels_where(levels: Levels, kept: Bools) -> Levels:
    of_kept = np.repeat(kept, levels.counts)
    return Levels(levels.counts[kept], levels.prices[of_kept], levels.sizes[of_kept])
