"""The spans of the tape in which every trade was read, and a second proof of it day by day."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models, transaction

from markets.intervals import Interval, intersect, merge, subtract
from markets.models.recording import CLOCK_TOLERANCE
from markets.storage.partitions import (
    TRADES,
    DayPartition,
    days_without_partition,
    partitions_of,
)

ONE_WRITER = "SELECT pg_advisory_xact_lock(hashtext('markets_tapespan'))"
# A trade at the edge of a market's day may count for its volume a moment sooner or later than the
# clocks of both sides say.
VOLUME_AND_TRADES = """
    WITH observed AS (
        SELECT market.id, first.timestamp AS since, last.timestamp AS until,
            ((last.volume - first.volume) * 100)::bigint AS volume
        FROM markets_market AS market
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
        LEFT JOIN markets_trade AS trade ON trade.market_id = observed.id
            AND created_time > since - edge AND created_time <= until + edge
            AND created_time > %(first)s AND created_time <= %(last)s
        GROUP BY observed.id, volume
    )
    SELECT count(*), count(*) FILTER (WHERE volume BETWEEN least AND most),
        coalesce(sum(volume), 0), coalesce(sum(contracts), 0)
    FROM counted WHERE volume <> 0 OR most > 0
"""


class Proof(models.TextChoices):
    """How a span of the tape was read."""

    JOINED = "joined", "a walk back to a known trade"
    LISTED = "listed", "all of its time was listed later"
    HISTORICAL = "historical", "the same in the historical tier"


class Extent(models.TextChoices):
    """Whose trades were stored while a span was read."""

    ALL = "all", "every recorded market"
    HOT = "hot", "the hot list"


class TapeSpanQuerySet(models.QuerySet["TapeSpan"]):
    def mark(self, time: Interval, span: "TapeSpan") -> None:
        """Let a time be as `span` says, whatever was known of it, and join what is alike.

        Call it in a transaction: one writer at a time changes spans.
        """
        if not time:
            return
        with connection.cursor() as cursor:
            cursor.execute(ONE_WRITER)
        touching = list(self.filter(start__lte=time.end, end__gte=time.start))
        pieces = [piece for row in touching for piece in row.without(time)]
        span.start, span.end = time
        self.filter(pk__in=[row.pk for row in touching]).delete()
        self.bulk_create(joined([*pieces, span]))

    def add(self, time: Interval, values: Mapping[str, Any]) -> int:
        """Mark the parts of a time that no span covers; return their number."""
        known = merge(self.within(time).values_list("start", "end"))
        missing = subtract([time], known)
        for part in missing:
            self.mark(part, TapeSpan(**values))
        return len(missing)

    def mark_open(self, time: Interval, *, tried_at: datetime | None = None) -> None:
        self.mark(time, TapeSpan(is_whole=False, tried_at=tried_at))

    def newest(self) -> "TapeSpan | None":
        """Return the span up to which the tape was read last."""
        return self.order_by("-end").first()

    def ends_whole(self, at: datetime) -> bool:
        """Return True if a whole span ends at an instant."""
        return self.filter(end=at, is_whole=True).exists()

    def to_close(self, *, before: datetime, tried_before: datetime) -> "TapeSpan | None":
        """Return the newest open span that begins before an instant and was not tried lately."""
        waiting = self.open().filter(start__lt=before)
        untried = models.Q(tried_at=None) | models.Q(tried_at__lt=tried_before)
        return waiting.filter(untried).order_by("-end").first()

    def open(self) -> Self:
        return self.filter(is_whole=False)

    def within(self, window: Interval) -> Self:
        return self.filter(start__lt=window.end, end__gt=window.start).order_by("start")

    def whole(
        self, window: Interval, *, extent: str = Extent.ALL, with_combos: bool = False
    ) -> list[Interval]:
        """Return the parts of a window whose trades are all on record, of markets in `extent`.

        A span speaks of the markets that were recorded at its time. Of a day whose trades are no
        longer kept, it says nothing.
        """
        extents = (Extent.ALL, extent)
        rows = self.within(window).filter(is_whole=True, extent__in=extents)
        rows = rows.filter(with_combos=True) if with_combos else rows
        whole = intersect(merge(rows.values_list("start", "end")), [window])
        return intersect(whole, kept_days()) if whole else []

    def share(self, window: Interval) -> float:
        """Return the share of a window whose trades are all on record."""
        whole = sum((each.length for each in self.whole(window)), timedelta())
        return whole / window.length

    def missing(self, window: Interval) -> list[Interval]:
        """Return the parts of a window that are not whole."""
        return subtract([window], self.whole(window))


def kept_days() -> list[Interval]:
    """Return the days whose trades are on record, those in the default partition included."""
    late = [DayPartition(TRADES, day) for day in days_without_partition([TRADES])]
    return merge(each.bounds for each in [*partitions_of(TRADES), *late])


def joined(spans: Iterable["TapeSpan"]) -> list["TapeSpan"]:
    """Join spans that touch and are alike; the later one's end is theirs."""
    result: list[TapeSpan] = []
    for span in sorted(spans, key=lambda each: each.start):
        before = result[-1] if result else None
        if before and before.end == span.start and before.kind == span.kind:
            span.start = before.start
            result.pop()
        result.append(span)
    return result


