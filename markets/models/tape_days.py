"""The second proof of the tape, day by day: trades add up to the change of volumes."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

from django.db import connection, models, transaction

from markets.intervals import Interval, subtract
from markets.models.recording import CLOCK_TOLERANCE, Poll
from markets.models.storage import ArchivedDay
from markets.models.tape import TapeSpan
from markets.storage.partitions import SNAPSHOTS, TRADES, DayPartition

# Trades have the exchange's time, observations ours, which `skew` is ahead of it. Beyond that, a
# trade at the edge of a market's day may count for its volume a moment sooner or later.
VOLUME_AND_TRADES = """
    WITH observed AS (
        SELECT market.id, first.timestamp - skew AS since, last.timestamp - skew AS until,
            ((last.volume - first.volume) * 100)::bigint AS volume
        FROM markets_market AS market CROSS JOIN make_interval(secs => %(skew)s) AS skew
        CROSS JOIN LATERAL (
            SELECT timestamp, volume FROM markets_marketsnapshot
            WHERE market_id = market.id AND source = 'POLL' AND volume IS NOT NULL
                AND timestamp >= %(start)s AND timestamp < %(end)s
            ORDER BY timestamp, id LIMIT 1) AS first
        CROSS JOIN LATERAL (
            SELECT timestamp, volume FROM markets_marketsnapshot
            WHERE market_id = market.id AND source = 'POLL' AND volume IS NOT NULL
                AND timestamp >= %(start)s AND timestamp < %(end)s
            ORDER BY timestamp DESC, id DESC LIMIT 1) AS last
        WHERE market.quoted_at >= %(start)s AND last.timestamp > first.timestamp
    ), counted AS (
        SELECT observed.id, volume, coalesce(sum(contracts) FILTER (
                WHERE created_time > since AND created_time <= until), 0) AS contracts,
            coalesce(sum(contracts) FILTER (
                WHERE created_time > since + edge AND created_time <= until - edge), 0) AS least,
            coalesce(sum(contracts), 0) AS most
        FROM observed CROSS JOIN make_interval(secs => %(edge)s) AS edge
        LEFT JOIN markets_trade AS trade ON trade.market_id = observed.id AND source_code <> 3
            AND created_time > since - edge AND created_time <= until + edge
            AND created_time > %(first)s AND created_time <= %(last)s
        GROUP BY observed.id, volume
    )
    SELECT count(*), count(*) FILTER (WHERE volume BETWEEN least AND most),
        coalesce(sum(volume), 0), coalesce(sum(contracts), 0)
    FROM counted WHERE volume <> 0 OR most > 0
"""


class TapeDayQuerySet(models.QuerySet["TapeDay"]):
    def compare(self, day: date, *, at: datetime) -> "TapeDay":
        """Compare a day's trades with the change of each market's volume, and store the result."""
        start, end = DayPartition(TRADES, day).bounds
        skew = Poll.objects.clock_skew(start, end)
        times: dict[str, datetime | float] = {
            "start": start,
            "end": end,
            "skew": skew.total_seconds(),
            "edge": CLOCK_TOLERANCE.total_seconds(),
            "first": start - skew - CLOCK_TOLERANCE,
            "last": end - skew + CLOCK_TOLERANCE,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(VOLUME_AND_TRADES, times)
            markets, agreeing, volume, contracts = cursor.fetchone()
        compared, _ = self.update_or_create(
            day=day,
            defaults={
                "markets": markets,
                "agreeing": agreeing,
                "volume": volume,
                "contracts": contracts,
                "share": TapeSpan.objects.share(Interval(start, end)),
                "compared_at": at,
            },
        )
        return compared

    def due(self, days: Iterable[date]) -> list[date]:
        """Return those of these days that were not compared since they were read, newest first.

        Without its snapshots a day has no volumes: what was compared before they went stands.
        """
        compared = dict(self.values_list("day", "compared_at"))
        return [
            day
            for day in sorted(with_snapshots(days), reverse=True)
            if day not in compared
            or TapeSpan.objects.learned_since(
                Interval(*DayPartition(TRADES, day).bounds), compared[day]
            )
        ]


def with_snapshots(days: Iterable[date]) -> list[date]:
    """Return those of these days whose snapshots are all on record."""
    kept = ArchivedDay.objects.kept_snapshots()
    # A backfill may have given such a day a partition again.
    gone = ArchivedDay.objects.filter(table=SNAPSHOTS).exclude(dropped_at=None)
    dropped = set(gone.values_list("day", flat=True))
    return [
        day
        for day in days
        if day not in dropped
        and not subtract([Interval(*DayPartition(SNAPSHOTS, day).bounds)], kept)
    ]


class TapeDay(models.Model):
    """A day's trades beside its volumes, which are another word of the exchange on the same.

    Of each market the volume grew by so much from its first observation of the day to its last,
    and so many contracts were traded between the two. It agrees where trades within two seconds of
    either observation explain the difference.
    """

    day = models.DateField(unique=True)
    markets = models.IntegerField(help_text="Markets that traded, by volume or by the tape.")
    agreeing = models.IntegerField(help_text="Those whose trades add up to their volume.")
    volume = models.BigIntegerField(help_text="By how much volumes grew, in 1/100 contract.")
    contracts = models.BigIntegerField(help_text="The sum of the trades, in 1/100 contract.")
    share = models.FloatField(help_text="Of the day, the share that was read whole.")
    compared_at = models.DateTimeField()

    objects = TapeDayQuerySet.as_manager()

    class Meta:
        ordering = ["-day"]

    def __str__(self) -> str:
        return str(self.day)

    @property
    def traded(self) -> Decimal:
        """Contracts, by the trades."""
        return Decimal(self.contracts).scaleb(-2)

    @property
    def grown(self) -> Decimal:
        """Contracts, by the volumes."""
        return Decimal(self.volume).scaleb(-2)
