"""Why something was not observed: stretches of time, and what the ledger says of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from markets.models import Market

# Ticks without an observation until something counts as not observed, in any tier.
STALE_AFTER = 3
# As long as a run can take over what another one has heard: `PollQuerySet.said_shortly_before`.
HEARD_FOR = timedelta(minutes=2)


class Cause(StrEnum):
    NOT_TRADABLE = "market paused or closed"
    EXCHANGE_CLOSED = "exchange closed"
    OUR_OUTAGE = "our outage"
    NOT_LISTED = "not listed"
    THROTTLED = "throttled"
    EXCHANGE_FAILING = "exchange failing"
    NOT_COVERED = "not covered"


# Nobody could trade then, so nothing was missed.
UNCOUNTED = (Cause.NOT_TRADABLE, Cause.EXCHANGE_CLOSED)


class Stretch(NamedTuple):
    """From `start` on and before `end`."""

    start: datetime
    end: datetime

    def __bool__(self) -> bool:
        return self.start < self.end

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def as_json(self) -> dict[str, Any]:
        return {"start": self.start.isoformat(), "end": self.end.isoformat()}


class Unseen(NamedTuple):
    """A stretch without a fresh observation; since `since` there has been none at all."""

    start: datetime
    end: datetime
    since: datetime


class Gap(NamedTuple):
    start: datetime
    end: datetime
    cause: Cause
    detail: str

    @property
    def counted(self) -> bool:
        """Whether it lowers the share of the time that was covered."""
        return self.cause not in UNCOUNTED

    @property
    def stretch(self) -> Stretch:
        return Stretch(self.start, self.end)

    def as_json(self) -> dict[str, Any]:
        return {
            **self.stretch.as_json(),
            "cause": self.cause.value,
            "detail": self.detail,
            "counted": self.counted,
        }


# --- stretches: each list in order, none of its members touching another -------------------------


def merged(stretches: Iterable[tuple[datetime, datetime]]) -> list[Stretch]:
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1].end:
            found[-1] = Stretch(found[-1].start, max(end, found[-1].end))
        elif start < end:
            found.append(Stretch(start, end))
    return found


def common(these: Sequence[Stretch], those: Sequence[Stretch]) -> list[Stretch]:
    found = []
    starts, ends = [s.start for s in those], [s.end for s in those]
    for start, end in these:
        for other in islice(those, bisect_right(ends, start), bisect_left(starts, end)):
            found.append(Stretch(max(start, other.start), min(end, other.end)))
    return found


def without(these: Sequence[Stretch], those: Sequence[Stretch]) -> list[Stretch]:
    if not these:
        return []
    edges = [these[0].start, *(edge for s in those for edge in s), these[-1].end]
    between = zip(edges[::2], edges[1::2], strict=True)
    return common(these, [Stretch(start, end) for start, end in between if start < end])


def past(start: datetime, end: datetime) -> Stretch:
    """The window, up to now: what has not happened yet was not missed.

    Raises ValueError naming the argument that makes no window.
    """
    for name, instant in (("start", start), ("end", end)):
        if instant.tzinfo is None:
            raise ValueError(f"{name} has no time zone")
    if end < start:
        raise ValueError("end lies before start")
    now = max(start, datetime.now(UTC))
    return Stretch(start, min(end, now))


# --- causes --------------------------------------------------------------------------------------


def explained(
    unseen: Sequence[Unseen], *, names: Sequence[str] = (), tiers: Sequence[str] = ()
) -> list[Gap]:
    """These stretches with their causes, cut where a closure or a silence of ours ends.

    Where causes meet, the first of these counts: the exchange had announced that it would be
    closed; no run of ours was finished for three ticks; a run heard that the exchange is closed,
    as long as no other one heard that it is open, and for two minutes if none heard either;
    a complete pass of these tiers was without the market; a run was throttled; a run failed.
    Where none of them is on record, nothing is known but that it was not covered.
    """
    if not unseen:
        return []
    whole, closures = _spans(unseen), _closures(unseen)
    others = _parts(unseen, without(whole, closures))
    silences = _silences(others)
    silent = _parts(others, common(_spans(others), silences))
    spoken = _parts(others, without(_spans(others), silences))
    gaps = [Gap(*part, Cause.EXCHANGE_CLOSED, "announced") for part in common(whole, closures)]
    told = _told([*silent, *spoken], names=names, tiers=tiers)
    for part, runs in zip(silent, told, strict=False):
        gaps.append(Gap(part.start, part.end, Cause.OUR_OUTAGE, runs.silence))
    closed = []
    for part, runs in zip(spoken, told[len(silent) :], strict=True):
        if runs.closed:
            closed.append(part)
        else:
            gaps.append(Gap(part.start, part.end, *runs.cause))
    return sorted([*gaps, *_around_rests(closed, names=names, tiers=tiers)])


def _around_rests(
    unseen: Sequence[Unseen], *, names: Sequence[str], tiers: Sequence[str]
) -> Iterator[Gap]:
    """Stretches in which a run heard that the exchange is closed, cut where it was open again."""
    if not unseen:
        return
    rests = _heard_closed(unseen)
    resting = _parts(unseen, common(_spans(unseen), rests))
    awake = _parts(unseen, without(_spans(unseen), rests))
    told = _told([*resting, *awake], names=names, tiers=tiers)
    for part, runs in zip(resting, told, strict=False):
        yield Gap(part.start, part.end, Cause.EXCHANGE_CLOSED, runs.rest)
    for part, runs in zip(awake, told[len(resting) :], strict=True):
        yield Gap(part.start, part.end, *runs.cause)


def untradable(market: Market, window: Stretch) -> list[Gap]:
    """When the market was paused or closed, as far as that was known at the time.

    Until anything was known of it, it is taken to have been open at the times first told.
    """
    told = market.revisions.filter(known_at__lt=window.end).order_by("known_at")
    known = list(told.values_list("known_at", "status", "open_time", "close_time"))
    first = known[0] if known else (window.end, "", market.open_time, market.close_time)
    known.insert(0, (min(window.start, first[0]), "active", *first[2:]))
    ends = [*(since for since, *_ in known[1:]), window.end]
    gaps: list[Gap] = []
    for (since, status, opens, closes), until in zip(known, ends, strict=True):
        during = Stretch(max(since, window.start), min(until, window.end))
        if not during:
            continue
        for start, end, detail in _idle(during, status, opens=opens, closes=closes):
            if gaps and (gaps[-1].end, gaps[-1].detail) == (start, detail):
                gaps[-1] = gaps[-1]._replace(end=end)
            elif start < end:
                gaps.append(Gap(start, end, Cause.NOT_TRADABLE, detail))
    return gaps


def _idle(
    during: Stretch, status: str, *, opens: datetime, closes: datetime | None
) -> list[tuple[datetime, datetime, str]]:
    start, end = during
    if status != "active":
        return [(start, end, status)]
    opened = min(max(opens, start), end)
    closed = max(closes or end, opened)
    return [(start, opened, "not open yet"), (closed, end, "past its close")]


def _spans(unseen: Sequence[Unseen]) -> list[Stretch]:
    return [Stretch(each.start, each.end) for each in unseen]


def _parts(unseen: Sequence[Unseen], parts: Sequence[Stretch]) -> list[Unseen]:
    """What was wrong with the first part of each began with its last observation.

    What was wrong with another part began with its first run, which it may begin with itself.
    """
    began = {each.start: each.since for each in unseen}
    instant = timedelta(microseconds=1)
    return [Unseen(*part, began.get(part.start, part.start - instant)) for part in parts]


def outages(start: datetime, end: datetime) -> list[Gap]:
    """When no run was good for three ticks, from `start` on and before `end`, up to now.

    Nothing is said of the time before the first run on record.
    """
    window = past(start, end)
    least = stale_after(settings.POLL_INTERVAL)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT at, next FROM (
                SELECT at, lead(at, 1, %(end)s) OVER (ORDER BY at) AS next FROM (
                    SELECT started_at AS at FROM markets_poll
                    WHERE finished_at IS NOT NULL AND error = ''
                        AND started_at > %(since)s AND started_at < %(end)s
                    UNION ALL
                    SELECT greatest(%(since)s, min(started_at)) FROM markets_poll
                    HAVING min(started_at) IS NOT NULL
                ) AS runs
            ) AS silences WHERE next - at > %(least)s * interval '1 second' ORDER BY at
            """,
            {"since": window.start - least, "end": window.end, "least": least.total_seconds()},
        )
        return explained([Unseen(at + least, until, at) for at, until in cursor.fetchall()])


