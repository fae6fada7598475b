"""Causes of gaps: why a market was not observed, as far as the recorder's account tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from markets.intervals import Interval, intersect, merge, subtract
from markets.models import Market, Poll, Status
from markets.models.recording import OUR_FAULT, STATUS_VALID_FOR, WAITED

# A market counts as unobserved after this many intervals of its tier without an observation.
STALE_AFTER = 3
INSTANT = timedelta(microseconds=1)
# A market's revision: since when it was known, the status, the opening and the close.
Revised = tuple[datetime, str, datetime | None, datetime | None]


class Cause(StrEnum):
    NOT_TRADABLE = "market paused or closed"
    EXCHANGE_CLOSED = "exchange closed"
    NOT_RECORDING = "not recording yet"
    OUR_OUTAGE = "our outage"
    NOT_LISTED = "not listed"
    THROTTLED = "throttled"
    EXCHANGE_FAILING = "exchange failing"
    NOT_COVERED = "not covered"


# Nobody could trade then, so nothing was missed. The time before the record began does count: the
# share tells how much of a window is known, and the cause that nobody is to blame for the rest.
UNCOUNTED = (Cause.NOT_TRADABLE, Cause.EXCHANGE_CLOSED)


class UnobservedInterval(NamedTuple):
    """An interval without a fresh observation; the last one before it was made at `since`."""

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
        """True if the gap lowers the share of the time that was covered."""
        return self.cause not in UNCOUNTED

    @property
    def interval(self) -> Interval:
        return Interval(self.start, self.end)

    @property
    def seconds(self) -> float:
        return self.interval.length.total_seconds()


def stale_after(interval: float) -> timedelta:
    return timedelta(seconds=STALE_AFTER * interval)


def elapsed_window(start: datetime, end: datetime) -> Interval:
    """Return the window up to now: what has not happened yet was not missed.

    Raises ValueError, naming the argument, for instants that make no window.
    """
    for name, instant in (("start", start), ("end", end)):
        if instant.tzinfo is None:
            raise ValueError(f"{name} has no time zone")
    if end < start:
        raise ValueError("end lies before start")
    now = max(start, datetime.now(UTC))
    return Interval(start, min(end, now))


# --- Causes -------------------------------------------------------------------------------------


def explain(
    unobserved: Sequence[UnobservedInterval],
    *,
    names: Sequence[str] = (),
    tiers: Sequence[str] = (),
) -> list[Gap]:
    """Return gaps with their causes, cut where a closure or a silence of the recorder ends.

    Where several causes apply, the first of these counts: the recorder had never run; the
    exchange had announced that it would be closed; no run of the recorder finished for three ticks;
    a run heard that the exchange is closed, and none has heard otherwise since (for two minutes
    where none heard anything); a complete sweep of these tiers did not contain the market; a run
    was throttled; a run failed. Without any of them the cause is unknown: not covered.
    """
    if not unobserved:
        return []
    unrecorded = _before_the_record(_intervals(unobserved))
    recorded = _clip(unobserved, subtract(_intervals(unobserved), unrecorded))
    gaps = [Gap(*part, Cause.NOT_RECORDING, "before the first run") for part in unrecorded]
    return sorted([*gaps, *_explain_recorded(recorded, names=names, tiers=tiers)])


def _explain_recorded(
    unobserved: Sequence[UnobservedInterval], *, names: Sequence[str], tiers: Sequence[str]
) -> list[Gap]:
    if not unobserved:
        return []
    whole, closures = _intervals(unobserved), _announced_closures(unobserved)
    others = _clip(unobserved, subtract(whole, closures))
    silences = _recorder_silences(others)
    silent = _clip(others, intersect(_intervals(others), silences))
    active = _clip(others, subtract(_intervals(others), silences))
    gaps = [Gap(*part, Cause.EXCHANGE_CLOSED, "announced") for part in intersect(whole, closures)]
    evidence = _poll_evidence([*silent, *active], names=names, tiers=tiers)
    for part, runs in zip(silent, evidence, strict=False):
        gaps.append(Gap(part.start, part.end, Cause.OUR_OUTAGE, runs.silence))
    closed = []
    for part, runs in zip(active, evidence[len(silent) :], strict=True):
        if runs.closed:
            closed.append(part)
        else:
            gaps.append(Gap(part.start, part.end, *runs.cause))
    return sorted([*gaps, *_gaps_around_closures(closed, names=names, tiers=tiers)])


def _gaps_around_closures(
    unobserved: Sequence[UnobservedInterval], *, names: Sequence[str], tiers: Sequence[str]
) -> Iterator[Gap]:
    """Cut intervals in which a run heard that the exchange is closed where it was open again."""
    if not unobserved:
        return
    closed = _reported_closed(unobserved)
    during = _clip(unobserved, intersect(_intervals(unobserved), closed))
    outside = _clip(unobserved, subtract(_intervals(unobserved), closed))
    evidence = _poll_evidence([*during, *outside], names=names, tiers=tiers)
    for part, runs in zip(during, evidence, strict=False):
        yield Gap(part.start, part.end, Cause.EXCHANGE_CLOSED, runs.closure)
    for part, runs in zip(outside, evidence[len(during) :], strict=True):
        yield Gap(part.start, part.end, *runs.cause)


def untradable(market: Market, *windows: Interval) -> list[Gap]:
    """Return when the market was paused or closed, as far as that was known by each window's end.

    Before its first revision the market is taken to have been active, with the opening and the
    close of that revision.
    """
    revisions = market.revisions.filter(known_at__lt=windows[-1].end).order_by("known_at")
    known = list(revisions.values_list("known_at", "status", "open_time", "close_time"))
    return [gap for window in windows for gap in _untradable_as_known(market, known, window)]


def _untradable_as_known(
    market: Market, revisions: Sequence[Revised], window: Interval
) -> list[Gap]:
    known = [revision for revision in revisions if revision[0] < window.end]
    first = known[0] if known else (window.end, "", market.open_time, market.close_time)
    known.insert(0, (min(window.start, first[0]), Status.ACTIVE, *first[2:]))
    ends = [*(since for since, *_ in known[1:]), window.end]
    gaps: list[Gap] = []
    for (since, status, opens, closes), until in zip(known, ends, strict=True):
        in_force = Interval(max(since, window.start), min(until, window.end))
        if not in_force:
            continue
        for start, end, detail in _untradable_within(in_force, status, opens=opens, closes=closes):
            if gaps and (gaps[-1].end, gaps[-1].detail) == (start, detail):
                gaps[-1] = gaps[-1]._replace(end=end)
            elif start < end:
                gaps.append(Gap(start, end, Cause.NOT_TRADABLE, detail))
    return gaps


def _untradable_within(
    interval: Interval, status: str, *, opens: datetime | None, closes: datetime | None
) -> list[tuple[datetime, datetime, str]]:
    start, end = interval
    if status != Status.ACTIVE:
        return [(start, end, status)]
    opened = min(max(opens or start, start), end)
    closed = max(closes or end, opened)
    return [(start, opened, "not open yet"), (closed, end, "past its close")]


def outages(start: datetime, end: datetime) -> list[Gap]:
    """Return the outages that overlap [start, end), up to now, whole and oldest first.

    An outage is a time of more than three ticks in which the recorder observed nothing at all:
    from the end of the last run that observed anything to the start of the next. One with several
    causes is cut into gaps that touch. The time before the first run is left out.
    """
    window = elapsed_window(start, end)
    found = explain_outages(silent_times(window))
    return [gap for gap in found if gap.start < window.end and gap.end > window.start]


def explain_outages(silent: Sequence[Interval]) -> list[Gap]:
    # The first run of all counts even where an outage begins with it.
    unobserved = [UnobservedInterval(*each, each.start - INSTANT) for each in silent]
    return _explain_recorded(unobserved, names=(), tiers=())


def silent_times(window: Interval) -> list[Interval]:
    """Return the outages that overlap a window, without their causes."""
    least = stale_after(settings.POLL_INTERVAL)
    return Poll.objects.unobserved(window, longer_than=least, now=datetime.now(UTC))


# --- Evidence -----------------------------------------------------------------------------------


class PollEvidence(NamedTuple):
    """Counts of the recorder's runs in one interval, by how they ended."""

    runs: int
    unfinished: int
    broken: int
    closed: int
    throttled: int
    failed: int
    error: str | None
    unlisted: bool  # a complete sweep did not contain the market

    @property
    def silence(self) -> str:
        if self.unfinished:
            return f"{self.unfinished} of {self.runs} runs did not finish"
        if self.broken:
            return f"{self.broken} of {self.runs} runs failed on our side"
        return "no run"

    @property
    def closure(self) -> str:
        return f"reported to {self.closed} of {self.runs} runs"

    @property
    def cause(self) -> tuple[Cause, str]:
        of_all = f"of {self.runs} runs"
        if self.unlisted:
            return Cause.NOT_LISTED, "complete sweeps did not contain it"
        if self.throttled:
            return Cause.THROTTLED, f"{self.throttled} {of_all}"
        if self.failed:
            return Cause.EXCHANGE_FAILING, f"{self.failed} {of_all}: {self.error}"
        return Cause.NOT_COVERED, f"none {of_all} failed"


