"""Synthetic days of recorded snapshots, generated in the database.

Snapshots have a realistic order and width: a tick of 5 seconds finds some of the markets changed,
page by page, and ids begin with the time, as real ones do. Foreign keys are not checked.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

from django.db import connection

from benchmarks.measure import chunks, tickers
from benchmarks.recording import store_markets
from markets.models import Market, MarketRevision, Sweep
from markets.storage.partitions import SNAPSHOTS, DayPartition

TICKS = 17_280
INTERVAL = "5 s"
# Each day has a gap of ten minutes without a recorder.
GAP = range(5_000, 5_120)

SNAPSHOT_ID = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
    || substr(digest, 1, 3) || '8' || substr(digest, 4, 15))::uuid"""
# A tenth of the quotes lack one side.
QUOTES = """
    CASE WHEN odd < 0.05 THEN NULL ELSE round((0.02 + 0.93 * likely)::numeric, 2) END AS yes_bid,
    CASE WHEN odd > 0.95 THEN NULL ELSE round((0.04 + 0.93 * likely)::numeric, 2) END AS yes_ask,
    CASE WHEN odd < 0.05 THEN NULL ELSE round((5000 * random() ^ 3)::numeric, 2) END
        AS yes_bid_size,
    CASE WHEN odd > 0.95 THEN NULL ELSE round((5000 * random() ^ 3)::numeric, 2) END
        AS yes_ask_size,
    round((0.03 + 0.93 * likely)::numeric, 2) AS last_price,
    round((100000 * random() ^ 3)::numeric, 2) AS volume,
    round((50000 * random() ^ 3)::numeric, 2) AS open_interest
"""
FILL = f"""
    INSERT INTO {SNAPSHOTS} (id, market_id, timestamp, recorded_at, quality, source, yes_bid,
        yes_ask, yes_bid_size, yes_ask_size, last_price, volume, open_interest)
    SELECT {SNAPSHOT_ID}, market_id, at, at + interval '90 ms', 0, 'POLL', {QUOTES}
    FROM (
        SELECT %(first)s + (7919 * n + 17 * k) %% %(markets)s AS market_id,
            %(start)s + n * %(interval)s::interval + k / 13 * interval '30 ms' AS at,
            md5(random()::text) AS digest, random() AS odd, random() AS likely
        FROM generate_series(0, %(ticks)s - 1) AS n CROSS JOIN generate_series(0, %(each)s - 1) AS k
        WHERE n < %(gap)s OR n >= %(over)s
    ) AS observed
"""


def fill_day(day: date, *, markets: int, each: int) -> int:
    """Insert the snapshots of a day, `each` per tick; returns their number."""
    with connection.cursor() as cursor:
        cursor.execute(
            FILL,
            {
                "first": Market.objects.order_by("id").values_list("id", flat=True)[0],
                "markets": markets,
                "start": DayPartition(SNAPSHOTS, day).bounds[0],
                "interval": INTERVAL,
                "ticks": TICKS,
                "each": each,
                "gap": GAP.start,
                "over": GAP.stop,
            },
        )
        written: int = cursor.rowcount
    return written


# Each run sweeps the hot list completely, and every sixth run the universe.
POLLS = """
    INSERT INTO markets_poll (started_at, finished_at, pages, requests, bytes, throttled, markets,
        snapshots, rejected, order_books, rejects, ages, error, warning, since_last)
    SELECT at, at + interval '400 ms', 9, 9, 800000, 0, 2000, 98, 0, 0, '[]', '{}', '', '',
        at - interval '400 ms' - lag(at) OVER (ORDER BY at)
    FROM ticks
"""
SWEEPS = """
    INSERT INTO markets_sweep (tier, started_at, finished_at, complete, markets, skipped, pages,
        cursor, by_market)
    SELECT tier, at, at + interval '300 ms', true, 2000, '{}', pages, '', false
    FROM ticks JOIN (VALUES ('hot', 1, 9), ('universe', 6, 55)) AS tiers (tier, every, count)
        ON n % every = 0
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM at) + k * 0.03, 222, 'KXBENCH-' || k))
            AS pages FROM generate_series(1, count) AS k) AS listed
"""


def fill_polls(days: Sequence[date]) -> None:
    """Insert the polls and sweeps of these days, with all markets hot throughout."""
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE TEMP TABLE ticks AS
               SELECT n, day::timestamptz + n * %s::interval AS at
               FROM unnest(%s::date[]) AS day CROSS JOIN generate_series(0, %s - 1) AS n
               WHERE n < %s OR n >= %s ORDER BY at""",
            [INTERVAL, list(days), TICKS, GAP.start, GAP.stop],
        )
        cursor.execute(POLLS)
        cursor.execute(SWEEPS)
        Sweep.objects.store_lateness()
        cursor.execute(
            """INSERT INTO markets_hotperiod (market_id, started_at)
               SELECT id, open_time FROM markets_market"""
        )


def set_newest_quotes(newest: date) -> None:
    """Set each market's newest quote to its newest snapshot, as the recorder does."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE markets_market AS market SET quoted_at = newest.timestamp,
                    yes_bid = newest.yes_bid, yes_ask = newest.yes_ask
                FROM (SELECT DISTINCT ON (market_id) * FROM {SNAPSHOTS} WHERE timestamp >= %s
                      ORDER BY market_id, timestamp DESC) AS newest
                WHERE market.id = newest.market_id""",
            [DayPartition(SNAPSHOTS, newest).bounds[0]],
        )


@contextmanager
def foreign_keys_unchecked() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("RESET session_replication_role")


def create_markets(count: int, *, before: date) -> None:
    """Create markets that were open and known before that day."""
    for chunk in chunks(tickers(count), 2_000):
        store_markets(chunk)
    since = DayPartition(SNAPSHOTS, before).bounds[0] - timedelta(days=1)
    Market.objects.update(open_time=since)
    MarketRevision.objects.update(open_time=since, known_at=since)