class Told(NamedTuple):
    """What the runs and passes of one stretch say of it."""

    runs: int
    unfinished: int
    broken: int
    closed: int
    throttled: int
    failed: int
    error: str | None
    unlisted: bool

    @property
    def silence(self) -> str:
        if self.unfinished:
            return f"{self.unfinished} of {self.runs} runs not finished"
        if self.broken:
            return f"{self.broken} of {self.runs} runs failed here"
        return "no run"

    @property
    def rest(self) -> str:
        return f"heard by {self.closed} of {self.runs} runs"

    @property
    def cause(self) -> tuple[Cause, str]:
        of_all = f"of {self.runs} runs"
        if self.unlisted:
            return Cause.NOT_LISTED, "complete passes were without it"
        if self.throttled:
            return Cause.THROTTLED, f"{self.throttled} {of_all}"
        if self.failed:
            return Cause.EXCHANGE_FAILING, f"{self.failed} {of_all}: {self.error}"
        return Cause.NOT_COVERED, f"none {of_all} failed"


# A run's error begins with a tier, in small letters, where the exchange is at fault, and with
# the name of a class where we are; the bucket of tokens is ours too.
OURS = r"^[^a-z]|the token bucket cannot be asked"
THROTTLED = r"\(429\)|tokens come in"


