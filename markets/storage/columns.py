"""The columns of archived days, and their rows as CSV, which is the same for the same content."""

import hashlib

from django.db import connection

from kalshi_insights.export.copy import QUOTED_TYPES, ColumnTypes
from markets.models.storage import AT_MIDNIGHT
from markets.storage.account import ACCOUNT
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, TRADES

FOLDERS = {
    SNAPSHOTS: "snapshots",
    AT_MIDNIGHT: "midnight",
    ORDER_BOOKS: "orderbooks",
    TRADES: "trades",
} | {table: each.folder for table, each in ACCOUNT.items()}
SNAPSHOT_COLUMNS = {
    "id": "uuid",
    "market_id": "bigint",
    "timestamp": "timestamptz",
    "recorded_at": "timestamptz",
    "sequence": "bigint",
    "quality": "smallint",
    "source": "text",
    "yes_bid": "numeric(6,4)",
    "yes_ask": "numeric(6,4)",
    "yes_bid_size": "numeric(18,2)",
    "yes_ask_size": "numeric(18,2)",
    "last_price": "numeric(6,4)",
    "volume": "numeric(18,2)",
    "open_interest": "numeric(18,2)",
    "raw_data": "jsonb",
}
COLUMNS: dict[str, ColumnTypes] = {
    SNAPSHOTS: SNAPSHOT_COLUMNS,
    AT_MIDNIGHT: SNAPSHOT_COLUMNS,
    ORDER_BOOKS: {
        "id": "uuid",
        "market_id": "bigint",
        "timestamp": "timestamptz",
        "bid_prices": "numeric(6,4)[]",
        "bid_sizes": "numeric(18,2)[]",
        "ask_prices": "numeric(6,4)[]",
        "ask_sizes": "numeric(18,2)[]",
    },
    TRADES: {
        "trade_id": "uuid",
        "market_id": "bigint",
        "created_time": "timestamptz",
        "known_at": "timestamptz",
        "recorded_at": "timestamptz",
        "contracts": "bigint",
        "price": "smallint",
        "taker_side": "smallint",
        "source_code": "smallint",
        "is_block_trade": "boolean",
    },
    **{table: each.types for table, each in ACCOUNT.items()},
}
# These columns suffice to restore rows where their market is unknown; the exchange has the rest.
MARKET_COLUMNS = {
    "id": "bigint",
    "ticker": "text",
    "event_ticker": "text",
    "series_ticker": "text",
    "title": "text",
    "yes_sub_title": "text",
    "no_sub_title": "text",
    "status": "text",
    "result": "text",
    "open_time": "timestamptz",
    "close_time": "timestamptz",
    "price_ranges": "jsonb",
}
# Arrow's CSV and PostgreSQL's differ for these types, so they are selected in a form both share.
CSV_EXPRESSIONS = {
    "uuid": "replace({0}::text, '-', '') AS {0}",
    "timestamptz": "(extract(epoch FROM {0}) * 1000000)::bigint AS {0}",
    "boolean": "{0}::text AS {0}",
}


def copy_statement(columns: ColumnTypes, query: str) -> str:
    selected = ", ".join(
        CSV_EXPRESSIONS.get(kind, "{0}").format(name) for name, kind in columns.items()
    )
    quoted = ", ".join(name for name, kind in columns.items() if kind in QUOTED_TYPES)
    options = f"FORMAT csv, FORCE_QUOTE ({quoted})" if quoted else "FORMAT csv"
    # The result keeps the subquery's order, because nothing is joined or grouped outside it.
    return f"""
        COPY (SELECT {selected} FROM ({query}) AS found)
        TO STDOUT ({options})
    """  # noqa: S608


def content_sha256(table: str, query: str) -> str:
    """Return the hash that a file of these rows would have as its content."""
    digest = hashlib.sha256()
    statement = copy_statement(COLUMNS[table], query)
    with connection.cursor() as cursor, cursor.copy(statement) as lines:
        for line in lines:
            digest.update(line)
    return digest.hexdigest()
