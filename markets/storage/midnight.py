"""The quotes that stood at midnight, which the archive has beside the day that begins with them.

A day's own rows begin with the first change or heartbeat of each market, an hour after midnight at
the latest. Until then the last row of the day before tells the quote, and that the market was
listed. Imported rows tell neither. Restored, such rows are rows of the day before again.
"""

from datetime import datetime

from django.db import connection

from markets.models import ArchivedDay
from markets.models.observations import believed_listed_for
from markets.models.storage import AT_MIDNIGHT
from markets.storage import layout, partitions
from markets.storage.columns import content_sha256
from markets.storage.imported_rows import count_recorded
from markets.storage.manifest import ArchiveError, read_manifest
from markets.storage.partitions import ONE_DAY, SNAPSHOTS, DayPartition

ROWS_QUERY = """
    SELECT DISTINCT ON (market_id, source) * FROM markets_marketsnapshot
    WHERE timestamp >= '{since}' AND timestamp < '{midnight}' AND source <> 'IMPORT'
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


def remnants() -> dict[DayPartition, ArchivedDay]:
    """Return the days that have the last quotes alone; with rows that came later, they are days."""
    return {
        partition: carried
        for partition, carried in ArchivedDay.objects.remnants().items()
        if count_recorded(partition) == carried.rows
    }


def has_changed(partition: DayPartition) -> bool:
    """Return True if the day before has other last quotes than the archive.

    Where that day is not on record as a whole, the archive has more of it than the database.
    """
    home = home_of(partition)
    before = ArchivedDay.objects.for_partition(home)
    is_whole = home not in ArchivedDay.objects.remnants() and not (before and before.dropped_at)
    return is_whole and not _says_the_same(partition)


def _says_the_same(partition: DayPartition) -> bool:
    """Compare the last quotes with those in the archive: as many may be others."""
    try:
        manifest = read_manifest(layout.files_of(partition).manifest)
    except ArchiveError:
        return False
    return manifest.content_sha256 == content_sha256(partition.table, rows_query(partition))


def is_carried(partition: DayPartition) -> bool:
    """Return False while a day of snapshots has the only copy of its last quotes."""
    following = DayPartition(AT_MIDNIGHT, partition.day + ONE_DAY)
    days = partitions.partitions_of(SNAPSHOTS)
    if partition.table != SNAPSHOTS or DayPartition(SNAPSHOTS, following.day) not in days:
        return True
    rows, archived = count_rows(following), ArchivedDay.objects.for_partition(following)
    if not rows or archived is None:
        return not rows
    return _says_the_same(following) and layout.is_intact(following, archived.sha256)


def mark_dropped(partition: DayPartition, at: datetime) -> None:
    """Note that a day is gone, and with it the last quotes that came with the day after it."""
    following = DayPartition(AT_MIDNIGHT, partition.day + ONE_DAY)
    is_remnant = partition in ArchivedDay.objects.remnants()
    ArchivedDay.objects.mark_dropped(following if is_remnant else partition, at)
    if partition.table == SNAPSHOTS:
        carried = ArchivedDay.objects.filter(table=AT_MIDNIGHT, day=following.day)
        carried.update(restored_at=None)
