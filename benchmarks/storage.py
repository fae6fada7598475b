"""Bytes per row on disk, with indexes, in a day's partition written in order of time."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from django.db import connection, transaction

from benchmarks import measure
from benchmarks.change import active_rows
from benchmarks.measure import now, report
from benchmarks.synthetic_history import create_markets, fill_day, foreign_keys_unchecked
from markets.kalshi.order_books import order_book
from markets.models import Market, OrderBookSnapshot, RawPayload
from markets.models.order_books import ObservedOrderBook
from markets.models.snapshots import snapshot_id
from markets.simulator.board import Listings
from markets.simulator.book import orderbook
from markets.simulator.universe import SimulatedUniverse
from markets.storage.partitions import ORDER_BOOKS, RAW_PAYLOADS, SNAPSHOTS, DayPartition

MARKETS = 2_000
# Each tick finds this many markets changed, which gives a million rows a day.
EACH = 58
SIMULATED = 200
BOOKS, PAYLOADS = 15, 100  # instants
APART = 60  # seconds between them


def main() -> None:
    measure.migrate()
    today = now().date()
    create_markets(MARKETS, before=today)
    ids = list(Market.objects.order_by("id").values_list("id", flat=True)[:SIMULATED])
    with foreign_keys_unchecked():
        report_row_size(
            DayPartition(SNAPSHOTS, today), fill_day(today, markets=MARKETS, each=EACH), "snapshot"
        )
    listings = Listings(SimulatedUniverse(seed=1, markets=SIMULATED))
    midnight = int(DayPartition(SNAPSHOTS, today).bounds[0].timestamp())
    books, levels = write_books(listings, midnight, ids)
    report_row_size(
        DayPartition(ORDER_BOOKS, today), books, f"whole order book, of {levels:.1f} levels"
    )
    rows, size = write_payloads(listings, midnight, ids)
    report_row_size(DayPartition(RAW_PAYLOADS, today), rows, f"raw payload of {size:,.0f} bytes")


def report_row_size(partition: DayPartition, rows: int, what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {partition.name}")
        cursor.execute("SELECT pg_table_size(%s)", [partition.name])
        sizes = [("the table", cursor.fetchone()[0])]
        cursor.execute(
            """SELECT 'index ' || substring(pg_get_indexdef(indexrelid) FROM 'USING (.*)'),
                   pg_relation_size(indexrelid)
               FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1""",
            [partition.name],
        )
        sizes += cursor.fetchall()
    whole = sum(size for _, size in sizes)
    report(f"bytes per {what}", f"{whole / rows:.1f}", ratio=f"{rows:,} rows")
    for name, size in sizes:
        report(f"  {name}", f"{size / rows:.1f}", ratio=f"{size / whole:.0%}")


def write_books(listings: Listings, at: int, ids: Sequence[int]) -> tuple[int, float]:
    """Store order books; returns the number of changed ones and the mean number of levels."""
    board = listings.live(at)
    rows = active_rows(board)[: len(ids)]
    written, levels = 0, []
    for moment in range(at, at + BOOKS * APART, APART):
        instant = datetime.fromtimestamp(moment, UTC)
        bodies = [orderbook(board.prices, row, moment, depth=0) for row in rows]
        books = [order_book(msgspec.json.encode({"orderbook_fp": b})) for b in bodies]
        levels += [len(book.yes) + len(book.no) for book in books]
        with transaction.atomic():
            written += OrderBookSnapshot.objects.record(
                [ObservedOrderBook(id, instant, book) for id, book in zip(ids, books, strict=False)]
            )
    return written, sum(levels) / len(levels)


def write_payloads(listings: Listings, at: int, ids: Sequence[int]) -> tuple[int, float]:
    """Store raw payloads; returns their number and mean size in bytes."""
    sizes = []
    for moment in range(at, at + PAYLOADS * APART, APART):
        board = listings.live(moment)
        instant = datetime.fromtimestamp(moment, UTC)
        found = msgspec.json.decode(board.markets(active_rows(board)), type=list[msgspec.Raw])
        RawPayload.objects.bulk_create(
            RawPayload(
                id=snapshot_id(id, instant, "POLL", None, content=""),
                market_id=id,
                timestamp=instant,
                payload=bytes(raw).decode(),
            )
            for id, raw in zip(ids, found, strict=False)
        )
        sizes += [len(bytes(raw)) for _, raw in zip(ids, found, strict=False)]
    return len(sizes), sum(sizes) / len(sizes)


if __name__ == "__main__":
    main()
