"""The days of which the archive has an account."""

from markets.models import ArchivedDay, ImportedPeriod, Poll
from markets.storage.account import IMPORTED_PERIODS, POLLS, TAPE_SPANS, bounds_of
from markets.storage.partitions import ONE_DAY, DayPartition


def days_of_account(table: str) -> list[DayPartition]:
    """List the days of the runs on record, of imported periods, or of the tape.

    An account has the hour before its day: a day of which there is only what came with a
    neighbour, when that was restored, is not among them.
    """
    if table == IMPORTED_PERIODS:
        return _days_of_periods()
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
