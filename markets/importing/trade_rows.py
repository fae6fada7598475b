"""Trades of an import, beside those of the tape."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from kalshi_insights.arrays import Array, Bools, np
from kalshi_insights.export import binary_rows
from kalshi_insights.export.binary_rows import BinaryField
from kalshi_insights.export.copy import create_staging_table
from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.row_ids import PlacedRows
from markets.models import Trade
from markets.models.trades import STAGED

IMPORTED = {**STAGED, "sequence": "bigint"}


def write_trades(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> Bools:
    """Write the trades of an import; return which were new to it."""
    taker = rows.numbers["taker_side"]
    create_staging_table("imported_trade_staging", IMPORTED)
    binary_rows.copy_fields(
        "imported_trade_staging",
        {
            "trade_id": BinaryField(_trade_ids(placed, rows.texts["trade_id"])),
            "market_id": binary_rows.integers(placed.market, 8),
            "created_time": binary_rows.instants(rows.at),
            "known_at": binary_rows.instants(rows.at),
            "contracts": binary_rows.integers(rows.numbers["count"], 8),
            "price": binary_rows.integers(rows.numbers["yes_price"], 2),
            "taker_side": binary_rows.integers(taker, 2, taker != MISSING),
            "is_block_trade": binary_rows.flags(rows.numbers["is_block_trade"] == 1),
            "sequence": binary_rows.integers(placed.sequence, 8),
        },
    )
    written = Trade.objects.take_imported(
        "imported_trade_staging", IMPORTED, rows.at, recorded_at=recorded_at
    )
    return np.isin(placed.sequence, written)


def _trade_ids(placed: PlacedRows, texts: Sequence[str]) -> Array:
    """Return the ids of trades as 16 bytes each; one without a UUID gets that of its line."""
    found = placed.ids
    for place, text in enumerate(texts):
        if text and (own := uuid_bytes(text)):
            found[place] = np.frombuffer(own, np.uint8)
    return found


def uuid_bytes(text: str) -> bytes | None:
    try:
        return UUID(text).bytes
    except ValueError:
        return None
