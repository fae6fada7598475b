"""Parse, compare and write 2,000 changed markets, compared with a bare COPY of the same rows."""

import msgspec
from django.db import connection, transaction

from benchmarks import measure
from benchmarks.measure import chunks, page_of, percentile, report, tickers, timed
from markets.kalshi import payloads
from markets.kalshi.payloads import EventPayload
from markets.models import MarketSnapshot
from markets.recording.batch import Batch, store
from markets.tests.fake_exchange import Exchange

MARKETS = 2_000
ROUNDS = 21


def main() -> None:
    measure.migrate()
    names = tickers(MARKETS)
    store_markets(names)
    ticks = [measure_tick(names, step) for step in range(1, ROUNDS + 1)]
    copies = [measure_copy() for _ in range(5)]
    typical, copy = measure.median(ticks), measure.median(copies)
    report(
        f"tick of {MARKETS:,} changed markets, median of {ROUNDS}",
        f"{typical * 1000:.0f} ms",
        ratio=f"{typical / copy:.1f} x a bare COPY ({copy * 1000:.0f} ms)",
        target="target 150 ms",
    )
    report("  the same, p95", f"{percentile(ticks, 0.95) * 1000:.0f} ms")


def store_markets(names: list[str]) -> None:
    """Store the markets and the events they belong to."""
    exchange = Exchange()
    batch = Batch()
    for chunk in chunks(names, 1000):
        batch.add_markets_page(page_of(dict.fromkeys(chunk, 0)))
    for event in sorted({market.quote.event_ticker for market in batch.observed.values()}):
        batch.events[event] = payload_of(exchange.event_json(event))
    with transaction.atomic():
        store(batch)


def payload_of(event: dict[str, object]) -> EventPayload:
    return payloads.event(msgspec.json.encode(event))


def measure_tick(names: list[str], step: int) -> float:
    """Measure the seconds from the bytes in memory to the commit."""
    pages = [page_of(dict.fromkeys(chunk, step)) for chunk in chunks(names, 240)]

    def work() -> None:
        batch = Batch()
        for page in pages:
            batch.add_markets_page(page)
        with transaction.atomic():
            assert store(batch) == len(names)

    return timed(work)


def measure_copy() -> float:
    """Measure a COPY of one tick's rows into a table with the same columns and indexes."""
    columns = [field.attname for field in MarketSnapshot._meta.concrete_fields]
    rows = list(MarketSnapshot.objects.newest_of_all().values_list(*columns))
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS bare")
        cursor.execute("CREATE TABLE bare (LIKE markets_marketsnapshot INCLUDING ALL)")

        statement = f"COPY bare ({', '.join(columns)}) FROM STDIN"

        def work() -> None:
            with transaction.atomic(), cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)

        return timed(work)


if __name__ == "__main__":
    main()
