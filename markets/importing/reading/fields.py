"""The fields that columns of a file can stand for, and the names that such columns usually have."""

from collections.abc import Mapping

from markets.models.imports import Kind

Names = tuple[str, ...]

TICKER: Names = ("ticker", "market_ticker", "market", "kalshi_ticker", "contract")
TIME: Names = (
    "timestamp", "time", "ts", "at", "datetime", "date_time", "observed_at", "local_timestamp",
    "timestamp_ms", "ts_ms",
)  # fmt: skip
PRICE_FIELDS: Mapping[str, Names] = {
    "bid": ("yes_bid", "bid", "yes_bid_price", "bid_price", "best_bid", "yes_bid_dollars"),
    "ask": ("yes_ask", "ask", "yes_ask_price", "ask_price", "best_ask", "yes_ask_dollars"),
    "no_bid": ("no_bid", "no_bid_price", "no_bid_dollars"),
    "no_ask": ("no_ask", "no_ask_price", "no_ask_dollars"),
    "last_price": ("last_price", "last", "last_price_dollars", "last_traded_price"),
}
SIZE_FIELDS: Mapping[str, Names] = {
    "bid_size": ("yes_bid_size", "bid_size", "yes_bid_qty", "bid_qty", "yes_bid_size_fp"),
    "ask_size": ("yes_ask_size", "ask_size", "yes_ask_qty", "ask_qty", "yes_ask_size_fp"),
    "no_bid_size": ("no_bid_size", "no_bid_qty"),
    "no_ask_size": ("no_ask_size", "no_ask_qty"),
}
RESULT_FIELDS: Mapping[str, Names] = {
    "result": ("result", "market_result", "outcome", "settled_result"),
    "settlement_value": ("settlement_value", "settlement_value_dollars", "settlement_price"),
}
# A change of one level of a book: its price, its new size and its side.
LEVEL_FIELDS = ("level_price", "level_size", "level_side")
# The fields of each kind, each with the names of columns that stand for it where nobody says so;
# the first that the file has is taken. Bid, ask and last price are on the scale of the file; those
# of the NO side are named so.
FIELDS: Mapping[Kind, Mapping[str, Names]] = {
    Kind.QUOTES: {
        "ticker": TICKER,
        "at": TIME,
        **PRICE_FIELDS,
        **SIZE_FIELDS,
        "volume": ("volume", "volume_fp"),
        "open_interest": ("open_interest", "open_interest_fp"),
    },
    Kind.BOOKS: {
        "ticker": TICKER,
        "at": TIME,
        "bid_prices": ("bid_prices", "yes_bid_prices", "snapshot_bid_prices"),
        "bid_sizes": ("bid_sizes", "yes_bid_sizes", "snapshot_bid_sizes"),
        "ask_prices": ("ask_prices", "yes_ask_prices", "snapshot_ask_prices"),
        "ask_sizes": ("ask_sizes", "yes_ask_sizes", "snapshot_ask_sizes"),
        "no_bid_prices": ("no_bid_prices",),
        "no_bid_sizes": ("no_bid_sizes",),
        **dict.fromkeys(LEVEL_FIELDS, ()),
    },
    Kind.TRADES: {
        "ticker": TICKER,
        "at": ("created_time", "exchange_timestamp", *TIME),
        "at_else": (),
        "trade_id": ("trade_id", "id"),
        "price": ("yes_price", "price", "yes_price_dollars"),
        "no_price": ("no_price", "no_price_dollars"),
        "count": ("count", "quantity", "size", "contracts", "count_fp"),
        "taker_side": ("taker_outcome_side", "taker_side", "taker_book_side"),
        "is_block_trade": ("is_block_trade",),
    },
    Kind.SETTLEMENTS: {
        "ticker": TICKER,
        "at": (
            "settlement_ts", "settled_time", "settled_at", "settlement_time", "settled_ts", *TIME,
        ),
        **RESULT_FIELDS,
    },
    Kind.MARKETS: {
        "ticker": TICKER,
        "at": ("known_at", "_fetched_at", "fetched_at", "as_of"),
        "event_ticker": ("event_ticker", "event"),
        "series_ticker": ("series_ticker", "series", "_series_ticker"),
        "title": ("title",),
        "yes_sub_title": ("yes_sub_title", "subtitle"),
        "no_sub_title": ("no_sub_title",),
        "category": ("category",),
        **RESULT_FIELDS,
        "strike_type": ("strike_type",),
        "floor_strike": ("floor_strike",),
        "cap_strike": ("cap_strike",),
        "open_time": ("open_time",),
        "close_time": ("close_time",),
        "expected_expiration_time": ("expected_expiration_time",),
        "settlement_ts": ("settlement_ts", "settled_at", "settled_time"),
        "mutually_exclusive": ("mutually_exclusive",),
    },
}  # fmt: skip
# A file must have a column for one field at least of each group.
NEEDED: Mapping[Kind, tuple[Names, ...]] = {
    Kind.QUOTES: (("at",), ("bid", "ask", "no_bid", "no_ask", "last_price")),
    Kind.BOOKS: (("at",), ("bid_prices", "ask_prices", "no_bid_prices")),
    Kind.TRADES: (("at",), ("price", "no_price"), ("count",)),
    Kind.SETTLEMENTS: (("result", "settlement_value"),),
    Kind.MARKETS: (),
}
# Fields of a NO side, of which there are none in a file whose prices are all of the NO side.
NO_SIDE = ("no_bid", "no_ask", "no_bid_size", "no_ask_size", "no_price", "no_bid_prices",
    "no_bid_sizes")  # fmt: skip
# Fields on the scale of the file, which is that of YES where nobody says otherwise.
OF_SCALE = ("bid", "ask", "last_price", "bid_size", "ask_size", "bid_prices", "bid_sizes",
    "ask_prices", "ask_sizes", "price", "settlement_value")  # fmt: skip
# The prices of levels are of no use without their sizes, and sizes of none without prices.
PAIRS = (("bid_prices", "bid_sizes"), ("ask_prices", "ask_sizes"),
    ("no_bid_prices", "no_bid_sizes"))  # fmt: skip
# The fields that have several values in a row.
LISTS = frozenset(name for pair in PAIRS for name in pair)
