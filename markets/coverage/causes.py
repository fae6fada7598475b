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
from markets.observed import STALE_AFTER

INSTANT = timedelta(microseconds=1)
UNIT_SEPARATOR = "\x1f"
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


class Unexplained(NamedTuple):
    """The time in which a market was not observed, with the names and tiers that had to show it."""

    unobserved: Sequence[UnobservedInterval]
    names: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()

    def parts(self, unobserved: Sequence[UnobservedInterval]) -> Unexplained:
        return self._replace(unobserved=unobserved)


def explain(asked: Sequence[Unexplained]) -> list[list[Gap]]:
    """Return the gaps of each with their causes, cut where a closure or a silence of ours ends.

    Where several causes apply, the first of these counts: the recorder had never run; the
    exchange had announced that it would be closed; no run of the recorder finished for three ticks;
    a run heard that the exchange is closed, and none has heard otherwise since (for two minutes
    where none heard anything); a complete sweep of these tiers did not contain the market; a run
    was throttled; a run failed. Without any of them the cause is unknown: not covered.
    """
    began = Poll.objects.began() if any(each.unobserved for each in asked) else None
    gaps, recorded = [], []
    for each in asked:
        whole = _intervals(each.unobserved)
        unrecorded = _before(began, whole)
        gaps.append(
            [Gap(*part, Cause.NOT_RECORDING, "before the first run") for part in unrecorded]
        )
        recorded.append(each.parts(_clip(each.unobserved, subtract(whole, unrecorded))))
    explained = _explain_recorded(recorded)
    return [sorted([*own, *others]) for own, others in zip(gaps, explained, strict=True)]


def _explain_recorded(asked: Sequence[Unexplained]) -> list[list[Gap]]:
    gaps: list[list[Gap]] = [[] for _ in asked]
    announced, others = _announced_closures(asked), []
    for n, each in enumerate(asked):
        whole = _intervals(each.unobserved)
        closures = intersect(whole, announced)
        gaps[n] += [Gap(*part, Cause.EXCHANGE_CLOSED, "announced") for part in closures]
        others.append(each.parts(_clip(each.unobserved, subtract(whole, closures))))
    silences = _recorder_silences(others)
    silent = [
        each.parts(_clip(each.unobserved, intersect(_intervals(each.unobserved), own)))
        for each, own in zip(others, silences, strict=True)
    ]
    for n, part, runs in _poll_evidence(silent):
        gaps[n].append(Gap(part.start, part.end, Cause.OUR_OUTAGE, runs.silence))
    active = [
        each.parts(_clip(each.unobserved, subtract(_intervals(each.unobserved), own)))
        for each, own in zip(others, silences, strict=True)
    ]
    closed: list[list[UnobservedInterval]] = [[] for _ in asked]
    for n, part, runs in _poll_evidence(active):
        if runs.closed:
            closed[n].append(part)
        else:
            gaps[n].append(Gap(part.start, part.end, *runs.cause))
    told = [each.parts(own) for each, own in zip(asked, closed, strict=True)]
    around = _gaps_around_closures(told)
    return [sorted([*own, *others]) for own, others in zip(gaps, around, strict=True)]


def _gaps_around_closures(asked: Sequence[Unexplained]) -> list[list[Gap]]:
    """Cut intervals in which a run heard that the exchange is closed where it was open again."""
    gaps: list[list[Gap]] = [[] for _ in asked]
    closed = _reported_closed(asked)
    during, outside = [], []
    for each, own in zip(asked, closed, strict=True):
        whole = _intervals(each.unobserved)
        during.append(each.parts(_clip(each.unobserved, intersect(whole, own))))
        outside.append(each.parts(_clip(each.unobserved, subtract(whole, own))))
    for n, part, runs in _poll_evidence(during):
        gaps[n].append(Gap(part.start, part.end, Cause.EXCHANGE_CLOSED, runs.closure))
    for n, part, runs in _poll_evidence(outside):
        gaps[n].append(Gap(part.start, part.end, *runs.cause))
    return gaps


def untradable(market: Market, *windows: Interval) -> list[Gap]:
    """Return when the market was paused or closed, as far as that was known by each window's end.

    Before its first revision the market is taken to have been active, with the opening and the
    close of that revision.
    """
    revisions = market.revisions.recorded().filter(known_at__lt=windows[-1].end)
    known = list(
        revisions.order_by("known_at").values_list("known_at", "status", "open_time", "close_time")
    )
    hours = market.open_time, market.close_time
    return [gap for window in windows for gap in untradable_as_known(known, window, hours=hours)]


