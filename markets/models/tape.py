"""The spans of the tape in which every trade was read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import connection, models

from markets.intervals import Interval, intersect, merge, subtract
from markets.models.storage import ArchivedDay
from markets.models.sweeps import HotPeriod
from markets.models.tape_scope import Extent, TapeScope
from markets.storage.partitions import TRADES, DayPartition

ONE_WRITER = "SELECT pg_advisory_xact_lock(hashtext('markets_tapespan'))"
# A time that was read no later than this was known as it passed. Such spans join, so that none of
# them tells to the second since when it was known: a reader counts on them after this time.
LIVE_WITHIN = timedelta(minutes=1)


class Proof(models.TextChoices):
    """The way in which a span of the tape was read."""

    JOINED = "joined", "a walk back to a known trade"
    LISTED = "listed", "all of its time was listed later"
    HISTORICAL = "historical", "the same in the historical tier"


class WholeTape(NamedTuple):
    """Markets by their places in a list, and the times in which all their trades are on record.

    With `while_observed` that is so only where a market was observed.
    """

    places: Sequence[int]
    times: Sequence[Interval]
    while_observed: bool = False


class TapeSpanQuerySet(models.QuerySet["TapeSpan"]):
    # --- Writes -----------------------------------------------------------------------------

    def mark_whole(self, time: Interval, span: "TapeSpan", *, at: datetime) -> None:
        """Mark a time as read whole by an instant, and since when that is known."""
        live = max(time.start, min(at - LIVE_WITHIN, time.end))
        newest = () if live < time.end else span.newest_ids
        early = span.copy(known_at=next_minute(at), newest_ids=newest)
        self.mark(Interval(time.start, live), early)
        self.mark(Interval(live, time.end), span.copy(known_at=None))

    def mark(self, time: Interval, span: "TapeSpan") -> None:
        """Let a time be as `span` says, and join what is alike.

        What is whole stays known since when it was, and tells of its own markets alone: a time
        may be whole for some of them by one span and for others by another. Call it in a
        transaction: one writer at a time changes spans.
        """
        if not time:
            return
        with connection.cursor() as cursor:
            cursor.execute(ONE_WRITER)
        around = self.filter(start__lte=time.end, end__gte=time.start)
        touching = [row for row in around.order_by("start") if span.replaces(row)]
        left = [piece for row in touching for piece in row.without(time)]
        self.filter(pk__in=[row.pk for row in touching]).delete()
        self.bulk_create(joined([*left, *span.beside(touching, time)]))

    def add(self, time: Interval, values: Mapping[str, Any]) -> int:
        """Mark the parts of a time of which no span tells as much; return their number.

        What is whole closes what is open for the same markets.
        """
        span = TapeSpan(**values)
        rows = self.within(time)
        known = [row for row in rows if row.is_whole >= span.is_whole and span.replaces(row)]
        missing = subtract([time], merge((row.start, row.end) for row in known))
        for part in missing:
            self.mark(part, span.copy())
        return len(missing)

    def mark_open(self, time: Interval, *, tried_at: datetime | None = None) -> None:
        scope = TapeScope.of_settings()
        self.mark(time, TapeSpan(is_whole=False, tried_at=tried_at, **scope._asdict()))

    # --- Reads ------------------------------------------------------------------------------

    def newest(self) -> "TapeSpan | None":
        """Return the span up to which the tape was read last."""
        return self.order_by("-end", "-pk").first()

    def newest_whole(self, *, until: datetime) -> datetime | None:
        """Return the newest instant, no later than `until`, to which the settings' tape is whole.

        What is whole beyond it was dated by a clock that was wrong.
        """
        scope, names = TapeScope.of_settings(), TapeScope._fields
        known = self.counted().filter(end__lte=until).order_by(*names, "-end").distinct(*names)
        return max((row.end for row in known if row.scope.covers(scope)), default=None)

    def ends_whole(self, at: datetime) -> bool:
        """Return True if a whole span ends at an instant."""
        return self.filter(end=at, is_whole=True).exists()

    def to_close(self, *, before: datetime, tried_before: datetime) -> Interval | None:
        """Return the newest open time before an instant that the settings let us read whole.

        Not what was tried lately, or is whole for the settings and open for others. Of the past, a
        hot list proves nothing.
        """
        scope = TapeScope.of_settings()
        untried = models.Q(tried_at=None) | models.Q(tried_at__lt=tried_before)
        waiting = self.open().filter(untried, start__lt=before).order_by("-end")
        times = [Interval(row.start, min(row.end, before)) for row in waiting]
        if not times or scope.extent == Extent.HOT:
            return None
        read = self.read_whole(Interval(min(time.start for time in times), before), scope)
        left = (subtract([time], read) for time in times)
        return next((parts[-1] for parts in left if parts), None)

    def open(self) -> Self:
        return self.filter(is_whole=False)

    def open_times(self) -> list[Interval]:
        """Return the open times, without what is whole for the markets of the settings."""
        times = merge(self.open().values_list("start", "end"))
        if not times:
            return []
        span = Interval(times[0].start, times[-1].end)
        return subtract(times, self.read_whole(span, TapeScope.of_settings()))

    def counted(self) -> Self:
        """Narrow to the whole spans of which is known whose trades they have.

        The hot list of a time that was read later, nobody knows.
        """
        return self.filter(is_whole=True).exclude(extent=Extent.HOT, known_at__isnull=False)

    def within(self, window: Interval) -> Self:
        return self.filter(start__lt=window.end, end__gt=window.start).order_by("start")

    def learned_since(self, window: Interval, at: datetime) -> bool:
        """Return True if a part of a window was read whole only after an instant."""
        return self.within(window).filter(is_whole=True, known_at__gt=at).exists()

    def whole(self, window: Interval, *, scope: TapeScope | None = None) -> list[Interval]:
        """Return the parts of a window whose trades are all on record, of the markets in a scope.

        Without one it is that of the settings. A span speaks of the markets that were recorded at
        its time. Of a day whose trades are no longer kept, it says nothing.
        """
        return kept(self.read_whole(window, scope or TapeScope.of_settings()))

    def read_whole(self, window: Interval, scope: TapeScope) -> list[Interval]:
        """Return the same, whether the trades are still kept or not."""
        return self.within(window).counted()._covering(scope, window)

    def _covering(self, scope: TapeScope, window: Interval) -> list[Interval]:
        times = merge((row.start, row.end) for row in self if row.scope.covers(scope))
        return intersect(times, [window])

    def whole_for(
        self,
        ids: Sequence[int],
        tickers: Sequence[str],
        window: Interval,
        *,
        known_by: datetime,
        skew: timedelta = timedelta(),
    ) -> list[WholeTape]:
        """Return when the trades of markets were all on record, as known by an instant.

        A market has its times where a span was read with a scope that lets it through. With that
        of the hot list, it must have been hot from a trade on until the trade was surely read, and
        nothing is said of what was read later. `skew` is by how much our clock is ahead.

        No history of categories is kept. Where a scope names some, its markets were observed while
        their series had one of them, and not otherwise. So what was read as it passed is whole
        while a market was observed. What was read later goes by the categories of today.
        """
        live: dict[TapeScope, list[Interval]] = {}
        later: dict[TapeScope, list[Interval]] = {}
        for row in self.within(window).counted():
            if known := row.known_part(known_by):
                times = live if row.known_at is None else later
                times.setdefault(row.scope, []).append(known)
        whole: list[WholeTape] = []
        for scope in {**live, **later}:
            read = [live.get(scope, []), later.get(scope, [])]
            live_times, later_times = (kept(intersect(merge(t), [window])) for t in read)
            if scope.extent == Extent.HOT:
                hot = hot_times(scope.possible(tickers, ids), ids, live_times, skew=skew)
                named = {*scope.named(tickers, ids)}
                whole += (each._replace(while_observed=not named >= {*each.places}) for each in hot)
            else:
                whole += scope_times(scope, tickers, ids, live_times, later_times)
        return united(each for each in whole if each.places and each.times)

    def share(self, window: Interval) -> float:
        """Return the share of a window whose trades are all on record, by the settings' scope."""
        whole = sum((each.length for each in self.whole(window)), timedelta())
        return whole / window.length

    def tells_of(self, window: Interval) -> bool:
        """Return True if a part of a window was read whole and its trades, if any, are kept."""
        whole = merge((row.start, row.end) for row in self.within(window).filter(is_whole=True))
        return bool(intersect(kept(whole), [window]))

    def dropped_days(self, window: Interval) -> list[date]:
        """Return the days of a window whose trades are no longer on record, if any were."""
        return [
            day
            for day in lacking_days()
            if intersect([window], [Interval(*DayPartition(TRADES, day).bounds)])
        ]

    def unread(self, window: Interval) -> list[Interval]:
        """Return the parts of a window that were never read by the scope of the settings.

        What was read for nothing is not among them: a hot list that nobody knows, or a day whose
        trades were dropped since. Reading it again would prove no more.
        """
        read = self.within(window).filter(is_whole=True)
        return subtract([window], read._covering(TapeScope.of_settings(), window))


