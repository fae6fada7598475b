"""The recorder's account of itself: its runs, and what it noticed on the way."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from django.db import connection, models
from django.db.models import ExpressionWrapper, F, Min, Q
from django.db.models.expressions import RawSQL
from django.db.models.functions import TruncDate

from kalshi_insights.arrays import Ints, np
from markets.intervals import EPOCH, Interval, merge, subtract
from markets.kalshi.drift import DriftNote
from markets.kalshi.reach import CLOCK, KEY, NO_NETWORK, reason_of
from markets.models.fields import OrderKey, Row, order_terms
from markets.models.markets import Market, Status
from markets.models.observations import array_of

POLL_JUDGED = {
    "failed": ExpressionWrapper(~Q(error=""), output_field=models.BooleanField()),
    "warned": ExpressionWrapper(~Q(warning=""), output_field=models.BooleanField()),
}
POLL_ORDERS = {"started_at": OrderKey(F("started_at"), nullable=False)}
# Later runs may repeat for this long what a run heard of the exchange's status.
STATUS_VALID_FOR = timedelta(minutes=2)
# An error begins with a tier in small letters where the exchange is at fault, and with the name
# of an exception class where we are; the token bucket, the network, clock and key are ours too.
OUR_FAULT = rf"^[^a-z]|the token bucket cannot be asked|: ({NO_NETWORK}|{CLOCK}|{KEY}): "
# A run observed something if it ended well, or read some markets although the exchange failed.
OBSERVING = f"finished_at IS NOT NULL AND (error = '' OR markets > 0 AND error !~ '{OUR_FAULT}')"
# A run that waited for an answer began to observe later than it began.
FIRST_OBSERVED = "greatest(started_at, observed_from)"
WAITED = "observed_from > started_at + {} * interval '1 s'"
# Runs overlap where the clock stepped back, but never so many of them.
LAST_OBSERVED = f"""
    SELECT max(finished_at) AS last FROM (
        SELECT finished_at FROM markets_poll WHERE started_at < {{}} AND {OBSERVING}
        ORDER BY started_at DESC LIMIT 10) AS newest