# As the client words it.
THROTTLED = r"\(status 429\)|no tokens for"


def _intervals(unobserved: Sequence[UnobservedInterval]) -> list[Interval]:
    return [Interval(each.start, each.end) for each in unobserved]


def _clip(
    unobserved: Sequence[UnobservedInterval], parts: Sequence[Interval]
) -> list[UnobservedInterval]:
    """Return the parts, each with the instant from which runs count as evidence for it.

    The first part of an interval was unobserved since the interval's last observation. Any other
    part may begin with a run, which then counts for it.
    """
    began = {each.start: each.since for each in unobserved}
    return [
        UnobservedInterval(*part, began.get(part.start, part.start - INSTANT)) for part in parts
    ]


def _announced_closures(unobserved: Sequence[UnobservedInterval]) -> list[Interval]:
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT start, "end" FROM markets_closure WHERE start < %s AND "end" > %s',
            [unobserved[-1].end, unobserved[0].start],
        )
        return merge(cursor.fetchall())


def _before_the_record(parts: Sequence[Interval]) -> list[Interval]:
    return intersect(parts, [Interval(parts[0].start, Poll.objects.began() or parts[-1].end)])


def _recorder_silences(unobserved: Sequence[UnobservedInterval]) -> list[Interval]:
    """Return when no run of the recorder was at work that did not fail on our side."""
    windows = [Interval(each.since, each.end) for each in unobserved]
    return merge(Poll.objects.silences(windows, longer_than=stale_after(settings.POLL_INTERVAL)))


