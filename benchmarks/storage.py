"""Bytes on disk, with indexes: per row, and of an hour in which 80,000 markets are recorded."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec
import numpy as np
from django.db import connection, transaction

from benchmarks import measure
from benchmarks.change import active_rows
from benchmarks.measure import chunks, median, now, report, timed
from benchmarks.synthetic_history import create_markets, fill_day, foreign_keys_unchecked
from markets.kalshi.client import Page
from markets.kalshi.order_books import order_book
from markets.models import (
    DiskUsage,
    Market,
    MarketSnapshot,
    OrderBookSnapshot,
    PayloadBlock,
    Trade,
    TradeOrigin,
)
from markets.models.order_books import ObservedOrderBook
from markets.models.raw_payloads import unpack
from markets.models.trades import PublicTrade
from markets.recording.batch import Batch, store
from markets.recording.listings import EVENTS_PER_PAGE
from markets.simulator.board import Board, Listings
from markets.simulator.book import orderbook
from markets.simulator.orders import SECOND
from markets.simulator.render import ACTIVE
from markets.simulator.universe import SimulatedUniverse
from markets.storage import partitions
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, TRADES, DayPartition

MARKETS = 2_000
# Each tick finds this many markets changed, which gives a million rows a day.
EACH = 58
SIMULATED = 200
BOOKS = 15  # instants
APART = 60  # seconds between them
# An exchange of this size is recorded for some minutes, tick by tick, as by default settings: the
# hot list each time, and the universe in six parts.
EXCHANGE, HOT, PARTS = 80_000, 500, 6
TICKS, INTERVAL = 120, 5
TICKS_AN_HOUR = 3_600 // INTERVAL
MARKETS_PER_REQUEST = 200
READ_BACK = 50
TRADES_WRITTEN, TRADES_A_SECOND, TRADES_PER_WALK = 300_000, 300, 1_500


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
    report_trades(today, ids)
    this_hour = now().replace(minute=0, second=0, microsecond=0)
    exchange = Listings(SimulatedUniverse(seed=1, markets=EXCHANGE))
    report_hour(exchange, int(this_hour.timestamp()))


def report_trades(day: date, ids: Sequence[int]) -> None:
    """Report the size of trades, as the tape writes them and once their day is clustered."""
    partition = DayPartition(TRADES, day)
    written = write_trades(partition, ids)
    report_row_size(partition, written, "trade")
    partitions.cluster(partition)
    report_row_size(partition, written, "trade of a clustered day")


def write_trades(partition: DayPartition, ids: Sequence[int]) -> int:
    """Record pages of trades; each page repeats most of the one before, as walks do."""
    start, apart = partition.bounds[0], timedelta(seconds=1 / TRADES_A_SECOND)
    chance, written = random.Random(1), 0
    trades = [
        PublicTrade(
            trade_id=UUID(int=chance.getrandbits(128)),
            market_id=ids[int(len(ids) * chance.random() ** 3)],
            created_time=start + n * apart,
            known_at=start + n * apart + timedelta(seconds=3),
            contracts=100 * chance.randint(1, 500),
            price=100 * chance.randint(1, 99),
            taker_side=1 + n % 2,
            is_block_trade=False,
        )
        for n in range(TRADES_WRITTEN)
    ]
    for first in range(0, TRADES_WRITTEN, TRADES_PER_WALK):
        page = trades[max(first - TRADES_PER_WALK, 0) : first + TRADES_PER_WALK]
        with transaction.atomic():
            recorded = Trade.objects.record(page, source=TradeOrigin.TAPE, recorded_at=now())
        written += recorded.trades
    return written


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
        bodies = [orderbook(board.books, row, moment * SECOND, depth=0) for row in rows]
        books = [order_book(msgspec.json.encode({"orderbook_fp": b})) for b in bodies]
        levels += [len(book.yes) + len(book.no) for book in books]
        with transaction.atomic():
            written += OrderBookSnapshot.objects.record(
                [ObservedOrderBook(id, instant, book) for id, book in zip(ids, books, strict=False)]
            )
    return written, sum(levels) / len(levels)


def report_hour(listings: Listings, at: int) -> None:
    """Record some minutes of an exchange, without HTTP, and report an hour at this rate."""
    board = listings.live(at)
    events = open_events(board)
    for first in range(0, len(events), EVENTS_PER_PAGE):
        record_tick(board, events[first : first + EVENTS_PER_PAGE], hot=[])
    settle()
    before = DiskUsage.objects.measure(at=now())
    hot = Market.objects.filter(ticker__in=board.tickers).most_traded(HOT)
    part = -(-len(events) // PARTS)
    for tick in range(TICKS):
        first = tick % PARTS * part
        board = listings.live(at + (tick + 1) * INTERVAL)
        record_tick(board, events[first : first + part], hot=hot)
    report_growth(before, DiskUsage.objects.measure(at=now()), hours=TICKS / TICKS_AN_HOUR)
    report_payloads()


def open_events(board: Board) -> list[int]:
    return [int(i) for i in np.flatnonzero((board.phases == ACTIVE) & ~board.combos)]


def record_tick(board: Board, events: list[int], *, hot: list[str]) -> None:
    """Record hot markets and these events, in pages as long as the exchange's."""
    batch, received_at = Batch(), datetime.fromtimestamp(board.at, UTC)
    for tickers in chunks(hot, MARKETS_PER_REQUEST):
        rows = [board.row_of[ticker] for ticker in tickers]
        batch.add_markets_page(page_of_items(board.markets(rows), received_at))
    for selected in chunks(events, EVENTS_PER_PAGE):
        batch.add_events_page(page_of_items(board.event_page(selected, nested=True), received_at))
    with transaction.atomic():
        store(batch)


def page_of_items(body: bytes, received_at: datetime) -> Page:
    return Page(msgspec.json.decode(body, type=list[msgspec.Raw]), "", received_at)


def settle() -> None:
    """Leave the tables as after a day: heartbeats due at any time, and room in the pages."""
    spread_heartbeats()
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE markets_payloadblock")


def spread_heartbeats() -> None:
    """Let the heartbeats of markets that do not move be due at any time of an hour."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE markets_market SET quoted_at = quoted_at - random() * interval '1h'")
        cursor.execute("VACUUM markets_market")


def report_growth(before: DiskUsage, after: DiskUsage, *, hours: float) -> None:
    grown = {table: size - before.grown.get(table, 0) for table, size in after.grown.items()}
    an_hour = {table: size / hours for table, size in grown.items()}
    report(
        "disk, an hour",
        f"{sum(an_hour.values()) / 1e6:.0f} MB",
        target="target 250 MB",
    )
    for table, size in sorted(an_hour.items(), key=lambda each: -each[1]):
        if size:
            report(f"  {table}", f"{size / 1e6:.1f} MB")


def report_payloads() -> None:
    """Report the bytes of a payload as it arrived and as it is kept, and the time to read one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size('markets_payloadblock')")
        kept = cursor.fetchone()[0]
    sizes = [
        len(payload)
        for block in PayloadBlock.objects.iterator(chunk_size=10)
        for _, payload in unpack(block.content)
    ]
    report(
        f"bytes per raw payload of {sum(sizes) / len(sizes):,.0f} bytes",
        f"{kept / len(sizes):.1f}",
        ratio=f"{sum(sizes) / kept:.1f} x smaller, {len(sizes):,} payloads",
    )
    snapshots = list(MarketSnapshot.objects.order_by("-timestamp")[:READ_BACK])
    seconds = [timed(partial(getattr, each, "raw_payload")) for each in snapshots]
    report("  reading one back", f"{median(seconds) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
