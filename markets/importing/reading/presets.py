"""Layouts of files that many people have."""

from collections.abc import Mapping
from typing import NamedTuple

from markets.importing.reading.fields import LEVEL_FIELDS
from markets.models.imports import Kind


class Layout(NamedTuple):
    """The columns of a file by the field that each stands for, and how their values are written.

    A file has a layout if it has the columns of the fields that the layout `needs`.
    """

    kind: Kind
    columns: Mapping[str, str]
    needs: tuple[str, ...]
    unit: str = ""
    time_zone: str = ""  # of times that are written without one
    time_format: str = ""
    only: tuple[str, tuple[str, ...]] | None = None  # a column, and its words in rows to be read
    changes: str = ""  # the word of these in rows that change one level of a book


def _same(*names: str) -> dict[str, str]:
    """Map fields to columns of the same names."""
    return {name: name for name in names}


DEFINITION = _same(
    "ticker", "event_ticker", "title", "yes_sub_title", "no_sub_title", "result",
    "open_time", "close_time",
)  # fmt: skip
COUNTS = _same("volume", "open_interest")
# --- files of our own API -------------------------------------------------------------------------

LISTED = (
    "ticker", "event_ticker", "series_ticker", "title", "yes_sub_title", "no_sub_title", "category",
    "strike_type", "floor_strike", "cap_strike", "mutually_exclusive",
)  # fmt: skip
DATED = (
    "result", "settlement_value", "settlement_ts", "open_time", "close_time",
    "expected_expiration_time",
)  # fmt: skip
EXPORTS = (
    Layout(
        Kind.QUOTES,
        {
            **_same("ticker", "last_price"),
            "at": "timestamp",
            "bid": "yes_bid",
            "ask": "yes_ask",
            "bid_size": "yes_bid_size",
            "ask_size": "yes_ask_size",
            **COUNTS,
        },
        needs=("ticker", "at", "bid", "ask"),
        unit="dollars",
    ),
    Layout(
        Kind.TRADES,
        {
            **_same("ticker", "trade_id", "count", "is_block_trade"),
            "at": "created_time",
            "price": "yes_price",
            "taker_side": "taker_outcome_side",
        },
        needs=("ticker", "at", "trade_id", "price", "count"),
        unit="dollars",
    ),
    Layout(
        Kind.SETTLEMENTS,
        {**_same("ticker", "result", "settlement_value"), "at": "settlement_ts"},
        needs=("ticker", "result"),
        unit="dollars",
    ),
    Layout(
        Kind.BOOKS,
        {
            **_same("ticker", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes"),
            "at": "timestamp",
        },
        needs=("ticker", "at", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes"),
        unit="dollars",
    ),
    # Markets as they are listed, which does not tell since when their close is known.
    Layout(
        Kind.MARKETS,
        _same(*LISTED, *DATED),
        needs=("ticker", "event_ticker", "series_ticker", "close_time"),
        unit="dollars",
    ),
    # The revisions of a market, which do.
    Layout(
        Kind.MARKETS,
        {**_same("ticker", *DATED), "at": "known_at"},
        needs=("ticker", "at", "close_time"),
        unit="dollars",
    ),
)

# --- public collections ---------------------------------------------------------------------------

# A quote stands as of the instant at which it was fetched, and prices are whole cents.
PREDICTION_MARKET_ANALYSIS = (
    Layout(
        Kind.MARKETS,
        {**DEFINITION, "at": "_fetched_at"},
        needs=("ticker", "event_ticker", "close_time"),
        time_zone="UTC",
    ),
    Layout(
        Kind.QUOTES,
        {
            **_same("ticker", "last_price"),
            "at": "_fetched_at",
            "bid": "yes_bid",
            "ask": "yes_ask",
            **COUNTS,
        },
        needs=("ticker", "at", "bid", "ask"),
        unit="cents",
        time_zone="UTC",
    ),
    Layout(
        Kind.SETTLEMENTS, _same("ticker", "result"), needs=("ticker", "result"), time_zone="UTC"
    ),
    Layout(
        Kind.TRADES,
        {
            **_same("ticker", "trade_id", "count", "no_price", "taker_side"),
            "at": "created_time",
            "price": "yes_price",
        },
        needs=("ticker", "trade_id", "at", "price", "count"),
        unit="cents",
        time_zone="UTC",
    ),
)
CAPTURED = {"ticker": "ticker", "at": "local_timestamp"}
PREDICTIONDATA = (
    Layout(
        Kind.QUOTES,
        {
            **CAPTURED,
            "bid": "bid_price",
            "bid_size": "bid_size",
            "ask": "ask_price",
            "ask_size": "ask_size",
        },
        needs=("ticker", "at", "bid", "ask"),
        unit="dollars",
        time_zone="UTC",
    ),
    Layout(
        Kind.BOOKS,
        {**CAPTURED, **_same("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")},
        needs=("ticker", "at", "bid_prices", "ask_prices"),
        unit="dollars",
        time_zone="UTC",
    ),
    # A file with all messages: whole books, and each change of a level between them.
    Layout(
        Kind.BOOKS,
        {
            **CAPTURED,
            "bid_prices": "snapshot_bid_prices",
            "bid_sizes": "snapshot_bid_sizes",
            "ask_prices": "snapshot_ask_prices",
            "ask_sizes": "snapshot_ask_sizes",
            "level_price": "price_level_update_price",
            "level_size": "price_level_update_quantity",
            "level_side": "price_level_update_side",
        },
        needs=("ticker", "at", "bid_prices", "ask_prices", *LEVEL_FIELDS),
        unit="dollars",
        time_zone="UTC",
        only=("message_type", ("snapshot", "price_level_update")),
        changes="price_level_update",
    ),
    Layout(
        Kind.TRADES,
        {
            "ticker": "ticker",
            "at": "exchange_timestamp",
            "at_else": "local_timestamp",
            "price": "price",
            "count": "quantity",
            "taker_side": "taker_side",
        },
        needs=("ticker", "at", "price", "count"),
        unit="dollars",
        time_zone="UTC",
    ),
)

# --- what `importrecorded` reads ------------------------------------------------------------------

WEATHER = (
    Layout(
        Kind.QUOTES,
        {
            "ticker": "ticker",
            "at": "end_ts",
            "bid": "yes_bid_close",
            "ask": "yes_ask_close",
            "last_price": "price_close",
            "open_interest": "open_interest",
        },
        needs=("ticker", "at", "bid", "ask"),
        unit="dollars",
        time_zone="UTC",
    ),
    Layout(
        Kind.MARKETS,
        {
            **DEFINITION,
            "series_ticker": "_series_ticker",
            **_same("strike_type", "floor_strike", "cap_strike"),
        },
        needs=("ticker", "event_ticker", "close_time", "result"),
        time_zone="UTC",
    ),
    Layout(Kind.SETTLEMENTS, _same("ticker", "result"), needs=("ticker", "result")),
)
BASEBALL = (
    Layout(
        Kind.QUOTES,
        {
            "ticker": "ticker",
            "at": "settled_ts",
            "bid": "close_bid",
            "ask": "close_ask",
            **COUNTS,
        },
        needs=("ticker", "at", "bid", "ask"),
        unit="cents",
        time_zone="UTC",
    ),
    Layout(
        Kind.MARKETS,
        {
            "ticker": "ticker",
            "event_ticker": "event",
            "yes_sub_title": "yes_team",
            **_same("result"),
        },
        needs=("ticker", "event_ticker", "yes_sub_title"),
        time_zone="UTC",
    ),
    Layout(Kind.SETTLEMENTS, _same("ticker", "result"), needs=("ticker", "result")),
)
FED = (
    Layout(
        Kind.MARKETS, DEFINITION, needs=("ticker", "event_ticker", "close_time"), time_zone="UTC"
    ),
    Layout(Kind.SETTLEMENTS, _same("ticker", "result"), needs=("ticker", "result")),
)

PRESETS: Mapping[str, tuple[Layout, ...]] = {
    "kalshi-insights": EXPORTS,
    "prediction-market-analysis": PREDICTION_MARKET_ANALYSIS,
    "predictiondata": PREDICTIONDATA,
    # A log of best bids in cents, its columns found by their usual names.
    "bot-log": (Layout(Kind.QUOTES, {}, needs=(), unit="cents"),),
    # A user's own download, whose columns are found by their usual names, which have changed.
    "kalshi-download": (Layout(Kind.SETTLEMENTS, {}, needs=()),),
    "weather_hourly_ariadne": WEATHER,
    "mlb_closing": BASEBALL,
    "fed_eco395": FED,
}