def _reported_closed(unobserved: Sequence[UnobservedInterval]) -> list[Interval]:
    """Return the time from each run that heard "closed" to the next that heard anything.

    What a run heard holds for `STATUS_VALID_FOR` at most. The first run after an observation also
    tells of the time since then, if that is no more than three ticks.
    """
    stale = stale_after(settings.POLL_INTERVAL)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT CASE WHEN n = 1 AND at - since <= %(stale)s * interval '1 second'
                    THEN since ELSE at END,
                least(next, at + %(valid)s * interval '1 second')
            FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[]) AS looked (since, "end")
            CROSS JOIN LATERAL (
                SELECT started_at AS at, exchange_active,
                    row_number() OVER (ORDER BY started_at) AS n,
                    lead(started_at, 1, looked.end) OVER (ORDER BY started_at) AS next
                FROM markets_poll WHERE started_at > since AND started_at < looked.end
                    AND finished_at <= looked.end AND exchange_active IS NOT NULL
            ) AS words WHERE NOT exchange_active
            """,
            {
                "since": [each.since for each in unobserved],
                "end": [each.end for each in unobserved],
                "stale": stale.total_seconds(),
                "valid": max(STATUS_VALID_FOR, stale).total_seconds(),
            },
        )
        return merge(cursor.fetchall())


def _poll_evidence(
    unobserved: Sequence[UnobservedInterval], *, names: Sequence[str], tiers: Sequence[str]
) -> list[PollEvidence]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
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
                    AND (finished_at IS NULL OR finished_at <= looked.end
                        OR {WAITED.format("%(least)s")})
            ) AS runs ORDER BY n
            """,
            {
                "since": [each.since for each in unobserved],
                "end": [each.end for each in unobserved],
                "names": list(names),
                "tiers": list(tiers),
                "ours": OUR_FAULT,
                "throttled": THROTTLED,
                "least": stale_after(settings.POLL_INTERVAL).total_seconds(),
            },
        )
        return [PollEvidence(*row) for row in cursor.fetchall()]
