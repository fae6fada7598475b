"""Account of a recorder at work: its first minutes, its cadence, ages, disk and updates."""

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from django.db import connection

from benchmarks.bulk import observations, record
from benchmarks.cadence import report_slots
from benchmarks.cpu_time import measure_cpu_time
from benchmarks.measure import median, now, percentile, report
from benchmarks.recorded_universe import Site, progress
from benchmarks.storage import report_growth, spread_heartbeats
from markets.models import DiskUsage, Market

FIRST_MINUTES = timedelta(minutes=2)
HOUR = 3_600
UPDATED, ROUNDS = 2_000, 20

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
    spread_heartbeats()
    began, updates, disk = now(), table_updates(), DiskUsage.objects.measure(at=now())
    site.stay(seconds)
    slots(f"{seconds:.0f} s of recording", began)
    report_ages(began)
    hours = (now() - began).total_seconds() / HOUR
    report_growth(disk, DiskUsage.objects.measure(at=now()), hours=hours)
    report_written(began, hours=hours)
    report_hot(updates)


def rows(sql: str, *parameters: datetime) -> list[tuple[Any, ...]]:
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


def report_written(began: datetime, *, hours: float) -> None:
    snapshots, markets, received = (float(each) / hours for each in rows(WRITTEN, began)[0])
    ratio = f"of {markets:,.0f} quotes read, {received / 1e9:.1f} GB received"
    report("  snapshots, an hour", f"{snapshots:,.0f}", ratio=ratio)


# --- updates ------------------------------------------------------------------------------------


def table_updates() -> dict[str, tuple[int, int]]:
    with connection.cursor() as cursor:
        # A session tells its own counts once a second at most.
        cursor.execute("SELECT pg_stat_force_next_flush()")
    return {name: (count, hot) for name, count, hot in rows(UPDATES)}


def report_hot(before: Mapping[str, tuple[int, int]]) -> None:
    """Report the tables with many updates since, and how many of these touched no index (HOT)."""
    for table, (updates, hot) in sorted(table_updates().items()):
        counted, was_hot = before.get(table, (0, 0))
        if (more := updates - counted) >= UPDATED:
            report(
                f"  updates of {table}, HOT", f"{(hot - was_hot) / more:.1%}", ratio=f"of {more:,}"
            )


def report_updates() -> None:
    """Report the update of 2,000 quotes, without a recorder beside it."""
    traded = Market.objects.filter(ticker__in=Market.objects.most_traded(UPDATED))
    ids = list(traded.values_list("pk", flat=True))
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
    report_hot(before)
