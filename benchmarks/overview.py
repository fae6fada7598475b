"""The rollup of 80,000 markets, and the pages that read it: overview, list of markets, an event."""

from datetime import UTC, datetime

from django.db import connection
from django.test import Client

from benchmarks import measure, titled_universe
from benchmarks.cpu_time import CpuTime, measure_cpu_time
from benchmarks.measure import median, percentile, report, timed
from markets.models import Event, MarketHour

REQUESTS = 30
HOURS = 30
TARGETS = {"list": 60}  # milliseconds
# Each market is quoted four times an hour, and moves a little each time.
QUOTES = """
    INSERT INTO markets_marketsnapshot
        (id, market_id, timestamp, recorded_at, source, quality, yes_bid, yes_ask)
    SELECT gen_random_uuid(), id, at, at, 'POLL', 0, bid, bid + 0.02
    FROM markets_market,
        generate_series(%s::timestamptz - %s * interval '1 hour', %s, '15 minutes') AS at,
        LATERAL (
            SELECT 0.05 + (id * 7 + extract(epoch FROM at)::bigint / 900 * (1 + id %% 3)) %% 90
                / 100.0 AS bid
        ) AS quoted
"""
NEWEST = """
    UPDATE markets_market SET yes_bid = 0.05 + id %% 90 / 100.0,
        yes_ask = 0.07 + id %% 90 / 100.0, quoted_at = %s, close_time = %s + interval '1 day',
        settlement_ts = CASE WHEN status = 'finalized' THEN %s - id * interval '1 second' END
"""


def main() -> None:
    measure.migrate()
    titled_universe.create()
    at = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute(QUOTES, [at, HOURS, at])
        quotes = cursor.rowcount
        cursor.execute(NEWEST, [at, at, at])
        cursor.execute("VACUUM ANALYZE")
        print(f"  {titled_universe.MARKETS:,} markets, {quotes:,} quotes of {HOURS} hours")
    reading = timed(count_two_sided)
    whole = timed(lambda: MarketHour.objects.rebuild(now=at))
    again = timed(lambda: MarketHour.objects.roll_up(now=at))
    report(
        "the rollup made anew",
        f"{whole:.1f} s",
        ratio=f"{whole / reading:.1f} x a count of the same quotes ({reading:.1f} s)",
    )
    report("brought up to date, every ten minutes", f"{again:.2f} s")
    event = Event.objects.order_by("pk")[5]
    for name, address in {
        "overview": "/",
        "list": "/markets/",
        "list by the move of an hour": "/markets/?ordering=-move_1h",
        "event": event.get_absolute_url(),
        "chart of an event": f"{event.get_absolute_url()}chart.json",
    }.items():
        report_page(name, address)


def count_two_sided() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(yes_bid + yes_ask), count(market_id) FROM markets_marketsnapshot"
        )


def report_page(name: str, address: str) -> None:
    used = [cost(address) for _ in range(REQUESTS)]
    target = TARGETS.get(name)
    report(
        f"{name}: CPU time of a response, p95 of {REQUESTS}",
        f"{percentile([each.processor for each in used], 0.95) * 1000:.1f} ms",
        ratio=f"in the database {median([each.database for each in used]) * 1000:.1f},"
        f" median {median([each.processor for each in used]) * 1000:.1f} ms",
        target=f"target {target} ms" if target else "",
    )


def cost(address: str) -> CpuTime:
    """The CPU time of a response, here and in the database."""
    client = Client(headers={"host": "localhost"})

    def get() -> None:
        assert client.get(address).status_code == 200, address

    return measure_cpu_time(get)


if __name__ == "__main__":
    main()
