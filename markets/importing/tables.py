"""The tables of daily partitions to which the rows of each kind of import go."""

from collections.abc import Mapping

from markets.models.imports import Kind
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, TRADES

TABLES: Mapping[str, tuple[str, ...]] = {
    Kind.QUOTES: (SNAPSHOTS,),
    Kind.BOOKS: (SNAPSHOTS, ORDER_BOOKS),
    Kind.TRADES: (TRADES,),
    Kind.SETTLEMENTS: (),
    Kind.MARKETS: (),
}
