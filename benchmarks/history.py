"""Recorded days made by the database itself: snapshots in the order, and of the widths, of life.

A tick of 5 seconds finds some of the markets changed, page by page. Ids are made as ours are, of
the time first. Foreign keys are not checked while this is written.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta

from django.db import connection

from benchmarks.measure import chunks, tickers
from benchmarks.recording import begin
from markets.models import Market, MarketRevision, Sweep
from markets.storage.partitions import SNAPSHOTS, Piece

TICKS = 17_280
INTERVAL = "5 s"
# Nobody was recording in these ticks of each day: ten minutes.
GAP = range(5_000, 5_120)

SNAPSHOT_ID = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7'
    || substr(digest, 1, 3) || '8' || substr(digest, 4, 15))::uuid"""
# A tenth of the markets lack one side of their book.
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
    """Snapshots of a day's ticks, each of them finding `each` markets changed; how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            FILL,
            {
                "first": Market.objects.order_by("id").values_list("id", flat=True)[0],
                "markets": markets,
                "start": Piece(SNAPSHOTS, day).span[0],
                "interval": INTERVAL,
                "ticks": TICKS,
                "each": each,
                "gap": GAP.start,
                "over": GAP.stop,
            },
        )
        written: int = cursor.rowcount
    return written


# Each day's runs, with a complete pass of the hot list in each, and of the universe in each sixth.
POLLS = """
    INSERT INTO markets_poll (started_at, finished_at, pages, requests, bytes, throttled, markets,
        snapshots, rejected, order_books, rejects, ages, error, warning)
    SELECT at, at + interval '400 ms', 9, 9, 800000, 0, 2000, 98, 0, 0, '[]', '{}', '', ''
    FROM ticks
"""
SWEEPS = """
    INSERT INTO markets_sweep (tier, started_at, finished_at, complete, markets, skipped, pages,
        cursor)
    SELECT tier, at, at + interval '300 ms', true, 2000, '{}', pages, ''
    FROM ticks JOIN (VALUES ('hot', 1, 9), ('universe', 6, 55)) AS tiers (tier, every, count)
        ON n % every = 0
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM at) + k * 0.03, 222, 'KXBENCH-' || k))
            AS pages FROM generate_series(1, count) AS k) AS listed
"""


def fill_ledger(days: Sequence[date]) -> None:
    """Runs and passes of these days, and all markets hot since before them."""
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
    """As the recorder leaves them: each market's newest quote is that of its newest snapshot."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""UPDATE markets_market AS market SET quoted_at = newest.timestamp,
                    yes_bid = newest.yes_bid, yes_ask = newest.yes_ask
                FROM (SELECT DISTINCT ON (market_id) * FROM {SNAPSHOTS} WHERE timestamp >= %s
                      ORDER BY market_id, timestamp DESC) AS newest
                WHERE market.id = newest.market_id""",
            [Piece(SNAPSHOTS, newest).span[0]],
        )


@contextmanager
def foreign_keys_unchecked() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("RESET session_replication_role")


def begin_markets(count: int, *, before: date) -> None:
    """Markets that were open, and known, before that day."""
    for chunk in chunks(tickers(count), 2_000):
        begin(chunk)
    since = Piece(SNAPSHOTS, before).span[0] - timedelta(days=1)
    Market.objects.update(open_time=since)
    MarketRevision.objects.update(open_time=since, known_at=since)
