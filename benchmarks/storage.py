"""What a row costs on disk with its indexes, in one day's partition, written in order of time."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from django.db import connection, transaction

from benchmarks import measure
from benchmarks.change import trading
from benchmarks.history import begin_markets, fill_day, foreign_keys_unchecked
from benchmarks.measure import now, report
from markets.kalshi import payloads
from markets.models import Market, OrderBookSnapshot, RawPayload
from markets.models.order_books import ObservedOrderBook
from markets.models.snapshots import snapshot_id
from markets.simulator.board import Listings
from markets.simulator.book import orderbook
from markets.simulator.universe import Universe
from markets.storage.partitions import ORDER_BOOKS, RAW_PAYLOADS, SNAPSHOTS, Piece

MARKETS = 2_000
# That a tick finds changed: a million rows a day.
EACH = 58
SIMULATED = 200
BOOKS, PAYLOADS = 15, 100  # moments
APART = 60  # seconds


def main() -> None:
    measure.migrate()
    today = now().date()
    begin_markets(MARKETS, before=today)
    ids = list(Market.objects.order_by("id").values_list("id", flat=True)[:SIMULATED])
    with foreign_keys_unchecked():
        tell(Piece(SNAPSHOTS, today), fill_day(today, markets=MARKETS, each=EACH), "snapshot")
    listings = Listings(Universe(seed=1, markets=SIMULATED))
    midnight = int(Piece(SNAPSHOTS, today).span[0].timestamp())
    books, levels = write_books(listings, midnight, ids)
    tell(Piece(ORDER_BOOKS, today), books, f"whole order book, of {levels:.1f} levels")
    rows, size = write_payloads(listings, midnight, ids)
    tell(Piece(RAW_PAYLOADS, today), rows, f"raw payload, of {size:,.0f} bytes")


def tell(piece: Piece, rows: int, what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {piece.name}")
        cursor.execute("SELECT pg_table_size(%s)", [piece.name])
        sizes = [("the table", cursor.fetchone()[0])]
        cursor.execute(
            """SELECT 'index ' || substring(pg_get_indexdef(indexrelid) FROM 'USING (.*)'),
                   pg_relation_size(indexrelid)
               FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1""",
            [piece.name],
        )
        sizes += cursor.fetchall()
    whole = sum(size for _, size in sizes)
    report(f"bytes of a {what}", f"{whole / rows:.1f}", ratio=f"{rows:,} rows")
    for name, size in sizes:
        report(f"  {name}", f"{size / rows:.1f}", ratio=f"{size / whole:.0%}")


def write_books(listings: Listings, at: int, ids: Sequence[int]) -> tuple[int, float]:
    """Books of the simulated exchange; how many were news, and levels of one on average."""
    board = listings.live(at)
    rows = trading(board)[: len(ids)]
    written, levels = 0, []
    for moment in range(at, at + BOOKS * APART, APART):
        instant = datetime.fromtimestamp(moment, UTC)
        bodies = [orderbook(board.prices, row, moment, depth=0) for row in rows]
        books = [payloads.order_book(msgspec.json.encode({"orderbook_fp": b})) for b in bodies]
        levels += [len(book.yes) + len(book.no) for book in books]
        with transaction.atomic():
            written += OrderBookSnapshot.objects.record(
                [ObservedOrderBook(id, instant, book) for id, book in zip(ids, books, strict=False)]
            )
    return written, sum(levels) / len(levels)


def write_payloads(listings: Listings, at: int, ids: Sequence[int]) -> tuple[int, float]:
    """Payloads of the simulated exchange; how many, and the bytes of one on average."""
    sizes = []
    for moment in range(at, at + PAYLOADS * APART, APART):
        board = listings.live(moment)
        instant = datetime.fromtimestamp(moment, UTC)
        found = msgspec.json.decode(board.markets(trading(board)), type=list[msgspec.Raw])
        RawPayload.objects.bulk_create(
            RawPayload(
                id=snapshot_id(id, instant, "POLL", None),
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
