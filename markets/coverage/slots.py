"""Slots: how many of the recorder's hot sweeps took place when they were due."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from markets.coverage.causes import elapsed_window
from markets.models import Tier
from markets.storage import partitions


class Slots(NamedTuple):
    """The number of hot sweeps that were due, and the number of them that took place."""

    due: int
    filled: int

    @property
    def share(self) -> float | None:
        return self.filled / self.due if self.due else None


def hot_slots(start: datetime, end: datetime) -> Slots:
    """Count the slots of [start, end), up to now, that a complete hot sweep filled.

    Slots follow the sweeps and not the wall clock: one is missing wherever two sweeps lie
    nearer to two intervals apart than to one. Sweeps in quick succession make up for none.
    """
    window = elapsed_window(start, end)
    interval = timedelta(seconds=settings.POLL_INTERVAL)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), max(at) - min(at),
                coalesce(sum(greatest(round(date_part('epoch', at - before) / %s) - 1, 0)), 0)
            FROM (
                SELECT started_at AS at, lag(started_at) OVER (ORDER BY started_at) AS before
                FROM markets_sweep WHERE tier = %s AND complete
                    AND started_at >= %s AND started_at < %s
            ) AS sweeps
            """,
            [interval.total_seconds(), Tier.HOT.value, *window],
        )
        sweeps, span, missed = cursor.fetchone()
    due = window.length // interval
    if not sweeps:
        return Slots(due, 0)
    # The time before the first and after the last sweep counts together, as if the window were
    # a circle.
    missed += max(round((window.length - span) / interval) - 1, 0)
    return Slots(due, max(min(sweeps, due - int(missed)), 0))


def day_share(day: date) -> float | None:
    """Return the share of a day's (UTC) slots that were filled; None without a run on record."""
    start, end = partitions.DayPartition(partitions.SNAPSHOTS, day).bounds
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM markets_poll WHERE started_at >= %s AND started_at < %s)",
            [start, end],
        )
        recorded: bool = cursor.fetchone()[0]
    return hot_slots(start, end).share if recorded else None
