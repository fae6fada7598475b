"""Snapshots in bulk: `MarketSnapshot.objects.record` beside a bare COPY of its rows.

The reference copies the rows, ready made, into the same day's partition, emptied before: same
indexes, same constraints, same transactions. Rows a second are those of one core.
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
from benchmarks.measure import chunks, median, now, report, tickers, timed
from benchmarks.recording import begin
from benchmarks.spending import Spent, spent
from markets.models import Market, MarketSnapshot, Source
from markets.models.fields import Quote
from markets.models.snapshots import SNAPSHOT_COLUMNS, STAGED, Observation, snapshot_id
from markets.storage.partitions import SNAPSHOTS, Piece

MARKETS = 10_000
BATCHES = 20
COUNT = MARKETS * BATCHES
COLUMNS = (*SNAPSHOT_COLUMNS, "source", "recorded_at")
TYPES = [STAGED[column] for column in SNAPSHOT_COLUMNS] + ["text", "timestamptz"]
FEW = (20, 200, 2_000)
ROUNDS = 40
ONCE = "ON CONFLICT DO NOTHING"

Row = tuple[object, ...]
T = TypeVar("T")


def main() -> None:
    measure.migrate()
    for chunk in chunks(tickers(MARKETS), 2_000):
        begin(chunk)
    ids = Market.objects.order_by("id").values_list("id", flat=True)
    start = now().replace(hour=0, minute=0, second=0, microsecond=0)
    observed = [observations(ids, start + timedelta(seconds=5 * n)) for n in range(BATCHES)]
    rows = [[row(seen) for seen in batch] for batch in observed]
    in_turn(bare_copy, rows)  # the files of an empty table have yet to grow
    bare = in_turn(bare_copy, rows)
    report(f"bare COPY of {COUNT:,} rows", rate(bare), ratio=bare.parts)
    beside = partial(record, source=Source.BACKFILL)
    tell("recorded beside newer quotes", in_turn(beside, observed), bare, target="target 60 %")
    tell("recorded, each the newest quote", in_turn(record, observed), bare)
    for few in FEW:
        compare(few, rows)


def observations(ids: Iterable[int], at: datetime) -> list[Observation]:
    """As a page after page would bring them, 240 markets a page."""
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


def row(seen: Observation) -> Row:
    id = snapshot_id(seen.market_id, seen.timestamp, Source.POLL, None)
    return (id, *seen[:2], *seen.quote, seen.quality, None, Source.POLL.value, seen.timestamp)


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


def in_turn(work: Callable[[T], None], batches: Sequence[T]) -> Spent:
    """Into an emptied partition, batch after batch."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {Piece(SNAPSHOTS, now().date()).name}")
        cursor.execute("CHECKPOINT")
    return spent(lambda: deque(map(work, batches), maxlen=0))


def rate(took: Spent) -> str:
    return f"{COUNT / took.processor:,.0f}/s"


def tell(what: str, took: Spent, bare: Spent, *, target: str = "") -> None:
    share = f"{bare.processor / took.processor:.0%} of a bare COPY; "
    report(f"  {what}", rate(took), ratio=share + took.parts, target=target)


def compare(few: int, rows: Sequence[Sequence[Row]]) -> None:
    """Small batches by either way, in turns, of rows that are all new."""
    batches = [rows[n % BATCHES][n // BATCHES * few :][:few] for n in range(2 * ROUNDS)]
    in_turn(staged, [])
    copied = [timed(partial(staged, batch)) for batch in batches[:ROUNDS]]
    arrays = [timed(partial(unnested, batch)) for batch in batches[ROUNDS:]]
    report(
        f"{few:,} rows by COPY and INSERT",
        f"{median(copied) * 1000:.1f} ms",
        ratio=f"{median(arrays) * 1000:.1f} ms by unnest; medians of {ROUNDS}, by the clock",
    )


if __name__ == "__main__":
    main()
