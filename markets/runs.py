"""The recorder's own account: its runs, and its passes over each tier."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.db import connection, models

if TYPE_CHECKING:
    from markets.models import Poll, Sweep

# Runs in which every tier that is at work has been at work.
AGES_WITHIN = 60


class PollQuerySet(models.QuerySet["Poll"]):
    def claim(self, *, interval: float) -> "Poll | None":
        """The row of a new run, or None where the last one began too short a while ago.

        The database's clock decides. Four fifths of the interval, because slots aligned to the
        interval itself are missed whenever the schedule comes a moment early.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO markets_poll (started_at, pages, requests, bytes, throttled, markets,
                                          snapshots, rejected, order_books, rejects, ages, error,
                                          warning)
                SELECT clock_timestamp(), 0, 0, 0, 0, 0, 0, 0, 0, '[]', '{}', '', ''
                WHERE NOT EXISTS (
                    SELECT FROM markets_poll
                    WHERE started_at > clock_timestamp() - %s * interval '1 second'
                        -- A clock that stepped back leaves runs in the future.
                        AND started_at <= clock_timestamp())
                RETURNING id
                """,
                [interval * 0.8],
            )
            row = cursor.fetchone()
        return self.get(pk=row[0]) if row else None

    def said_shortly_before(self, at: datetime) -> "Poll | None":
        """The run before `at`, where it can still speak for the exchange."""
        shortly = self.filter(started_at__lt=at, started_at__gt=at - timedelta(minutes=2))
        return shortly.filter(finished_at__isnull=False).first()

    def newest_finished(self) -> "Poll | None":
        return self.filter(finished_at__isnull=False, error="").first()

    def newest_ages(self) -> dict[str, dict[str, float]]:
        """By tier, the ages that the newest run to see any of its markets has measured."""
        ages: dict[str, dict[str, float]] = {}
        for found in self.values_list("ages", flat=True)[:AGES_WITHIN]:
            ages = found | ages
        return ages

    def silences(
        self, start: datetime, end: datetime, *, longer_than: timedelta
    ) -> list[tuple[datetime, datetime]]:
        """Stretches of [start, end] between two good runs, or after the last, oldest first.

        Nothing is said of the time before the first run on record.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT finished_at, ended FROM (
                    SELECT started_at, finished_at,
                        lead(started_at, 1, %(end)s) OVER (ORDER BY started_at) AS ended
                    FROM markets_poll
                    WHERE finished_at IS NOT NULL AND error = '' AND started_at <= %(end)s
                        AND started_at >= coalesce(
                            (SELECT max(started_at) FROM markets_poll WHERE finished_at IS NOT NULL
                                AND error = '' AND started_at <= %(start)s), %(start)s)
                ) AS runs
                WHERE ended - started_at > %(least)s * interval '1 second' ORDER BY started_at
                """,
                {"start": start, "end": end, "least": longer_than.total_seconds()},
            )
            silences: list[tuple[datetime, datetime]] = cursor.fetchall()
        return silences


class SweepQuerySet(models.QuerySet["Sweep"]):
    def newest(self, tier: str) -> "Sweep | None":
        """The one begun last, whatever the clock said then."""
        return self.filter(tier=tier).order_by("-id").first()

    def newest_finished(self, tier: str) -> "Sweep | None":
        return self.filter(tier=tier, finished_at__isnull=False).order_by("-id").first()

    def measure(self) -> None:
        """Note of these passes, where they are whole, how long the whole one before was ago."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE markets_sweep AS sweep SET since_last = started_at - (
                    SELECT max(started_at) FROM markets_sweep AS before
                    WHERE before.tier = sweep.tier AND before.complete AND before.skipped = '{}'
                        AND before.started_at < sweep.started_at)
                WHERE id = ANY(%s) AND complete AND skipped = '{}'
                """,
                [list(self.values_list("pk", flat=True))],
            )

    def newest_complete(self, tier: str) -> "Sweep | None":
        return self.filter(tier=tier, complete=True).first()

    def newest_complete_of(self, *tiers: str) -> "dict[str, Sweep]":
        """The newest complete pass of each tier that has one: one query, one row a tier."""
        passes = self.filter(complete=True).order_by("-started_at")
        newest = [passes.filter(tier=tier)[:1] for tier in tiers]
        return {sweep.tier: sweep for sweep in newest[0].union(*newest[1:], all=True)}
