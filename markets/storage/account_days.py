"""The days of which the archive has an account."""

from django.db import connection

from markets.models import ArchivedDay, ImportedPeriod, Poll
from markets.storage.account import IMPORTED_PERIODS, POLLS, SETTLEMENTS, TAPE_SPANS, bounds_of
from markets.storage.partitions import ONE_DAY, DayPartition

NEXT_SETTLEMENT_DAYS = """
    WITH RECURSIVE settled AS (
        SELECT (min(settlement_ts) AT TIME ZONE 'UTC')::date AS day FROM markets_market
        UNION ALL
        SELECT (
            SELECT (min(settlement_ts) AT TIME ZONE 'UTC')::date FROM markets_market
            WHERE settlement_ts >= (settled.day + 1)::timestamp AT TIME ZONE 'UTC'
        ) FROM settled WHERE settled.day IS NOT NULL
    )
    SELECT day FROM settled WHERE day IS NOT NULL ORDER BY day
"""


def days_of_account(table: str) -> list[DayPartition]:
    """List the days of the runs on record, of imported periods, or of the tape.

    An account has the hour before its day: a day of which there is only what came with a
    neighbour, when that was restored, is not among them.
    """
    if table == IMPORTED_PERIODS:
        return _days_of_periods()
    if table == SETTLEMENTS:
        return _days_of_settlements()
    first_runs = Poll.objects.first_of_days()
    if table == TAPE_SPANS and first_runs:
        # Its spans begin with a day, and may be of days without a run: they were read later.
        first, last = min(first_runs), max(first_runs)
        days = [first + n * ONE_DAY for n in range((last - first).days + 1)]
        return [DayPartition(table, day) for day in days]
    archived = {each.day: each for each in ArchivedDay.objects.filter(table=POLLS)}
    restored = {day for day, each in archived.items() if each.restored_at}
    return [
        DayPartition(table, day)
        for day, began in sorted(first_runs.items())
        if day in archived
        or day + ONE_DAY not in restored
        or began < bounds_of(day + ONE_DAY).since
    ]


def _days_of_periods() -> list[DayPartition]:
    """List the days with periods that were stated here, and those archived before."""
    days = ImportedPeriod.objects.filter(restored_at=None).days()
    archived = ArchivedDay.objects.filter(table=IMPORTED_PERIODS).values_list("day", flat=True)
    return [DayPartition(IMPORTED_PERIODS, day) for day in sorted({*days, *archived})]


def _days_of_settlements() -> list[DayPartition]:
    """List the days on which markets were settled, one look into the index for each."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_SETTLEMENT_DAYS)
        return [DayPartition(SETTLEMENTS, row[0]) for row in cursor.fetchall()]
