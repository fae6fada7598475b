"""Quotes of an import as snapshots."""

from collections.abc import Mapping
from datetime import datetime

from kalshi_insights.arrays import Array, Bools, Ints, np
from kalshi_insights.export import binary_rows
from kalshi_insights.export.binary_rows import BinaryField
from markets.importing.parsed_rows import MISSING, ParsedRows
from markets.importing.row_ids import PlacedRows
from markets.models import Source
from markets.models.fields import PRICE, QUOTE_TYPES
from markets.models.observations import microseconds
from markets.prices import Quality
from markets.storage.partitions import SNAPSHOTS

PRICE_PLACES, COUNT_PLACES = 4, 2


def write_quotes(placed: PlacedRows, rows: ParsedRows, recorded_at: datetime) -> Bools:
    """Write quotes as snapshots; return which rows were written, which are all."""
    copy_quotes(placed, rows.numbers, recorded_at)
    return np.ones(len(placed.at), np.bool_)


def copy_quotes(placed: PlacedRows, quotes: Mapping[str, Ints], recorded_at: datetime) -> None:
    """Append snapshots; `quotes` has the columns of a quote, MISSING where one is unknown."""
    count = len(placed.at)
    now = np.full(count, microseconds(recorded_at))
    quality = _quality(quotes["yes_bid"], quotes["yes_ask"])
    binary_rows.copy_fields(
        SNAPSHOTS,
        {
            "id": BinaryField(placed.ids),
            "market_id": binary_rows.integers(placed.market, 8),
            "timestamp": binary_rows.instants(placed.at),
            "recorded_at": binary_rows.instants(now),
            "source": binary_rows.texts(Source.IMPORT.value, count),
            "sequence": binary_rows.integers(placed.sequence, 8),
            "quality": binary_rows.integers(quality, 2),
            **{
                name: binary_rows.decimals(
                    quotes[name],
                    PRICE_PLACES if kind == PRICE else COUNT_PLACES,
                    quotes[name] != MISSING,
                )
                for name, kind in QUOTE_TYPES.items()
            },
        },
    )


def _quality(bid: Ints, ask: Ints) -> Array:
    """Return the flags of quotes; no price is off a grid that nobody knows."""
    two_sided = (bid != MISSING) & (ask != MISSING)
    one_sided = (bid != MISSING) ^ (ask != MISSING)
    flags: Array = (
        (two_sided & (bid > ask)) * Quality.CROSSED.value
        | (two_sided & (bid == ask)) * Quality.LOCKED.value
        | one_sided * Quality.ONE_SIDED.value
    )
    return flags
