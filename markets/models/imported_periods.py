"""The usual time from one row of an import to the next, as far as whoever imported it stated it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.db import connection, models
from django.db.models.functions import TruncDate

from markets.models.markets import Market
from markets.models.observations import array_of


class ImportedRows(NamedTuple):
    """The instants of a market's first and last rows in an import."""

    first: datetime
    last: datetime


class ImportedPeriodQuerySet(models.QuerySet["ImportedPeriod"]):
    def state(self, rows: Mapping[int, ImportedRows], gap_after: int, *, at: datetime) -> None:
        """Record the seconds from row to row of markets, unless that is their last word already.

        A last word that came with a restored day is then one of this database, too.
        """
        of_markets = self.filter(market_id__in=list(rows)).order_by("recorded_at", "id")
        last_words = {row.market_id: row for row in of_markets}
        same = {id for id, row in last_words.items() if row.says(rows[id], gap_after)}
        self.filter(pk__in=[last_words[id].pk for id in same]).update(restored_at=None)
        self.bulk_create(
            self.model(
                market_id=market_id,
                starts_at=own.first,
                ends_at=own.last,
                gap_after=gap_after,
                recorded_at=at,
            )
            for market_id, own in rows.items()
            if market_id not in same
        )

    def periods(
        self, ids: Sequence[int], start: datetime, end: datetime, *, recorded_by: datetime
    ) -> list[tuple[int, int, int, int]]:
        """Return what was stated of rows in a window, in the order in which it was: the market's
        id, the period, the first row and the last; times are in microseconds."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT market_id, gap_after * 1000000::bigint,
                    (extract(epoch FROM starts_at) * 1000000)::bigint,
                    (extract(epoch FROM ends_at) * 1000000)::bigint
                FROM markets_importedperiod
                WHERE market_id = ANY(%s::bigint[]) AND starts_at < %s AND ends_at >= %s
                    AND recorded_at <= %s
                ORDER BY recorded_at, id
                """,
                [array_of(ids), end, start, recorded_by],
            )
            periods: list[tuple[int, int, int, int]] = cursor.fetchall()
        return periods

    def days(self) -> set[date]:
        """Return the days (UTC) from the first to the last row of each period."""
        ends = (TruncDate(name, tzinfo=UTC) for name in ("starts_at", "ends_at"))
        return {
            first + timedelta(days=n)
            for first, last in self.order_by().values_list(*ends).distinct()
            for n in range((last - first).days + 1)
        }


class ImportedPeriod(models.Model):
    """A statement about the imported rows of a market; what was stated last counts."""

    market = models.ForeignKey(
        Market,
        on_delete=models.CASCADE,
        related_name="imported_periods",
        db_index=False,  # `imported_period_once` begins with the market
    )
    starts_at = models.DateTimeField(help_text="The first row.")
    ends_at = models.DateTimeField(help_text="The last row, included.")
    gap_after = models.PositiveIntegerField(
        help_text="Seconds: a row counts as fresh for three times as long."
    )
    recorded_at = models.DateTimeField()
    restored_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When it came with an archived day; null: stated in this database.",
    )

    objects = ImportedPeriodQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["market", "starts_at", "ends_at", "recorded_at"],
                name="imported_period_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.market_id} every {self.gap_after} s from {self.starts_at:%Y-%m-%d %H:%M}"

    def says(self, rows: ImportedRows, gap_after: int) -> bool:
        return (self.starts_at, self.ends_at, self.gap_after) == (*rows, gap_after)