class TapeSpan(models.Model):
    """A time from `start` on and before `end` in which every trade was read, or may be missing.

    `newest_ids` are the trades with which the next walk must join it.
    """

    start = models.DateTimeField(unique=True, help_text="By the exchange's clock.")
    end = models.DateTimeField(db_index=True)
    is_whole = models.BooleanField(help_text="False: trades of this time may be missing.")
    proof = models.CharField(max_length=20, choices=Proof, blank=True)
    extent = models.CharField(max_length=10, choices=Extent, default=Extent.ALL)
    with_combos = models.BooleanField(default=False)
    newest_ids = ArrayField(models.UUIDField(), default=list, blank=True)
    tried_at = models.DateTimeField(
        null=True, blank=True, help_text="When this time was listed last, and not read whole."
    )

    objects = TapeSpanQuerySet.as_manager()

    class Meta:
        ordering = ["-start"]

    def __str__(self) -> str:
        state = "whole" if self.is_whole else "open"
        return f"{state} from {self.start:%Y-%m-%d %H:%M:%S} to {self.end:%H:%M:%S}"

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def kind(self) -> tuple[object, ...]:
        """What spans have in common that may be one."""
        return (self.is_whole, self.proof, self.extent, self.with_combos, self.tried_at)

    def without(self, time: Interval) -> "list[TapeSpan]":
        """Return what is left of this span outside a time, as new spans."""
        left = []
        for start, end in subtract([Interval(self.start, self.end)], [time]):
            newest: Sequence[UUID] = self.newest_ids if end == self.end else ()
            left.append(
                TapeSpan(
                    start=start,
                    end=end,
                    is_whole=self.is_whole,
                    proof=self.proof,
                    extent=self.extent,
                    with_combos=self.with_combos,
                    newest_ids=list(newest),
                    tried_at=self.tried_at,
                )
            )
        return left


class TapeDayQuerySet(models.QuerySet["TapeDay"]):
    def compare(self, day: date, *, at: datetime) -> "TapeDay":
        """Compare a day's trades with the change of each market's volume, and store the result."""
        start, end = DayPartition(TRADES, day).bounds
        edges = {"first": start - CLOCK_TOLERANCE, "last": end + CLOCK_TOLERANCE}
        edge = CLOCK_TOLERANCE.total_seconds()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(VOLUME_AND_TRADES, {"start": start, "end": end, "edge": edge, **edges})
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
        """Return those of these days that were not compared yet, the newest first."""
        return sorted(set(days) - set(self.values_list("day", flat=True)), reverse=True)


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
