"""The quotes that stood at midnight, which the archive has beside the day that begins with them.

A day's own rows begin with the first change or heartbeat of each market, an hour after midnight at
the latest. Until then the last row of the day before tells the quote, and that the market was
listed. Restored, such rows are rows of the day before again.
"""

from datetime import datetime

from django.db import connection

from markets.models import ArchivedDay
from markets.models.observations import believed_listed_for
from markets.models.storage import AT_MIDNIGHT
from markets.storage.partitions import ONE_DAY, SNAPSHOTS, DayPartition, partitions_of

ROWS_QUERY = """
    SELECT DISTINCT ON (market_id, source) * FROM markets_marketsnapshot
    WHERE timestamp >= '{since}' AND timestamp < '{midnight}'
    ORDER BY market_id, source, timestamp DESC, id DESC
"""


def home_of(partition: DayPartition) -> DayPartition:
    """Return the partition that the rows of an archived day belong to."""
    if partition.table != AT_MIDNIGHT:
        return partition
    return DayPartition(SNAPSHOTS, partition.day - ONE_DAY)


def rows_query(partition: DayPartition) -> str:
    """Select the last row of each market and source, as long as the market may be listed by it."""
    midnight = partition.bounds[0]
    return ROWS_QUERY.format(since=midnight - believed_listed_for(), midnight=midnight)


def count_rows(partition: DayPartition) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({rows_query(partition)}) AS found")  # noqa: S608
        count: int = cursor.fetchone()[0]
    return count


def is_carried(partition: DayPartition) -> bool:
    """Return False while a day of snapshots has the only copy of its last quotes."""
    following = DayPartition(AT_MIDNIGHT, partition.day + ONE_DAY)
    return (
        partition.table != SNAPSHOTS
        or DayPartition(SNAPSHOTS, following.day) not in partitions_of(SNAPSHOTS)
        or ArchivedDay.objects.for_partition(following) is not None
        or not count_rows(following)
    )


def mark_dropped(partition: DayPartition, at: datetime) -> None:
    """Note that a day is gone, and with a remnant what it had of the day after it."""
    following = DayPartition(AT_MIDNIGHT, partition.day + ONE_DAY)
    is_remnant = partition in ArchivedDay.objects.remnants()
    ArchivedDay.objects.mark_dropped(following if is_remnant else partition, at)