def _closures(unseen: Sequence[Unseen]) -> list[Stretch]:
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT start, "end" FROM markets_closure WHERE start < %s AND "end" > %s',
            [unseen[-1].end, unseen[0].start],
        )
        return merged(cursor.fetchall())


def _silences(unseen: Sequence[Unseen]) -> list[Stretch]:
    """When no run of ours was at work that could be finished."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT began, ended FROM (
                SELECT since, at AS ended, coalesce(max(finished_at) OVER (
                    PARTITION BY since ORDER BY at
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), since) AS began
                FROM (
                    SELECT since, started_at AS at, finished_at
                    FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[])
                        AS looked (since, "end")
                    -- A run that ends later made the observation that ended the stretch.
                    JOIN markets_poll ON started_at > since AND started_at < looked.end
                        AND finished_at <= looked.end AND error !~ %(ours)s
                    UNION ALL SELECT since, "end", NULL
                    FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[])
                        AS looked (since, "end")
                ) AS runs
            ) AS stretches WHERE ended - began > %(least)s * interval '1 second'
            """,
            {
                "since": [each.since for each in unseen],
                "end": [each.end for each in unseen],
                "ours": OURS,
                "least": stale_after(settings.POLL_INTERVAL).total_seconds(),
            },
        )
        return merged(cursor.fetchall())


def _heard_closed(unseen: Sequence[Unseen]) -> list[Stretch]:
    """From each run that heard it closed to the next one that heard either, if that comes soon."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT at, least(next, at + %(heard_for)s * interval '1 second')
            FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[]) AS looked (since, "end")
            CROSS JOIN LATERAL (
                SELECT started_at AS at, exchange_active,
                    lead(started_at, 1, looked.end) OVER (ORDER BY started_at) AS next
                FROM markets_poll WHERE started_at > since AND started_at < looked.end
                    AND finished_at <= looked.end AND exchange_active IS NOT NULL
            ) AS words WHERE NOT exchange_active
            """,
            {
                "since": [each.since for each in unseen],
                "end": [each.end for each in unseen],
                "heard_for": max(HEARD_FOR, stale_after(settings.POLL_INTERVAL)).total_seconds(),
            },
        )
        return merged(cursor.fetchall())


def _told(unseen: Sequence[Unseen], *, names: Sequence[str], tiers: Sequence[str]) -> list[Told]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT runs.*, EXISTS (
                SELECT FROM markets_sweep WHERE tier = ANY(%(tiers)s) AND complete
                    AND started_at > since AND started_at < looked.end
                    AND (tier <> 'hot' OR skipped && %(names)s))
            FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[])
                WITH ORDINALITY AS looked (since, "end", n)
            CROSS JOIN LATERAL (
                SELECT count(*),
                    count(*) FILTER (WHERE finished_at IS NULL),
                    count(*) FILTER (WHERE error ~ %(ours)s),
                    count(*) FILTER (WHERE NOT exchange_active),
                    count(*) FILTER (WHERE throttled > 0 OR error ~ %(throttled)s),
                    count(*) FILTER (WHERE error <> '' AND error !~ %(ours)s),
                    max(error) FILTER (WHERE error !~ %(ours)s)
                FROM markets_poll WHERE started_at > since AND started_at < looked.end
                    AND (finished_at IS NULL OR finished_at <= looked.end)
            ) AS runs ORDER BY n
            """,
            {
                "since": [each.since for each in unseen],
                "end": [each.end for each in unseen],
                "names": list(names),
                "tiers": list(tiers),
                "ours": OURS,
                "throttled": THROTTLED,
            },
        )
        return [Told(*row) for row in cursor.fetchall()]


def stale_after(interval: float) -> timedelta:
    return timedelta(seconds=STALE_AFTER * interval)
