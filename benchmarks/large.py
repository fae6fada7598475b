"""Fifty million stored snapshots: reads, and dropping a day.

Not among the benchmarks that run by themselves: `make bench ARGS=large`. It takes about a
quarter of an hour and 15 GB of disk.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from random import Random

from django.db import connection

from benchmarks import measure
from benchmarks.history import (
    begin_markets,
    fill_day,
    fill_ledger,
    foreign_keys_unchecked,
    set_newest_quotes,
)
from benchmarks.measure import median, now, percentile, report, timed
from benchmarks.reads import Reads
from benchmarks.spending import Stopwatch
from markets import partitions
from markets.models import MarketSnapshot
from markets.partitions import SNAPSHOTS, Piece

DAYS = 30
MARKETS = 2_000
# That a tick finds changed: 1.68 million rows a day.
EACH = 98
READS = 200
WRITERS = 2
MINUTE = timedelta(minutes=1)
DROPPED = 3


def main() -> None:
    measure.migrate()
    days = [now().date() - n * timedelta(days=1) for n in range(1, DAYS + 1)]
    began = now()
    tell_size(fill(days), days, minutes=(now() - began) / MINUTE)
    for what, read in Reads(days).all.items():
        seconds = [in_database(read) for _ in range(READS)]
        others = f"median {median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
        p95 = f"{percentile(seconds, 0.95) * 1000:.1f} ms"
        report(what, p95, ratio=others, target="target 10 ms")
    compare_indexes(days[0])
    oldest = [Piece(SNAPSHOTS, day) for day in days[-DROPPED:]]
    drops = [timed(partial(partitions.drop, piece, lambda: "")) for piece in oldest]
    report(f"dropping a day, the slowest of {DROPPED}", f"{max(drops):.2f} s", target="target 1 s")


def fill(days: Sequence[date]) -> int:
    begin_markets(MARKETS, before=days[-1])
    partitions.make(SNAPSHOTS, days)
    with ThreadPoolExecutor(WRITERS) as pool:
        count = sum(pool.map(write, days))
    fill_ledger(days)
    set_newest_quotes(max(days))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    return count


def write(day: date) -> int:
    """A day's snapshots, in a thread and so in a session of its own."""
    try:
        with foreign_keys_unchecked():
            return fill_day(day, markets=MARKETS, each=EACH)
    finally:
        connection.close()


def tell_size(count: int, days: Sequence[date], *, minutes: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS name",
            [[Piece(SNAPSHOTS, day).name for day in days]],
        )
        size = float(cursor.fetchone()[0])
    whole = f"{size / count:.0f} bytes each, made in {minutes:.0f} minutes"
    report(f"{count:,} snapshots of {DAYS} days", f"{size / 1e9:.1f} GB", ratio=whole)


def in_database(read: Callable[[], object]) -> float:
    watch = Stopwatch()
    with connection.execute_wrapper(watch):
        read()
    return watch.seconds


def compare_indexes(day: date) -> None:
    """All snapshots of one minute, found by the BRIN index, then by a btree."""
    piece = Piece(SNAPSHOTS, day)
    by_brin = minutes_of(piece)
    with connection.cursor() as cursor:
        building = timed(lambda: cursor.execute(f"CREATE INDEX bench ON {piece.name} (timestamp)"))
        cursor.execute(f"ANALYZE {piece.name}")
        cursor.execute("SELECT pg_relation_size('bench')")
        size = cursor.fetchone()[0]
    by_btree = minutes_of(piece)
    for kind, seconds in (("BRIN", by_brin), ("a btree", by_btree)):
        report(
            f"all snapshots of one minute by {kind}", f"{percentile(seconds, 0.95) * 1000:.1f} ms"
        )
    report("  the btree", f"{size / 1e6:.0f} MB a day", ratio=f"built in {building:.1f} s")


def minutes_of(piece: Piece) -> list[float]:
    random, start = Random(2), piece.span[0]
    asked = [start + random.randrange(1_440) * MINUTE for _ in range(READS)]
    counted = [MarketSnapshot.objects.between(at, at + MINUTE) for at in asked]
    return [in_database(found.count) for found in counted]


if __name__ == "__main__":
    main()
