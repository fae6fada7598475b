"""Response times and database times of the API over a million stored snapshots."""

import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.test import Client

from benchmarks import measure
from benchmarks.cpu_time import Stopwatch
from benchmarks.measure import chunks, now, percentile, report, tickers
from benchmarks.recording import store_markets

MARKETS = 5_000
SNAPSHOTS = 1_000_000
REQUESTS = 200


def main() -> None:
    measure.migrate()
    names = tickers(MARKETS)
    for chunk in chunks(names, 1_000):
        store_markets(chunk)
    fill()
    start = (now() - timedelta(hours=12)).isoformat().replace("+00:00", "Z")
    reads = {
        "markets/?limit=100": lambda n: "/api/v1/markets/?limit=100",
        "markets/?limit=100, deep in the list": lambda n: (
            f"/api/v1/markets/?limit=100&skip={n * 20}"
        ),
        "one market": lambda n: f"/api/v1/markets/{names[n * 7]}/",
        "newest quote": lambda n: f"/api/v1/markets/{names[n * 7]}/latest/",
        "snapshots, 100 of a market": lambda n: f"/api/v1/markets/{names[n * 7]}/snapshots/",
        "snapshots, 12 hours": lambda n: f"/api/v1/markets/{names[n * 7]}/snapshots/?start={start}",
    }
    print(f"  {MARKETS:,} markets, {SNAPSHOTS:,} snapshots, {REQUESTS} requests each; p95")
    floor = percentile(response_times("health", lambda n: "/api/v1/health/")[1], 0.95)
    for name, address in reads.items():
        database, whole = response_times(name, address)
        report(
            f"{name}: whole response",
            f"{percentile(whole, 0.95) * 1000:.1f} ms",
            ratio=f"{percentile(whole, 0.95) / floor:.1f} x the health response",
            target="target 40 ms",
        )
        report(
            "  time in the database",
            f"{percentile(database, 0.95) * 1000:.1f} ms",
            target="target 5 ms",
        )


def fill() -> None:
    """Insert a day of evenly spaced snapshots for every market with one statement."""
    each = SNAPSHOTS // MARKETS
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO markets_marketsnapshot (id, market_id, timestamp, recorded_at, source,
                yes_bid, yes_ask, yes_bid_size, yes_ask_size, last_price, volume, open_interest,
                quality)
            SELECT gen_random_uuid(), market.id, at, at, 'POLL', 0.42, 0.45, 10, 20, 0.43, n, n, 0
            FROM generate_series(1, %s) AS n
            CROSS JOIN LATERAL (SELECT now() - n * (interval '1 day' / %s) AS at) AS time
            CROSS JOIN markets_market AS market
            """,
            [each, each],
        )
        cursor.execute("ANALYZE")


def response_times(name: str, address: Callable[[int], str]) -> tuple[list[float], list[float]]:
    """Measure the seconds in the database and in total, for each request."""
    client = Client(headers={"accept": "application/json", "host": "localhost"})
    database, whole = [], []
    for n in range(REQUESTS):
        stopwatch = Stopwatch()
        with connection.execute_wrapper(stopwatch):
            began = time.perf_counter()
            answer = client.get(address(n))
            whole.append(time.perf_counter() - began)
        assert answer.status_code == 200, (name, answer.status_code)
        database.append(stopwatch.seconds)
    return database, whole


if __name__ == "__main__":
    main()
