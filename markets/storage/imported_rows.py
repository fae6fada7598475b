"""Rows of imports in the days of the record.

The archive holds what was recorded. An import is somebody's own file, which can be imported again;
a day that has rows of one is kept until it is undone.
"""

from django.db import connection

from markets.models import ImportedSpan
from markets.storage import partitions
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, TRADES, DayPartition

# The condition that leaves out imported rows.
RECORDED = {
    SNAPSHOTS: "source <> 'IMPORT'",
    ORDER_BOOKS: "sequence IS NULL",
    TRADES: "source_code <> 3",
}


def count_recorded(partition: DayPartition) -> int:
    """Count the recorded rows of a day."""
    # Without imports the index alone tells the number.
    if not ImportedSpan.objects.within(*partition.bounds).exists():
        return partitions.count_rows(partition)
    return _count(partition, RECORDED[partition.table])


def count_imported(partition: DayPartition) -> int:
    """Count the rows that imports have brought to a day."""
    if not ImportedSpan.objects.within(*partition.bounds).exists():
        return 0
    return _count(partition, f"NOT ({RECORDED[partition.table]})")


def _count(partition: DayPartition, condition: str) -> int:
    table, time = partition.table, partition.key.time
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {table}"  # noqa: S608
            f" WHERE {time} >= %s AND {time} < %s AND {condition}",
            partition.bounds,
        )
        count: int = cursor.fetchone()[0]
    return count
