"""Bulk writes: `MarketSnapshot.objects.record` compared with a bare COPY of the same rows.

The reference copies prepared rows into the same partition, emptied before, with the same indexes,
constraints and transactions. Rates are rows per second of CPU time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random
from typing import TypeVar

from django.db import connection, transaction

from benchmarks import measure
from benchmarks.cpu_time import CpuTime, measure_cpu_time
from benchmarks.measure import chunks, median, now, report, tickers, timed
from benchmarks.recording import store_markets
from markets.models import Market, MarketSnapshot, Source
from markets.models.fields import Quote
from markets.models.snapshots import SNAPSHOT_COLUMNS, STAGED, Observation, content_of, snapshot_id
from markets.storage.partitions import SNAPSHOTS, DayPartition

MARKETS = 10_000
BATCHES = 20
COUNT = MARKETS * BATCHES
COLUMNS = (*SNAPSHOT_COLUMNS, "source", "recorded_at")
TYPES = [STAGED[column] for column in SNAPSHOT_COLUMNS] + ["text", "timestamptz"]
SMALL_BATCHES = (20, 200, 2_000)
ROUNDS = 40
ONCE = "ON CONFLICT DO NOTHING"

Row = tuple[object, ...]
T = TypeVar("T")


def main() -> None:
    measure.migrate()
    for chunk in chunks(tickers(MARKETS), 2_000):
        store_markets(chunk)
    ids = Market.objects.order_by("id").values_list("id", flat=True)
    start = now().replace(hour=0, minute=0, second=0, microsecond=0)
    observed = [observations(ids, start + timedelta(seconds=5 * n)) for n in range(BATCHES)]
    rows = [[row(observation) for observation in batch] for batch in observed]
    write_batches(bare_copy, rows)  # a first run grows the files of the empty table
    bare = write_batches(bare_copy, rows)
    report(f"bare COPY of {COUNT:,} rows", rate(bare), ratio=bare.parts)
    backfill = partial(record, source=Source.BACKFILL)
    report_rate(
        "older than the newest quotes",
        write_batches(backfill, observed),
        bare,
        target="target 60 %",
    )
    report_rate("each the newest quote", write_batches(record, observed), bare)
    for batch_size in SMALL_BATCHES:
        compare(batch_size, rows)


def observations(ids: Iterable[int], at: datetime) -> list[Observation]:
    """Make observations that arrive in pages of 240 markets."""
    random = Random(at.timestamp())
    return [
        Observation(id, at + timedelta(milliseconds=30 * (n // 240)), quote(random), 0, *DAY_OLD)
        for n, id in enumerate(ids)
    ]


DAY_OLD = (Decimal("50.00"), Decimal("0.4100"), 1)


def quote(random: Random) -> Quote:
    bid = Decimal(random.randrange(100, 9_800)).scaleb(-4)
    sizes = [Decimal(random.randrange(100, 1_000_000)).scaleb(-2) for _ in range(4)]
    return Quote._make((bid, bid + Decimal("0.0200"), *sizes[:2], bid, *sizes[2:]))


def row(observation: Observation) -> Row:
    content = content_of(observation.quote)
    id = snapshot_id(
        observation.market_id, observation.timestamp, Source.POLL, None, content=content
    )
    return (
        id,
        *observation[:2],
        *observation.quote,
        observation.quality,
        None,
        Source.POLL.value,
        observation.timestamp,
    )


def record(batch: Sequence[Observation], source: str = Source.POLL) -> None:
    with transaction.atomic():
        written = MarketSnapshot.objects.record(batch, source=source, recorded_at=now())
        assert written == len(batch)


def bare_copy(batch: Sequence[Row], table: str = SNAPSHOTS) -> None:
    statement = f"COPY {table} ({', '.join(COLUMNS)}) FROM STDIN"
    with transaction.atomic(), connection.cursor() as cursor, cursor.copy(statement) as copy:
        for each in batch:
            copy.write_row(each)


def staged(batch: Sequence[Row]) -> None:
    names = ", ".join(COLUMNS)
    types = STAGED | {"source": "text", "recorded_at": "timestamptz"}
    described = ", ".join(f"{column} {kind}" for column, kind in types.items())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS few ({described}) ON COMMIT DELETE ROWS")
        bare_copy(batch, "few")
        cursor.execute(f"INSERT INTO {SNAPSHOTS} ({names}) SELECT {names} FROM few {ONCE}")


def unnested(batch: Sequence[Row]) -> None:
    arrays = ", ".join(f"%s::{kind}[]" for kind in TYPES)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {SNAPSHOTS} ({', '.join(COLUMNS)}) SELECT * FROM unnest({arrays}) {ONCE}",
            [list(column) for column in zip(*batch, strict=True)],
        )


def write_batches(work: Callable[[T], None], batches: Sequence[T]) -> CpuTime:
    """Empty the partition and write batch after batch into it."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {DayPartition(SNAPSHOTS, now().date()).name}")
        cursor.execute("CHECKPOINT")
    return measure_cpu_time(lambda: deque(map(work, batches), maxlen=0))


def rate(took: CpuTime) -> str:
    return f"{COUNT / took.processor:,.0f}/s"


def report_rate(what: str, took: CpuTime, bare: CpuTime, *, target: str = "") -> None:
    share = f"{bare.processor / took.processor:.0%} of a bare COPY; "
    report(f"  {what}", rate(took), ratio=share + took.parts, target=target)


def compare(batch_size: int, rows: Sequence[Sequence[Row]]) -> None:
    """Compare COPY into staging with unnest for small batches of new rows."""
    batches = [
        rows[n % BATCHES][n // BATCHES * batch_size :][:batch_size] for n in range(2 * ROUNDS)
    ]
    write_batches(staged, [])
    copied = [timed(partial(staged, batch)) for batch in batches[:ROUNDS]]
    arrays = [timed(partial(unnested, batch)) for batch in batches[ROUNDS:]]
    report(
        f"{batch_size:,} rows by COPY and INSERT",
        f"{median(copied) * 1000:.1f} ms",
        ratio=f"{median(arrays) * 1000:.1f} ms by unnest; medians of {ROUNDS}, wall time",
    )


if __name__ == "__main__":
    main()