def next_minute(at: datetime) -> datetime:
    """Return the end of a minute: what was read in one of them is one span, known at its end."""
    return at.replace(second=0, microsecond=0) + LIVE_WITHIN


def kept(times: Sequence[Interval]) -> list[Interval]:
    """Return what is left of times without the days whose trades were dropped, or not restored.

    A day that was dropped without a trade lacks none.
    """
    days = lacking_days() if times else []
    return subtract(times, [Interval(*DayPartition(TRADES, day).bounds) for day in days])


def lacking_days() -> list[date]:
    return ArchivedDay.objects.lacking_trades(TapeSpan._meta.db_table)


def scope_times(
    scope: TapeScope,
    tickers: Sequence[str],
    ids: Sequence[int],
    live: Sequence[Interval],
    later: Sequence[Interval],
) -> Iterator[WholeTape]:
    """Yield the times of the markets that a scope lets through, by name or by category."""
    named = scope.named(tickers, ids)
    yield WholeTape(named, merge([*live, *later]))
    if scope.categories:
        others = sorted({*scope.possible(tickers, ids)} - {*named})
        yield WholeTape(others, live, while_observed=True)
        now = sorted({*scope.members(tickers, ids)} - {*named})
        yield WholeTape(now, later)


def hot_times(
    places: Sequence[int], ids: Sequence[int], times: Sequence[Interval], *, skew: timedelta
) -> list[WholeTape]:
    """Return by market the parts of times at which it was hot, and long enough to be read."""
    numbers = {ids[place]: place for place in places}
    if not times or not numbers:
        return []
    window = Interval(times[0].start + skew, times[-1].end + skew)
    periods = HotPeriod.objects.lasting(numbers, window).values_list(
        "market_id", "started_at", "ended_at"
    )
    whole = []
    for id, rows in groupby(periods, key=lambda row: row[0]):
        hot = [
            Interval(start - skew, (end or window.end + LIVE_WITHIN) - LIVE_WITHIN - skew)
            for _, start, end in rows
        ]
        lasting = merge(each for each in hot if each.start < each.end)
        if own := intersect(lasting, times):
            whole.append(WholeTape([numbers[id]], own))
    return whole


