"""Exports of a million snapshots of one market through gunicorn, compared with a bare COPY.

That is 59 days of a market that changes in every tick.
"""

import time
from datetime import timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from django.db import connection

from benchmarks import measure
from benchmarks.api import running_server
from benchmarks.measure import median, now, report, timed
from benchmarks.synthetic_history import create_markets, fill_day, foreign_keys_unchecked
from markets.api.timeseries_serializers import SNAPSHOTS as COLUMNS
from markets.models import Market
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS

ROWS = 1_000_000
DAYS = 59
ROUNDS = 3
# Seconds; 0 means no target.
TARGETS = {"parquet": 5, "csv": 15, "arrow": 0}
MOST_MEMORY = 100
READ_AT_ONCE = 256 * 1024


class Download(NamedTuple):
    seconds: float
    until_first_byte: float
    size: int


def main() -> None:
    measure.migrate()
    ticker = fill()
    copying = median([timed(partial(copy, ticker)) for _ in range(ROUNDS)])
    report(f"COPY of {ROWS:,} snapshots to CSV, median of {ROUNDS}", f"{copying:.2f} s")
    for form, target in TARGETS.items():
        # Each format gets a fresh server, because memory that an export took may be kept.
        with running_server() as web:
            export(web.port, ticker, "csv", limit=1)
            before = megabytes(web.pid, "VmRSS")
            rounds = [export(web.port, ticker, form)]
            rise = megabytes(web.pid, "VmHWM") - before
            rounds += [export(web.port, ticker, form) for _ in range(ROUNDS - 1)]
        report_export(form, rounds, copying, target)
        report(
            "  growth of memory in the first export",
            f"{rise:.0f} MB",
            target=f"target {MOST_MEMORY} MB",
        )


def fill() -> str:
    days = [now().date() - n * timedelta(days=1) for n in range(1, DAYS + 1)]
    create_markets(1, before=days[-1])
    partitions.create_missing(SNAPSHOTS, days)
    with foreign_keys_unchecked():
        count = sum(fill_day(day, markets=1, each=1) for day in days)
    assert count >= ROWS
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return Market.objects.get().ticker


def copy(ticker: str) -> None:
    """COPY the same rows and columns in the same order, formatted by PostgreSQL alone."""
    columns = ", ".join("market_id" if name == "ticker" else name for name in COLUMNS)
    rows = f"""
        SELECT {columns} FROM {SNAPSHOTS}
        WHERE market_id = (SELECT id FROM markets_market WHERE ticker = '{ticker}')
        ORDER BY timestamp, id LIMIT {ROWS}"""
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY ({rows}) TO STDOUT (FORMAT csv)") as lines,
    ):
        assert sum(1 for _ in lines) >= ROWS


def export(port: int, ticker: str, form: str, *, limit: int = ROWS) -> Download:
    began = time.perf_counter()
    client = HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("GET", f"/api/v1/markets/{ticker}/snapshots/?format={form}&limit={limit}")
    answer = client.getresponse()
    assert answer.status == 200, answer.read()
    room, size = bytearray(READ_AT_ONCE), len(answer.read(1))
    first = time.perf_counter() - began
    while read := answer.readinto(room):
        size += read
    client.close()
    return Download(time.perf_counter() - began, first, size)


def report_export(form: str, rounds: list[Download], copying: float, target: int) -> None:
    taken = sorted(rounds)[len(rounds) // 2]
    report(
        f"{form} of {ROWS:,} snapshots, {taken.size / 1e6:.0f} MB",
        f"{taken.seconds:.2f} s",
        ratio=f"{taken.seconds / copying:.1f} x COPY, first byte"
        f" {taken.until_first_byte * 1000:.0f} ms",
        target=f"target {target} s" if target else "",
    )


def megabytes(pid: int, what: str) -> float:
    """The memory of a process and its children together; NaN on systems other than Linux."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        return float("nan")
    pids = [pid, *map(int, children.read_text().split())]
    return sum(memory(each)[what] for each in pids)


def memory(pid: int) -> dict[str, float]:
    """Read the current (VmRSS) and the peak (VmHWM) memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith(("VmRSS", "VmHWM"))]
    return {name.rstrip(":"): int(number) / 1024 for name, number, _ in words}


if __name__ == "__main__":
    main()
