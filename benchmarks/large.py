"""Reads from fifty million stored snapshots, and clustering and dropping a day of them.

It runs on request only: `make bench ARGS=large`. It takes about half an hour and 15 GB of disk.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from random import Random
from unittest import mock

from django.db import connection

from benchmarks import measure
from benchmarks.cpu_time import Stopwatch
from benchmarks.large_reads import Reads
from benchmarks.measure import median, now, percentile, report, timed
from benchmarks.synthetic_history import (
    create_markets,
    fill_day,
    fill_polls,
    foreign_keys_unchecked,
    set_newest_quotes,
)
from markets.models import MarketSnapshot
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS, DayPartition

DAYS = 30
MARKETS = 2_000
# Each tick finds this many markets changed, which gives 1.68 million rows a day.
EACH = 98
READS = 200
WRITERS = 2
MINUTE = timedelta(minutes=1)
DROPPED = 3


def main() -> None:
    measure.migrate()
    days = days_on_record() or create_days(DAYS)
    report_size(days)
    compare_indexes(days[-1])
    report_reads("not clustered", [days[-1]])
    report_clustering(DayPartition(SNAPSHOTS, days[-1]))
    report_reads("clustered", days)
    oldest = [DayPartition(SNAPSHOTS, day) for day in days[:DROPPED]]
    drops = [timed(partial(partitions.drop, partition, lambda: "")) for partition in oldest]
    report(f"dropping a day, the slowest of {DROPPED}", f"{max(drops):.2f} s", target="target 1 s")


def report_reads(how: str, days: Sequence[date]) -> None:
    print(f"  days {how}: {len(days)}")
    for what, read in Reads(days).all.items():
        seconds = [in_database(read) for _ in range(READS)]
        others = f"median {median(seconds) * 1000:.1f} ms, longest {max(seconds) * 1000:.1f} ms"
        p95 = f"{percentile(seconds, 0.95) * 1000:.1f} ms"
        report(what, p95, ratio=others, target="target 10 ms")


def report_clustering(partition: DayPartition) -> None:
    """Report how long clustering takes, and for how long it blocks other sessions."""
    swap, blocked = partitions._swap, []

    def timed_swap(partition: DayPartition, copy: str) -> None:
        blocked.append(timed(lambda: swap(partition, copy)))

    with mock.patch.object(partitions, "_swap", timed_swap):
        whole = timed(lambda: partitions.cluster(partition))
    blocking = f"blocks other sessions for {blocked[-1] * 1000:.0f} ms"
    report("clustering a day", f"{whole:.1f} s", ratio=blocking)


def days_on_record() -> list[date]:
    """List the past days that have snapshots, oldest first."""
    past = [
        partition
        for partition in partitions.partitions_of(SNAPSHOTS)
        if partition.day < now().date()
    ]
    return [each.day for each in past if MarketSnapshot.objects.between(*each.bounds).exists()]


def create_days(count: int) -> list[date]:
    """Create this many days until yesterday. All but yesterday are clustered."""
    days = [now().date() - n * timedelta(days=1) for n in range(count, 0, -1)]
    began = now()
    written = fill(days)
    report("snapshots", f"{written:,}", ratio=f"created in {(now() - began) / MINUTE:.0f} minutes")
    return days


def fill(days: Sequence[date]) -> int:
    create_markets(MARKETS, before=days[0])
    partitions.create_missing(SNAPSHOTS, days)
    with ThreadPoolExecutor(WRITERS) as pool:
        count = sum(pool.map(write, days))
    for day in days[:-1]:
        partitions.cluster(DayPartition(SNAPSHOTS, day))
    fill_polls(days)
    set_newest_quotes(max(days))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    return count


def write(day: date) -> int:
    """Write a day's snapshots in the session of this thread."""
    try:
        with foreign_keys_unchecked():
            return fill_day(day, markets=MARKETS, each=EACH)
    finally:
        connection.close()


def report_size(days: Sequence[date]) -> None:
    measured = [DayPartition(SNAPSHOTS, day) for day in days]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) AS name",
            [[partition.name for partition in measured]],
        )
        sizes = [float(row[0]) for row in cursor.fetchall()]
    rows = [partitions.count_rows(partition) for partition in measured]
    each = f"{sizes[0] / rows[0]:.0f} bytes each if clustered, {sizes[-1] / rows[-1]:.0f} if not"
    report(f"{sum(rows):,} snapshots of {len(days)} days", f"{sum(sizes) / 1e9:.1f} GB", ratio=each)


def in_database(read: Callable[[], object]) -> float:
    watch = Stopwatch()
    with connection.execute_wrapper(watch):
        read()
    return watch.seconds


def compare_indexes(day: date) -> None:
    """Read all snapshots of a minute with the BRIN index, then with a btree index."""
    partition = DayPartition(SNAPSHOTS, day)
    by_brin = minutes_of(partition)
    with connection.cursor() as cursor:
        building = timed(
            lambda: cursor.execute(f"CREATE INDEX bench ON {partition.name} (timestamp)")
        )
        cursor.execute(f"ANALYZE {partition.name}")
        cursor.execute("SELECT pg_relation_size('bench')")
        size = cursor.fetchone()[0]
    by_btree = minutes_of(partition)
    for kind, seconds in (("BRIN", by_brin), ("a btree", by_btree)):
        report(
            f"all snapshots of a minute with {kind}", f"{percentile(seconds, 0.95) * 1000:.1f} ms"
        )
    report("  the btree", f"{size / 1e6:.0f} MB a day", ratio=f"built in {building:.1f} s")


def minutes_of(partition: DayPartition) -> list[float]:
    random, start = Random(2), partition.bounds[0]
    instants = [start + random.randrange(1_440) * MINUTE for _ in range(READS)]
    snapshots = [MarketSnapshot.objects.between(at, at + MINUTE) for at in instants]
    return [in_database(found.count) for found in snapshots]


if __name__ == "__main__":
    main()
