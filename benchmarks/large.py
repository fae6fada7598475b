"""Fifty million stored snapshots: reads, and dropping a day.

Not among the benchmarks that run by themselves: `make bench ARGS=large`. It takes about half an
hour and 15 GB of disk.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from random import Random
from unittest import mock

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
from markets.models import MarketSnapshot
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS, DayPartition

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
    days = days_on_record() or made(DAYS)
    tell_size(days)
    compare_indexes(days[-1])
    tell_reads("as it came", [days[-1]])
    tell_arranging(DayPartition(SNAPSHOTS, days[-1]))
    tell_reads("arranged", days)
    oldest = [DayPartition(SNAPSHOTS, day) for day in days[:DROPPED]]
    drops = [timed(partial(partitions.drop, piece, lambda: "")) for piece in oldest]
    report(f"dropping a day, the slowest of {DROPPED}", f"{max(drops):.2f} s", target="target 1 s")


def tell_reads(how: str, days: Sequence[date]) -> None:
    print(f"  days {how}: {len(days)}")
    for what, read in Reads(days).all.items():
        seconds = [in_database(read) for _ in range(READS)]
        others = f"median {median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
        p95 = f"{percentile(seconds, 0.95) * 1000:.1f} ms"
        report(what, p95, ratio=others, target="target 10 ms")


def tell_arranging(piece: DayPartition) -> None:
    """How long it takes, and for how long of it others have to wait."""
    exchange, alone = partitions._swap, []

    def timed_exchange(piece: DayPartition, new: str) -> None:
        alone.append(timed(lambda: exchange(piece, new)))

    with mock.patch.object(partitions, "_swap", timed_exchange):
        whole = timed(lambda: partitions.cluster(piece))
    report("arranging a day", f"{whole:.1f} s", ratio=f"others wait for {alone[-1] * 1000:.0f} ms")


def days_on_record() -> list[date]:
    """Those that are over, oldest first."""
    past = [piece for piece in partitions.partitions_of(SNAPSHOTS) if piece.day < now().date()]
    return [each.day for each in past if MarketSnapshot.objects.between(*each.bounds).exists()]


def made(count: int) -> list[date]:
    """So many days until yesterday, which lies as it came; those before are arranged."""
    days = [now().date() - n * timedelta(days=1) for n in range(count, 0, -1)]
    began = now()
    written = fill(days)
    report("snapshots", f"{written:,}", ratio=f"made in {(now() - began) / MINUTE:.0f} minutes")
    return days


def fill(days: Sequence[date]) -> int:
    begin_markets(MARKETS, before=days[0])
    partitions.create_missing(SNAPSHOTS, days)
    with ThreadPoolExecutor(WRITERS) as pool:
        count = sum(pool.map(write, days))
    for day in days[:-1]:
        partitions.cluster(DayPartition(SNAPSHOTS, day))
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


def tell_size(days: Sequence[date]) -> None:
    pieces = [DayPartition(SNAPSHOTS, day) for day in days]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) AS name",
            [[piece.name for piece in pieces]],
        )
        sizes = [float(row[0]) for row in cursor.fetchall()]
    rows = [partitions.count_rows(piece) for piece in pieces]
    each = f"{sizes[0] / rows[0]:.0f} bytes each if arranged, {sizes[-1] / rows[-1]:.0f} if not"
    report(f"{sum(rows):,} snapshots of {len(days)} days", f"{sum(sizes) / 1e9:.1f} GB", ratio=each)


def in_database(read: Callable[[], object]) -> float:
    watch = Stopwatch()
    with connection.execute_wrapper(watch):
        read()
    return watch.seconds


def compare_indexes(day: date) -> None:
    """All snapshots of one minute, found by the BRIN index, then by a btree."""
    piece = DayPartition(SNAPSHOTS, day)
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


def minutes_of(piece: DayPartition) -> list[float]:
    random, start = Random(2), piece.bounds[0]
    asked = [start + random.randrange(1_440) * MINUTE for _ in range(READS)]
    counted = [MarketSnapshot.objects.between(at, at + MINUTE) for at in asked]
    return [in_database(found.count) for found in counted]


if __name__ == "__main__":
    main()