def untradable_as_known(
    revisions: Sequence[Revised],
    window: Interval,
    *,
    hours: tuple[datetime | None, datetime | None],
) -> list[Gap]:
    """Return when a market was paused or closed; `hours` stand in where there is no revision."""
    known = [revision for revision in revisions if revision[0] < window.end]
    first = known[0] if known else (window.end, "", *hours)
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
    [gaps] = _explain_recorded([Unexplained(unobserved)])
    return gaps


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


def _flat(asked: Sequence[Unexplained]) -> list[tuple[int, UnobservedInterval]]:
    return [(n, part) for n, each in enumerate(asked) for part in each.unobserved]


def _announced_closures(asked: Sequence[Unexplained]) -> list[Interval]:
    parts = [part for _, part in _flat(asked)]
    if not parts:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT start, "end" FROM markets_closure WHERE start < %s AND "end" > %s',
            [max(part.end for part in parts), min(part.start for part in parts)],
        )
        return merge(cursor.fetchall())


def _before(began: datetime | None, parts: Sequence[Interval]) -> list[Interval]:
    """Return the parts before the record began; without a beginning, all of them."""
    if not parts:
        return []
    return intersect(parts, [Interval(parts[0].start, began or parts[-1].end)])


def _recorder_silences(asked: Sequence[Unexplained]) -> list[list[Interval]]:
    """Return for each when no run of the recorder was at work that did not fail on our side."""
    flat = _flat(asked)
    windows = [Interval(part.since, part.end) for _, part in flat]
    found: list[list[Interval]] = [[] for _ in asked]
    least = stale_after(settings.POLL_INTERVAL)
    silences = Poll.objects.silences(windows, longer_than=least) if windows else []
    for place, *silence in silences:
        found[flat[place][0]].append(Interval(*silence))
    return [merge(each) for each in found]


def _reported_closed(asked: Sequence[Unexplained]) -> list[list[Interval]]:
    """Return for each the time from a run that heard "closed" to the next that heard anything.

    What a run heard holds for `STATUS_VALID_FOR` at most. The first run after an observation also
    tells of the time since then, if that is no more than three ticks.
    """
    stale = stale_after(settings.POLL_INTERVAL)
    flat = _flat(asked)
    found: list[list[Interval]] = [[] for _ in asked]
    if not flat:
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT place, CASE WHEN n = 1 AND at - since <= %(stale)s * interval '1 second'
                    THEN since ELSE at END,
                least(next, at + %(valid)s * interval '1 second')
            FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[])
                WITH ORDINALITY AS looked (since, "end", place)
            CROSS JOIN LATERAL (
                SELECT started_at AS at, exchange_active,
                    row_number() OVER (ORDER BY started_at) AS n,
                    lead(started_at, 1, looked.end) OVER (ORDER BY started_at) AS next
                FROM markets_poll WHERE started_at > since AND started_at < looked.end
                    AND finished_at <= looked.end AND exchange_active IS NOT NULL
            ) AS words WHERE NOT exchange_active
            """,
            {
                "since": [part.since for _, part in flat],
                "end": [part.end for _, part in flat],
                "stale": stale.total_seconds(),
                "valid": max(STATUS_VALID_FOR, stale).total_seconds(),
            },
        )
        for place, *closed in cursor.fetchall():
            found[flat[place - 1][0]].append(Interval(*closed))
    return [merge(each) for each in found]


def _poll_evidence(
    asked: Sequence[Unexplained],
) -> Iterator[tuple[int, UnobservedInterval, PollEvidence]]:
    """Yield every interval with the number of whom it belongs to and what runs tell of it."""
    flat = _flat(asked)
    if not flat:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT runs.*, EXISTS (
                SELECT FROM markets_sweep WHERE tier = ANY(string_to_array(tiers, chr(31)))
                    AND complete AND started_at > since AND started_at < looked.end
                    AND (tier <> 'hot' OR skipped && string_to_array(names, chr(31))))
            FROM unnest(%(since)s::timestamptz[], %(end)s::timestamptz[], %(names)s::text[],
                    %(tiers)s::text[])
                WITH ORDINALITY AS looked (since, "end", names, tiers, n)
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
                "since": [part.since for _, part in flat],
                "end": [part.end for _, part in flat],
                # No name has this character.
                "names": [UNIT_SEPARATOR.join(asked[n].names) for n, _ in flat],
                "tiers": [UNIT_SEPARATOR.join(asked[n].tiers) for n, _ in flat],
                "ours": OUR_FAULT,
                "throttled": THROTTLED,
                "least": stale_after(settings.POLL_INTERVAL).total_seconds(),
            },
        )
        evidence = [PollEvidence(*row) for row in cursor.fetchall()]
    for (n, part), runs in zip(flat, evidence, strict=True):
        yield n, part, runs