"""
# The clocks of two machines that are both right differ by no more. What lies further in the future
# was written before a clock was set back, and counts for nothing newer.
CLOCK_TOLERANCE = timedelta(seconds=2)
MICROSECOND = timedelta(microseconds=1)
# A run is stopped long before.
LONGEST_RUN = timedelta(minutes=10)
# `find_drift` notes an unknown status under this and the word itself.
STATUS_DRIFT = "market.status="
# Within this many runs every active tier has had its turn.
AGES_WITHIN = 60


class Tier(models.TextChoices):
    HOT = "hot"
    UNIVERSE = "universe"
    COMBOS = "combos"
    UPDATES = "updates"
    SETTLEMENT = "settlement"
    CENSUS = "census"
    ORDER_BOOKS = "order books"
    TRADES = "trades"
    SERIES = "series"
    FEES = "fees"
    HOURS = "hours"
    STATUS = "status"


class PollQuerySet(models.QuerySet["Poll"]):
    def claim(self, *, interval: float) -> "Poll | None":
        """Insert and return a new run; None if the last one began too recently.

        The database's clock decides. The limit is four fifths of the interval, because a slot of
        the whole interval is missed whenever the schedule comes a moment early.
        """
        claimed = self.raw(
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
            RETURNING *
            """,
            [interval * 0.8],
        )
        return next(iter(claimed), None)

    def with_valid_status(self, at: datetime) -> "Poll | None":
        """Return the newest run before `at` whose word on the exchange's status still holds."""
        recent = self.filter(started_at__lt=at, started_at__gt=at - STATUS_VALID_FOR)
        return recent.filter(finished_at__isnull=False).first()

    def begun_by(self, at: datetime) -> Self:
        return self.filter(started_at__lte=at + CLOCK_TOLERANCE)

    def newest_finished(self, *, at: datetime) -> "Poll | None":
        """Return the newest good run as of an instant."""
        return self.begun_by(at).good().first()

    def newest_failed(self, *, at: datetime) -> "Poll | None":
        """Return the newest finished run as of an instant, if it failed."""
        newest = self.begun_by(at).filter(finished_at__isnull=False).first()
        return newest if newest and newest.error else None

    def furthest_ahead(self, at: datetime) -> timedelta | None:
        """Return how far the runs on record lie after an instant; None where none do."""
        newest = self.values_list("started_at", flat=True).first()
        return newest - at if newest and newest > at + CLOCK_TOLERANCE else None

    def newest_ages(self, *, at: datetime) -> dict[str, dict[str, float]]:
        """Return by tier the ages that the newest run to observe its markets has measured."""
        ages: dict[str, dict[str, float]] = {}
        for measured in self.begun_by(at).values_list("ages", flat=True)[:AGES_WITHIN]:
            ages = measured | ages
        return ages

    def good(self) -> Self:
        """Runs that finished and recorded every quote that was due."""
        return self.filter(finished_at__isnull=False, error="")

    def began(self) -> datetime | None:
        """Return when the record began: the start of the first run, whatever became of it."""
        return self.order_by("started_at").values_list("started_at", flat=True).first()

    def first_of_days(self) -> dict[date, datetime]:
        """Return the start of the first run of each day (UTC)."""
        days = self.annotate(day=TruncDate("started_at", tzinfo=UTC)).order_by("day")
        firsts = days.values("day").annotate(first=Min("started_at"))
        return dict(firsts.values_list("day", "first"))

    def unobserved(
        self, window: Interval, *, longer_than: timedelta, now: datetime
    ) -> list[Interval]:
        """Return when nothing was observed for longer than `longer_than`, oldest first.

        Each interval lasts from the end of the last run that observed anything to the first quotes
        of the next one, or to `now`; those that overlap the window are returned whole. The time
        before the first run is left out.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH following AS (
                    SELECT started_at AS began, {FIRST_OBSERVED} AS next FROM markets_poll
                    WHERE started_at > %(start)s - interval '10 min' AND started_at < %(end)s
                        AND {FIRST_OBSERVED} > %(start)s AND {OBSERVING}
                        AND (since_last IS NULL OR since_last > %(least)s * interval '1 s')
                    UNION SELECT coalesce(after.began, %(now)s), coalesce(after.next, %(now)s)
                    FROM (SELECT) AS always LEFT JOIN LATERAL (
                        SELECT started_at AS began, {FIRST_OBSERVED} AS next FROM markets_poll
                        WHERE started_at >= %(end)s AND started_at <= %(now)s AND {OBSERVING}
                        ORDER BY started_at LIMIT 1) AS after ON true
                )
                SELECT last, next FROM (
                    SELECT next, coalesce(last, (SELECT min(started_at) FROM markets_poll)) AS last
                    FROM following
                    CROSS JOIN LATERAL ({LAST_OBSERVED.format("began")}) AS before
                ) AS silences
                WHERE next - last > %(least)s * interval '1 s' AND last < %(end)s ORDER BY next
                """,
                {**window._asdict(), "least": longer_than.total_seconds(), "now": now},
            )
            return [Interval(*row) for row in cursor.fetchall()]

    def observed_until(self, at: datetime) -> datetime | None:
        """Return the end of the last run that observed anything and began before an instant."""
        with connection.cursor() as cursor:
            cursor.execute(LAST_OBSERVED.format("%s"), [at])
            last: datetime | None = cursor.fetchone()[0]
        return last

    def written_until(self, at: datetime) -> datetime:
        """Return the instant before which all that runs observed had been written by `at`.

        A run writes at its end what it observed: that is when the first one began that was under
        way. Those that were killed wrote nothing.
        """
        recent = self.filter(started_at__gt=at - LONGEST_RUN, started_at__lte=at)
        began = recent.filter(finished_at__gt=at).order_by("started_at").first()
        return began.started_at if began else at + MICROSECOND

    def silences(
        self, windows: Sequence[Interval], *, longer_than: timedelta
    ) -> list[tuple[int, datetime, datetime]]:
        """Return when the recorder was not at work for longer than `longer_than`, oldest first.

        Each silence comes with the place of its window. A window begins right after an observation
        and ends with one, or with the present. A silence lasts from the end of one run to the
        start of the next. Runs count that finished inside the window, or waited in it for an
        answer, and did not fail on our side.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                WITH looked AS (
                    SELECT * FROM unnest(%(since)s::timestamptz[], %(until)s::timestamptz[])
                        WITH ORDINALITY AS looked (since, until, n)
                )
                SELECT n - 1, last, next FROM (
                    SELECT n, at AS next, coalesce(max(finished_at) OVER before, since) AS last
                    FROM (
                        SELECT n, since, started_at AS at, finished_at FROM looked
                        -- A run that ends later made the observation that ended the window. It
                        -- was at work in it only if it waited for an answer.
                        JOIN markets_poll ON started_at > since AND started_at < until
                            AND (finished_at <= until OR {WAITED.format("%(least)s")})
                            AND error !~ %(ours)s
                        UNION ALL SELECT n, since, until, NULL FROM looked
                    ) AS runs
                    WINDOW before AS (PARTITION BY n ORDER BY at
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                ) AS silences
                WHERE next - last > %(least)s * interval '1 s' ORDER BY next
                """,
                {
                    "since": [window.start for window in windows],
                    "until": [window.end for window in windows],
                    "ours": OUR_FAULT,
                    "least": longer_than.total_seconds(),
                },
            )
            silences: list[tuple[int, datetime, datetime]] = cursor.fetchall()
        return silences

    def closed_periods(
        self, start: datetime, end: datetime, *, known_by: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return when runs heard that the exchange was not trading, as known by an instant.

        A period lasts from the run that heard of it until the one that heard of its end.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT at, until FROM (
                    SELECT at, open, coalesce(lead(at) OVER (ORDER BY at), last) AS until FROM (
                        SELECT finished_at AS at, open, lag(open) OVER runs AS before,
                            max(finished_at) OVER () AS last
                        FROM (
                            SELECT finished_at, exchange_active AND trading_active AS open
                            FROM markets_poll
                            WHERE finished_at <= %(known_by)s AND started_at < %(end)s
                                AND started_at >= %(start)s - interval '10 minutes'
                        ) AS polls WHERE open IS NOT NULL WINDOW runs AS (ORDER BY finished_at)
                    ) AS heard WHERE open IS DISTINCT FROM before
                ) AS changes WHERE NOT open
                """,
                {"start": start, "end": end, "known_by": known_by},
            )
            periods: list[tuple[datetime, datetime]] = cursor.fetchall()
        return periods

    def clock_skew(self, start: datetime, end: datetime) -> timedelta:
        """Return by how much our clock was ahead of the exchange's in a window, by the median of
        its runs; nothing where none could tell."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY clock_skew) FROM markets_poll
                WHERE started_at >= %s AND started_at < %s
                """,
                [start, end],
            )
            (skew,) = cursor.fetchone()
        # An answer tells its time in whole seconds, so half a second is missing at the median.
        return timedelta() if skew is None else skew - timedelta(seconds=0.5)

    def numbers_at(self, instants: Ints) -> Ints:
        """Return the number of the run that was at work at each instant; -1 before the first.

        Instants are microseconds since 1970; the number is the row's id.
        """
        if not len(instants):
            return np.empty(0, np.int64)
        first, last = (EPOCH + int(at) * MICROSECOND for at in (instants.min(), instants.max()))
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT (extract(epoch FROM started_at) * 1000000)::bigint, id FROM markets_poll
                WHERE started_at > %s AND started_at <= %s ORDER BY started_at, id
                """,
                [first - LONGEST_RUN, last],
            )
            runs = np.array(cursor.fetchall(), np.int64).reshape(-1, 2)
        numbers = np.concatenate([[-1], runs[:, 1]])
        return numbers[np.searchsorted(runs[:, 0], instants, "right")]

    def rows(self, fields: Sequence[str]) -> models.QuerySet[Any, Row]:
        """Return these fields as dictionaries, with the flags `failed` and `warned`."""
        own = (name for name in fields if name not in POLL_JUDGED)
        rows: models.QuerySet[Any, Row] = self.values(*own).annotate(**POLL_JUDGED)
        return rows

    def that_failed(self, value: bool) -> Self:
        return self.exclude(error="") if value else self.filter(error="")

    def ordered_by(self, *keys: str) -> Self:
        return self.order_by(*order_terms(POLL_ORDERS, keys), "id")


