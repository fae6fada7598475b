"""Account of a recorder at work: its first minutes, its cadence, ages, disk and updates."""

import os
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import psycopg
from django.db import connection

from benchmarks.bulk import observations, record
from benchmarks.cadence import report_slots
from benchmarks.cpu_time import measure_cpu_time
from benchmarks.measure import median, now, percentile, report
from benchmarks.recorded_universe import Site, progress
from markets.models import Market

FIRST_MINUTES = timedelta(minutes=2)
HOUR = 3_600
UPDATED, ROUNDS = 2_000, 20
MOST_DISK = 250  # megabytes an hour

SIZES = """
    SELECT coalesce(pg_partition_root(oid), oid)::regclass::text AS name,
        sum(pg_total_relation_size(oid))
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1
"""
UPDATES = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE n_tup_upd > 0"
AGES = """
    SELECT tier, percentile_cont(0.5) WITHIN GROUP (ORDER BY (age ->> 'p50')::float),
        max((age ->> 'p95')::float), max((age ->> 'max')::float)
    FROM markets_poll CROSS JOIN LATERAL jsonb_each(ages) AS measured (tier, age)
    WHERE started_at >= %s GROUP BY tier ORDER BY tier
"""
PASSES = """
    SELECT count(*), coalesce(avg(extract(epoch FROM finished_at - started_at)), 0),
        coalesce(max(extract(epoch FROM finished_at - started_at)), 0)
    FROM markets_sweep WHERE tier = 'universe' AND complete AND started_at >= %s
"""
WRITTEN = """
    SELECT coalesce(sum(snapshots), 0), coalesce(sum(markets), 0), coalesce(sum(bytes), 0)
    FROM markets_poll WHERE started_at >= %s
"""


def report_start(site: Site) -> None:
    """Report the first two minutes of a recorder that found an empty database."""
    began = site.first_run()
    ended = began + FIRST_MINUTES
    whole = site.first_pass()
    assert whole.finished_at is not None
    seconds = (whole.finished_at - began).total_seconds()
    report(f"seconds until {whole.markets:,} markets were recorded once", f"{seconds:.1f} s")
    site.stay(max((ended - now()).total_seconds(), 0.0))
    slots("first two minutes", began, ended)


def slots(when: str, began: datetime, ended: datetime | None = None) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as reader:
        report_slots(when, reader, began, ended=ended)


def report_stretch(site: Site, seconds: float) -> None:
    """Report what the recorder does and writes while nobody asks for anything."""
    progress(f"recording for {seconds:.0f} s")
    began, sizes, updates = now(), table_sizes(), table_updates()
    site.stay(seconds)
    slots(f"{seconds:.0f} s of recording", began)
    report_ages(began)
    report_disk(sizes, (now() - began).total_seconds())
    report_written(began)
    for table, (count, share) in updates_since(updates):
        report(f"  updates of {table}, HOT", f"{share:.1%}", ratio=f"of {count:,}")


def rows(sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def report_ages(began: datetime) -> None:
    [(count, typical, longest)] = rows(PASSES, began)
    report(
        "passes of the universe",
        f"{count}",
        ratio=f"took {typical:.1f} s, the longest {longest:.1f} s",
        target="target 30 s",
    )
    for tier, p50, p95, oldest in rows(AGES, began):
        ratio = f"p95 {p95:.1f} s, oldest {oldest:.1f} s"
        report(f"  ages, {tier}: p50", f"{p50:.1f} s", ratio=ratio)


def report_written(began: datetime) -> None:
    [(snapshots, markets, received)] = rows(WRITTEN, began)
    seconds = (now() - began).total_seconds()
    report(
        "  snapshots an hour",
        f"{float(snapshots) / seconds * HOUR:,.0f}",
        ratio=f"of {float(markets) / seconds * HOUR:,.0f} quotes read;"
        f" {float(received) / seconds * HOUR / 1e9:.1f} GB received",
    )


# --- disk ---------------------------------------------------------------------------------------


def table_sizes() -> dict[str, int]:
    """The bytes of every table with its indexes, partitions together."""
    return {name: int(size) for name, size in rows(SIZES)}


def report_disk(before: Mapping[str, int], seconds: float) -> None:
    """Report what each table has grown by, an hour of it.

    Heartbeats of markets that do not move come an hour after their last change, so they are not
    in what is measured soon after a start.
    """
    growth = {name: size - before.get(name, 0) for name, size in table_sizes().items()}
    hourly = {name: more / seconds * HOUR / 1e6 for name, more in growth.items() if more > 0}
    report("disk an hour", f"{sum(hourly.values()):.0f} MB", target=f"target {MOST_DISK} MB")
    for name, megabytes in sorted(hourly.items(), key=lambda each: -each[1]):
        if megabytes >= 0.1:
            report(f"  {name}", f"{megabytes:.1f} MB")


# --- updates ------------------------------------------------------------------------------------


class Updates(NamedTuple):
    count: int
    share: float  # of those that touched no index


def table_updates() -> dict[str, tuple[int, int]]:
    with connection.cursor() as cursor:
        # A session tells its own counts once a second at most.
        cursor.execute("SELECT pg_stat_force_next_flush()")
    return {name: (count, hot) for name, count, hot in rows(UPDATES)}


def updates_since(before: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, Updates]]:
    """Yield the tables with the most updates."""
    for name, (count, hot) in sorted(table_updates().items()):
        counted, was_hot = before.get(name, (0, 0))
        if count - counted >= UPDATED:
            yield name, Updates(count - counted, (hot - was_hot) / (count - counted))


def report_updates() -> None:
    """Report the update of 2,000 quotes, without a recorder beside it."""
    traded = Market.objects.open().ordered_by("-volume_24h")
    ids = list(traded.values_list("pk", flat=True)[:UPDATED])
    before = table_updates()
    used = []
    for _ in range(ROUNDS):
        batch = observations(ids, now())
        used.append(measure_cpu_time(partial(record, batch)))
    clock = [each.clock for each in used]
    report(
        f"write of {len(ids):,} quotes, median of {ROUNDS}",
        f"{median(clock) * 1000:.0f} ms",
        ratio=f"p95 {percentile(clock, 0.95) * 1000:.0f} ms; CPU"
        f" {median([each.python for each in used]) * 1000:.0f} ms Python,"
        f" {median([each.database for each in used]) * 1000:.0f} ms database",
    )
    for table, (count, share) in updates_since(before):
        report(f"  updates of {table}, HOT", f"{share:.1%}", ratio=f"of {count:,}")
