"""Undo imports: remove their rows, in steps of a day of some markets, and then what they leave.

A step that is done again does nothing, so an undo that was cut off goes on from there. From its
beginning no backtest can name the import, and nothing more is written for it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction

from markets.importing import placeholders
from markets.importing.locks import held_alone
from markets.importing.tables import TABLES
from markets.models import FeeChange, Import, ImportedSpan, MarketRevision
from markets.models.imports import LINE_BITS, ImportState
from markets.models.observations import array_of
from markets.storage.partitions import KEYS, ONE_DAY, ORDER_BOOKS, SNAPSHOTS, TRADES, midnight

OnProgress = Callable[[float], None]
MARKETS_AT_ONCE = 500
# The condition that keeps PostgreSQL from reading rows that no import brought.
IMPORTED = {SNAPSHOTS: "source = 'IMPORT'", ORDER_BOOKS: "true", TRADES: "source_code = 3"}


class UndoTaken(Exception):
    """Another process is undoing imports."""


def undo(row: Import, *, on_progress: OnProgress = lambda share: None) -> None:
    """Remove everything that an import brought. Raises UndoTaken."""
    with held_alone("undo imports", UndoTaken("Another process is undoing imports.")):
        Import.objects.filter(pk=row.pk).mark_undoing()
        MarketRevision.objects.filter(import_row=row).delete()
        FeeChange.objects.filter(import_row=row).delete()
        spans = row.spans.order_by("first_at", "pk")
        count = spans.count()
        while part := list(spans[:MARKETS_AT_ONCE]):
            _remove(row, part)
            on_progress(1 - spans.count() / count)
        Import.objects.filter(pk=row.pk).update(
            state=ImportState.UNDONE, undone_at=datetime.now(UTC)
        )
        row.refresh_from_db()


def undo_waiting() -> list[int]:
    """Undo the imports of which that was asked; return their ids. Raises UndoTaken."""
    waiting = list(Import.objects.in_state(ImportState.UNDOING))
    for row in waiting:
        undo(row)
    return [row.pk for row in waiting]


def _remove(row: Import, spans: Sequence[ImportedSpan]) -> None:
    """Remove the rows of some markets, and those of the markets that nothing else needs."""
    markets = [span.market_id for span in spans]
    first = min(span.first_at for span in spans)
    last = max(span.last_at for span in spans)
    for start in _days(first, last):
        for table in TABLES[row.kind]:
            _delete_day(row, table, markets, start)
    with transaction.atomic():
        ImportedSpan.objects.filter(pk__in=[span.pk for span in spans]).delete()
        placeholders.remove_unneeded(markets)


def _days(first: datetime, last: datetime) -> Iterator[datetime]:
    start = midnight(first.astimezone(UTC).date())
    while start <= last:
        yield start
        start += timedelta(days=1)


def _delete_day(row: Import, table: str, markets: Sequence[int], start: datetime) -> None:
    time = KEYS[table].time
    with connection.cursor() as cursor:
        cursor.execute(
            f"""DELETE FROM {table} WHERE market_id = ANY(%s::bigint[]) AND {time} >= %s
                    AND {time} < %s AND {IMPORTED[table]} AND sequence >= %s AND sequence < %s""",  # noqa: S608
            [
                array_of(markets),
                start,
                start + ONE_DAY,
                row.first_sequence,
                row.first_sequence + (1 << LINE_BITS),
            ],
        )