def united(whole: Iterable[WholeTape]) -> list[WholeTape]:
    """Make one of those that have the same markets."""
    times: dict[tuple[tuple[int, ...], bool], list[Interval]] = {}
    for each in whole:
        times.setdefault((tuple(each.places), each.while_observed), []).extend(each.times)
    return [
        WholeTape(places, merge(every), while_observed)
        for (places, while_observed), every in times.items()
    ]


def joined(spans: Iterable["TapeSpan"]) -> list["TapeSpan"]:
    """Join spans that touch and are alike; the later one's end is theirs."""
    result: list[TapeSpan] = []
    newest: dict[tuple[object, ...], TapeSpan] = {}
    for span in sorted(spans, key=lambda each: each.start):
        before = newest.get(span.kind)
        if before and before.end == span.start:
            before.end, before.newest_ids = span.end, span.newest_ids
            continue
        newest[span.kind] = span
        result.append(span)
    return result


class TapeSpan(models.Model):
    """A time from `start` on and before `end` in which every trade was read, or may be missing.

    `newest_ids` are the trades with which the next walk must join it. A whole span speaks of the
    markets of its scope; an open one waits for a scope that covers its own, and a narrower one may
    be whole beside it. So spans may overlap, but no two that are open or of one scope.
    """

    start = models.DateTimeField(db_index=True, help_text="By the exchange's clock.")
    end = models.DateTimeField(db_index=True)
    is_whole = models.BooleanField(help_text="False: trades of this time may be missing.")
    proof = models.CharField(max_length=20, choices=Proof, blank=True)
    extent = models.CharField(max_length=10, choices=Extent, default=Extent.ALL)
    with_combos = models.BooleanField(default=False)
    series = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="The only series whose trades were stored, beside those of `categories`.",
    )
    categories = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="The same by category; where neither is named, trades of all series were.",
    )
    known_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When a whole span was read, to the next minute; null: within a minute.",
    )
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
    def scope(self) -> TapeScope:
        names = tuple(self.series), tuple(self.categories)
        return TapeScope(self.extent, self.with_combos, *names)

    @property
    def kind(self) -> tuple[object, ...]:
        """The facts that spans which may be joined have in common."""
        return (self.is_whole, self.proof, self.scope, self.known_at, self.tried_at)

    def known_part(self, at: datetime) -> Interval | None:
        """Return the part that was known to be whole by an instant; None where there is none."""
        if self.known_at:
            return Interval(self.start, self.end) if self.known_at <= at else None
        known = Interval(self.start, min(self.end, at - LIVE_WITHIN))
        return known if known.start < known.end else None

    def replaces(self, other: "TapeSpan") -> bool:
        """Return True if a time of this span is no longer one of the other's.

        An open span takes from all. A whole one of the hot list closes nothing if it was read
        later: whose trades it has, nobody knows.
        """
        if not self.is_whole:
            return True
        if other.is_whole:
            return self.scope == other.scope
        is_guess = self.extent == Extent.HOT and self.known_at is not None
        return self.scope.covers(other.scope) and not is_guess

    def copy(self, **changes: Any) -> "TapeSpan":
        """Return the same as a new span, but for changes."""
        values = {field.name: getattr(self, field.name) for field in self._meta.fields}
        return TapeSpan(**values | changes | {"id": None})

    def beside(self, spans: Iterable["TapeSpan"], time: Interval) -> "list[TapeSpan]":
        """Return the same of a time, in pieces: what others say beyond it, they say further."""
        known = [row.within(time) for row in spans if self.leaves(row)]
        known = [row for row in known if row.start < row.end]
        for row in known:
            if row.is_whole and row.end == time.end and self.newest_ids:
                row.newest_ids = self.newest_ids
            row.tried_at = self.tried_at
        new = subtract([time], [Interval(row.start, row.end) for row in known])
        return [*known, *(self.over(part, ends=time.end) for part in new)]

    def leaves(self, other: "TapeSpan") -> bool:
        """Return True if the other one says more: whole since earlier, or open for more markets."""
        if self.is_whole:
            return other.is_whole
        return not other.is_whole and not self.scope.covers(other.scope)

    def over(self, time: Interval, *, ends: datetime) -> "TapeSpan":
        """Return the same of a time; only a span that `ends` there knows what the next may meet."""
        newest: Sequence[UUID] = self.newest_ids if time.end == ends else ()
        return self.copy(start=time.start, end=time.end, newest_ids=list(newest))

    def within(self, time: Interval) -> "TapeSpan":
        """Return what is left of this span inside a time, as a new span."""
        inside = Interval(max(self.start, time.start), min(self.end, time.end))
        return self.over(inside, ends=self.end)

    def without(self, time: Interval) -> "list[TapeSpan]":
        """Return what is left of this span outside a time, as new spans."""
        left = subtract([Interval(self.start, self.end)], [time])
        return [self.over(each, ends=self.end) for each in left]