class Poll(models.Model):
    """One run of the recorder. A row without `finished_at` is running, or was killed."""

    started_at = models.DateTimeField(db_index=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    pages = models.IntegerField(default=0)
    requests = models.IntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    throttled = models.IntegerField(default=0, help_text="Answers with status 429.")
    markets = models.IntegerField(default=0, help_text="Payloads read in all tiers.")
    snapshots = models.IntegerField(default=0, help_text="Snapshots written.")
    rejected = models.IntegerField(default=0, help_text="Payloads refused as malformed.")
    rejects = models.JSONField(
        default=list, blank=True, help_text="The first refused payloads, for a look."
    )
    order_books = models.IntegerField(default=0, help_text="Order books written.")
    ages = models.JSONField(
        default=dict,
        blank=True,
        help_text=(
            "By tier, how many seconds old the last observation of its markets was when this run"
            " observed them again: p50, p95, max."
        ),
    )
    exchange_active = models.BooleanField(
        null=True, blank=True, help_text="As the exchange last reported; null: it did not."
    )
    trading_active = models.BooleanField(null=True, blank=True)
    clock_skew = models.DurationField(
        null=True,
        blank=True,
        help_text="By how much our clock was ahead of the exchange's; negative where behind.",
    )
    error = models.TextField(blank=True, help_text="Why this run lacks quotes.")
    warning = models.TextField(
        blank=True, help_text="What else failed, although the quotes were recorded."
    )
    observed_from = models.DateTimeField(
        null=True, blank=True, help_text="When the run received its first quotes."
    )
    since_last = models.DurationField(
        null=True,
        blank=True,
        help_text="For a run that observed anything: time since the last such run ended.",
    )

    objects = PollQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at"]
        indexes = [
            # Outages are looked for before the few runs that came late at the usual interval.
            models.Index(
                fields=["started_at"],
                condition=Q(since_last=None) | Q(since_last__gt=timedelta(seconds=10)),
                name="poll_late",
            )
        ]

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S}"

    def carry_over_status(self) -> None:
        """Copy what the exchange last said of itself, where that was not long ago."""
        before = Poll.objects.with_valid_status(self.started_at)
        if before:
            self.exchange_active = before.exchange_active
            self.trading_active = before.trading_active

    @property
    def reason(self) -> str:
        """The reason of a failure in words that anybody may read; the error may name hosts."""
        where = self.error.partition(":")[0]
        return reason_of(self.error) or (f"{where} failed" if where.islower() else where)

    @property
    def has_observed(self) -> bool:
        """True if it ended well, or read some markets although the exchange failed."""
        read_some = self.markets > 0 and not re.search(OUR_FAULT, self.error)
        return self.finished_at is not None and (not self.error or read_some)

    def measure_silence(self) -> None:
        """Measure, if this run observed anything, how long nothing had been observed before."""
        last = Poll.objects.observed_until(self.started_at) if self.has_observed else None
        first = max(self.started_at, self.observed_from or self.started_at)
        self.since_last = first - last if last else None

    @property
    def seconds(self) -> float | None:
        """The duration of the run; None if it has not ended."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


class ClosureQuerySet(models.QuerySet["Closure"]):
    def announce(self, closures: Iterable[tuple[datetime, datetime]], *, at: datetime) -> None:
        """Record announced closures; one that was announced before keeps its `known_at`.

        A closure that is not over and is no longer announced was withdrawn: it counts until now.
        """
        announced = list(closures)
        rows = [self.model(start=start, end=end, known_at=at) for start, end in announced]
        gone = [row for row in self.filter(end__gt=at) if (row.start, row.end) not in announced]
        for row in gone:
            if row.start < at and not any(
                start <= row.start and at <= end for start, end in announced
            ):
                rows.append(self.model(start=row.start, end=at, known_at=row.known_at))
        self.filter(pk__in=[row.pk for row in gone]).delete()
        self.bulk_create(rows, ignore_conflicts=True)

    def within(self, start: datetime, end: datetime) -> Self:
        return self.filter(start__lt=end, end__gt=start)

    def between(
        self, start: datetime, end: datetime, *, known_by: datetime
    ) -> list[tuple[datetime, datetime]]:
        """Return the closures that overlap a window and were announced by an instant."""
        announced = self.within(start, end).filter(known_at__lte=known_by)
        return list(announced.values_list("start", "end"))


class Closure(models.Model):
    """A time for which the exchange announced that it would be closed."""

    start = models.DateTimeField()
    end = models.DateTimeField()
    known_at = models.DateTimeField()

    objects = ClosureQuerySet.as_manager()

    class Meta:
        ordering = ["start"]
        constraints = [models.UniqueConstraint(fields=["start", "end"], name="closure_once")]

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


class DriftQuerySet(models.QuerySet["Drift"]):
    def note(self, notes: Iterable[DriftNote], *, at: datetime) -> None:
        """Count these deviations; of each kind and place the first sample is kept."""
        first: dict[tuple[str, str], DriftNote] = {}
        counts: Counter[tuple[str, str]] = Counter()
        for note in notes:
            first.setdefault((note.kind, note.where), note)
            counts[note.kind, note.where] += 1
        with connection.cursor() as cursor:
            # Every writer uses the same order, so that two of them cannot deadlock.
            for key in sorted(first):
                cursor.execute(
                    """
                    INSERT INTO markets_drift (kind, "where", first_seen_at, last_seen_at, count,
                                               sample)
                    VALUES (%s, %s, %s, %s, %s, %s)
                    ON CONFLICT (kind, "where") DO UPDATE SET
                        count = markets_drift.count + excluded.count,
                        last_seen_at = greatest(markets_drift.last_seen_at, excluded.last_seen_at)
                    """,
                    [*key, at, at, counts[key], first[key].sample],
                )

    def since(self, at: datetime) -> Self:
        return self.filter(last_seen_at__gte=at)

    def unknown_statuses(self) -> list[str]:
        """Return the statuses of markets that the exchange has sent and that we do not know."""
        noted = self.filter(kind=Drift.Departure.WORD, where__startswith=STATUS_DRIFT)
        places = noted.values_list("where", flat=True)
        return sorted({place.removeprefix(STATUS_DRIFT) for place in places} - set(Status.values))


class Drift(models.Model):
    """A departure of a payload from the contract as we know it."""

    class Departure(models.TextChoices):
        FIELD = "field", "unknown field"
        WORD = "word", "unknown word"
        SHAPE = "shape", "not the contract's shape"

    kind = models.CharField(max_length=10, choices=Departure)
    where = models.CharField(max_length=300, help_text="The payload, the field and the word.")
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    count = models.BigIntegerField(default=1)
    sample = models.TextField(help_text="The first occurrence.")

    objects = DriftQuerySet.as_manager()

    class Meta:
        ordering = ["-last_seen_at"]
        verbose_name_plural = "drift"
        constraints = [models.UniqueConstraint(fields=["kind", "where"], name="drift_once")]

    def __str__(self) -> str:
        return self.where


class BackfillSpanQuerySet(models.QuerySet["BackfillSpan"]):
    def as_requested(self) -> Self:
        return self.filter(refusal="")

    def refused(self) -> Self:
        """Spans that hold a refused record; they go when it has been read."""
        return self.exclude(refusal="")

    def of_markets(self, ids: Iterable[int]) -> Self:
        """The spans of these markets, of which there may be very many."""
        return self.filter(market_id__in=RawSQL("SELECT unnest(%s::bigint[])", [array_of(ids)]))

    def whole(
        self, kind: str, ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
    ) -> list[tuple[int, datetime, datetime]]:
        """Return each market's times after a start and until an end, included, that were fetched
        wholly, as far as they reach into a window."""
        done = self.of_markets(ids).filter(kind=kind, start__lt=end, end__gt=start)
        holes: dict[int, list[Interval]] = defaultdict(list)
        for span in done.refused():
            holes[span.market_id].append(Interval(span.start, span.end))
        finished = done.as_requested().filter(finished_at__lte=known_by)
        return [
            (market_id, *part)
            for market_id, since, until in finished.values_list("market_id", "start", "end")
            for part in subtract([Interval(since, until)], merge(holes[market_id]))
        ]

    def keep_open(self, refused: "BackfillSpan") -> "BackfillSpan":
        """Write the span of a refused record, or return the one that is there."""
        span, _ = self.refused().update_or_create(
            market=refused.market,
            kind=refused.kind,
            start=refused.start,
            end=refused.end,
            defaults={"refusal": refused.refusal},
        )
        return span


class BackfillSpan(models.Model):
    """The progress of one market's backfill of one kind, so that it can be resumed.

    A record that cannot be read gets a span of its own, with the reason as its `refusal`, so that
    the others can be done while it stays open.
    """

    market = models.ForeignKey(Market, on_delete=models.CASCADE, related_name="backfills")
    kind = models.CharField(
        max_length=20,
        help_text="Trades, candles with their minutes, or a window before an anchor.",
    )
    start = models.DateTimeField()
    end = models.DateTimeField()
    done_until = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    refusal = models.TextField(
        blank=True,
        help_text="Why a record of this time cannot be read; blank for time as it was requested.",
    )

    objects = BackfillSpanQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["market", "kind", "start", "end"],
                condition=Q(refusal=""),
                name="backfill_span_once",
            ),
            models.UniqueConstraint(
                fields=["market", "kind", "start", "end"],
                condition=~Q(refusal=""),
                name="backfill_refusal_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.market_id} {self.kind} from {self.start:%Y-%m-%d %H:%M}"
