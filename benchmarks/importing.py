"""Imports of quotes: `importdata` compared with a bare COPY of the same rows.

The reference copies the rows that the import has written, prepared as text, into the same
partitions, emptied before, in batches as large as its. Both are told by CPU time, with the database
server's, and by wall time; the import's has the look at the whole file before it.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import islice
from pathlib import Path

import numpy as np
from django.core.management import call_command
from django.db import connection, transaction

from benchmarks import measure
from benchmarks.child_process import print_result, run_benchmark
from benchmarks.cpu_time import CpuTime, measure_cpu_time
from benchmarks.measure import report
from markets.importing.reading.description import Description
from markets.importing.reading.parquet_file import ROWS_PER_BATCH
from markets.importing.reading.source_file import SourceFile
from markets.models import Import
from markets.models.imports import Kind
from markets.storage.partitions import SNAPSHOTS

ROWS, MOST_ROWS = 1_000_000, 10_000_000
MARKETS = 2_000
START = 1_793_491_200  # 2026-11-01, in seconds since 1970
ROWS_A_SECOND = 5
COLUMNS = (
    "id, market_id, timestamp, recorded_at, source, sequence, quality, yes_bid, yes_ask,"
    " yes_bid_size, yes_ask_size, last_price, volume, open_interest"
)
WRITTEN_AT_ONCE = 100_000


def main() -> None:
    measure.migrate()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder))
        large = run_benchmark("importing", folder, MOST_ROWS)
    report(
        f"peak memory for {MOST_ROWS:,} rows",
        f"{large['megabytes']:.0f} MB",
        ratio=f"{large['rows'] / large['seconds']:,.0f} rows/s of wall time",
        target="target 500 MB",
    )


def compare(folder: Path) -> None:
    file = write_quotes(folder / "quotes.csv", ROWS)
    megabytes = file.stat().st_size / 1e6
    read = measure_cpu_time(lambda: survey(file))
    report(f"reading {ROWS:,} rows, {megabytes:.0f} MB", rate(read), ratio=read.parts)
    # A first run grows the files of the empty tables, and leaves the rows for the reference.
    import_quotes(file)
    rows = folder / "rows.copy"
    save_rows(rows)
    bare = from_empty(lambda: bare_copy(rows))
    imported = from_empty(lambda: import_quotes(file))
    report("bare COPY", rate(bare), ratio=bare.parts)
    share = f"{bare.processor / imported.processor:.0%} of a bare COPY; "
    report(
        "importdata quotes",
        rate(imported),
        ratio=share + imported.parts,
        target="target 60 % and 35,000/s",
    )


def write_quotes(path: Path, rows: int) -> Path:
    """Write quotes with sizes, all markets by turns, in order of time."""
    random = np.random.default_rng(7)
    with path.open("w") as file:
        file.write("ticker,timestamp,yes_bid,yes_ask,yes_bid_size,yes_ask_size,last_price,volume\n")
        for first in range(0, rows, WRITTEN_AT_ONCE):
            file.writelines(lines(np.arange(first, min(first + WRITTEN_AT_ONCE, rows)), random))
    return path


def lines(numbers: np.ndarray, random: np.random.Generator) -> Iterator[str]:
    bid = random.integers(1, 97, len(numbers))
    sizes = random.integers(1, 100_000, (3, len(numbers)))
    columns = (numbers, bid, *sizes)
    for n, cents, *of_row in zip(*(column.tolist() for column in columns), strict=True):
        at = START + n / ROWS_A_SECOND
        yield (
            f"KXBENCH-26NOV-T{n % MARKETS},{at:.3f},0.{cents:02},0.{cents + 2:02},"
            f"{of_row[0]},{of_row[1]}.50,0.{cents + 1:02},{of_row[2]}\n"
        )


def survey(file: Path) -> None:
    assert not SourceFile(file, Description(kind=Kind.QUOTES)).survey().refused


def import_quotes(file: Path) -> None:
    call_command("importdata", "quotes", str(file), stdout=StringIO())


def save_rows(path: Path) -> None:
    with path.open("wb") as file, connection.cursor() as cursor:
        statement = f"COPY (SELECT {COLUMNS} FROM {SNAPSHOTS} ORDER BY sequence) TO STDOUT"
        with cursor.copy(statement) as copy:
            file.writelines(copy)


def bare_copy(path: Path) -> None:
    statement = f"COPY {SNAPSHOTS} ({COLUMNS}) FROM STDIN"
    with path.open("rb") as file:
        while batch := b"".join(islice(file, ROWS_PER_BATCH)):
            with transaction.atomic(), connection.cursor() as cur, cur.copy(statement) as copy:
                copy.write(batch)


def from_empty(work: Callable[[], None]) -> CpuTime:
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {SNAPSHOTS}")
        cursor.execute("CHECKPOINT")
    Import.objects.all().delete()
    return measure_cpu_time(work)


def rate(took: CpuTime) -> str:
    return f"{ROWS / took.processor:,.0f}/s"


def import_many(folder: Path, rows: int) -> None:
    """Import a file in a process of its own, and print its peak memory."""
    file = write_quotes(folder / "many.csv", rows)
    began = time.perf_counter()
    import_quotes(file)
    print_result({"rows": rows, "seconds": time.perf_counter() - began})


if __name__ == "__main__":
    import_many(Path(sys.argv[1]), int(sys.argv[2])) if sys.argv[1:] else main()
