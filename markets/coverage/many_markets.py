"""Coverage of many markets at once, as arrays, without a query for each.

It tells of each market what `coverage` tells of one: its gaps with their causes, and when a reader
at the time saw its last observation grow old. Markets with the same evidence are compared once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from kalshi_insights.arrays import Ints
from markets.coverage.causes import (
    Gap,
    Revised,
    Unexplained,
    elapsed_window,
    explain,
    explain_outages,
    silent_times,
    stale_after,
    untradable_as_known,
)
from markets.coverage.coverage import ObservedTime, clip, compare
from markets.coverage.gap_arrays import CoverageOfMarkets, GapArrays, gap_rows, stale_rows
from markets.coverage.observations import (
    BLOCK,
    Expected,
    both_unobserved,
    expected_within,
    never_observed,
    stale_parts,
)
from markets.coverage.silences import Silences, split
from markets.intervals import Interval, intersect, merge, overlapping, subtract
from markets.models import Source, Sweep, Tier
from markets.models.definitions import SharedTexts
from markets.models.observations import COMBO, MICROSECOND, array_of, instant, microseconds
from markets.pages.market_spans import TimeWindow

# A candle of a minute may have observed what lies so long before it.
CANDLE = timedelta(minutes=1)
# What stands between the fields and between the rows of a text.
FIELD, ROW = "\x1f", "\x1e"


def coverage_of(
    ids: Sequence[int],
    start: datetime,
    end: datetime,
    *,
    fresh_for: timedelta | None = None,
    known_by: datetime | None = None,
) -> CoverageOfMarkets:
    """Return how well markets were observed from `start` on and before `end`, up to `known_by`.

    That is now unless it is given. It takes the same queries for any number of markets. Raises
    ValueError for a window or a `fresh_for` that makes no sense, and for an id that is not on
    record.
    """
    window = elapsed_window(start, min(end, known_by or end))
    if fresh_for is not None and fresh_for <= timedelta():
        raise ValueError("fresh_for must be longer than zero")
    seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
    now = known_by or datetime.now(UTC)
    reach = Interval(window.start, max(window.end, min(window.end + seldom, now)))
    return _Reading(ids, window, reach, fresh_for, now).coverage()


def recorder_silences(
    ids: Sequence[int], start: datetime, end: datetime, *, known_by: datetime
) -> GapArrays:
    """Return the times in which the recorder did not look at markets although they were traded.

    Each begins with the last look before it, and is longer than the universe's freshness. What was
    filled in later does not count as a look.
    """
    window = elapsed_window(start, min(end, known_by))
    fresh_for = stale_after(settings.UNIVERSE_INTERVAL)
    reach = Interval(window.start, max(window.end, min(window.end + fresh_for, known_by)))
    reading = _Reading(ids, window, reach, fresh_for, known_by, by_recorder_alone=True)
    stale = reading.coverage().stale
    return stale._replace(since=stale.since - fresh_for // MICROSECOND)


# --- evidence -----------------------------------------------------------------------------------


class GapEvidence(NamedTuple):
    """Everything that the gaps of a market follow from; markets with the same have the same gaps.

    Of sources without polling, `others` has the silences.
    """

    closed: tuple[Gap, ...]
    expected: tuple[Expected, ...]
    silences: tuple[Interval, ...]
    others: tuple[tuple[str, tuple[Interval, ...]], ...] = ()


class Reached(NamedTuple):
    """A market as far as coverage needs it."""

    ticker: str
    event_ticker: str
    # Its hours as PostgreSQL writes them, since most markets share theirs: "" if unknown.
    open_time: str
    close_time: str

    @property
    def tiers(self) -> tuple[str, ...]:
        is_combo = self.ticker.startswith(COMBO)
        return Tier.HOT.value, (Tier.COMBOS if is_combo else Tier.UNIVERSE).value


@dataclass
class _Reading:
    """One call of `coverage_of`: what it has read, and what it has found out already."""

    ids: Sequence[int]
    window: Interval
    reach: Interval
    fresh_for: timedelta | None
    known_by: datetime
    by_recorder_alone: bool = False
    compared: dict[GapEvidence, ObservedTime] = field(default_factory=dict)
    known: dict[tuple[str, ...], tuple[Gap, ...]] = field(default_factory=dict)
    rules: dict[tuple[Interval, ...], tuple[Expected, ...]] = field(default_factory=dict)

    @property
    def seldom(self) -> timedelta:
        return self.fresh_for or stale_after(settings.UNIVERSE_INTERVAL)

    @cached_property
    def around(self) -> Interval:
        return Interval(self.reach.start - max(self.seldom, BLOCK), self.reach.end)

    @cached_property
    def outages(self) -> list[Interval]:
        return silent_times(Interval(self.reach.start - self.seldom, self.reach.end))

    def coverage(self) -> CoverageOfMarkets:
        markets = read_markets(self.ids)
        evidence = self._evidence(markets)
        skipped = self._skipped() if any(self.compare(each).rest for each in evidence) else set()
        asked: dict[tuple[GapEvidence, Unexplained], int] = {}
        places = []
        for market, each in zip(markets, evidence, strict=True):
            names = tuple(skipped & {market.ticker, market.event_ticker})
            rest = tuple(self.compare(each).rest)
            key = each, Unexplained(rest, names, market.tiers)
            places.append(asked.setdefault(key, len(asked)))
        found = self._gaps(list(asked))
        window = TimeWindow(*map(microseconds, self.window))
        columns = ([found[place][n] for place in places] for n in range(2))
        return CoverageOfMarkets(window, *map(GapArrays.of_lists, columns))

    def compare(self, evidence: GapEvidence) -> ObservedTime:
        if evidence not in self.compared:
            tradable = subtract([self.reach], [gap.interval for gap in evidence.closed])
            whole = never_observed(tradable)
            by_source = {Source.POLL.value: evidence.silences, **dict(evidence.others)}
            stale = {
                source: both_unobserved(whole, stale_parts(silences, evidence.expected))
                for source, silences in by_source.items()
            }
            self.compared[evidence] = compare(
                stale, tradable=tradable, outages=self.outages, expected=evidence.expected
            )
        return self.compared[evidence]

    def _gaps(self, asked: Sequence[tuple[GapEvidence, Unexplained]]) -> list[tuple[Ints, Ints]]:
        """Return for each the gaps and the stale intervals, with their causes."""
        of_outages = explain_outages(self.outages)
        distinct = {rest: n for n, rest in enumerate(dict.fromkeys(rest for _, rest in asked))}
        explained = explain(list(distinct))
        found = []
        for evidence, rest in asked:
            time = self.compare(evidence)
            outage = clip(of_outages, time.missed)
            gaps = clip([*evidence.closed, *outage, *explained[distinct[rest]]], [self.window])
            found.append((gap_rows(gaps), stale_rows(gaps, intersect(time.stale, [self.window]))))
        return found

    def _evidence(self, markets: Sequence[Reached]) -> list[GapEvidence]:
        """Find out what each market's gaps follow from: pages first, and rows for what is left."""
        hot, revisions = self._hot_periods(), self._revisions()
        around = self.around
        observed = Sweep.objects.observed(self.ids, *around, known_by=self.known_by)
        silences = Silences(observed, TimeWindow(*map(microseconds, around)))
        evidence, left = [], {}
        # Most markets have the same as others.
        alike: dict[tuple[object, ...], tuple[GapEvidence, list[Interval]]] = {}
        for n, market in enumerate(markets):
            expected = self._expected(tuple(hot.get(n, ())))
            closed = self._closed(market, revisions.get(n, ""))
            key = expected, closed, silences.key(n)
            if key not in alike:
                own = self._silences(n, silences, expected)
                first = GapEvidence(closed, expected, own)
                alike[key] = first, self._left(first)
            each, parts = alike[key]
            evidence.append(each)
            if parts:
                left[n] = parts
        rows = self._rows_within(left)
        for n, by_source in rows.items():
            evidence[n] = with_rows(evidence[n], by_source, around)
        return evidence

    def _silences(
        self, market: int, silences: Silences, expected: Sequence[Expected]
    ) -> tuple[Interval, ...]:
        """Return the silences of a market that are too long by the rule of their time."""
        long = {
            silence
            for rule in expected
            for silence in silences.of_market(market, longer_than=rule.fresh_for // MICROSECOND)
            if instant(silence[1]) > rule.start and instant(silence[0]) < rule.end
        }
        return tuple(Interval(*map(instant, each)) for each in sorted(long))

    def _left(self, evidence: GapEvidence) -> list[Interval]:
        """Return the time in which rows can make a difference."""
        stale = self.compare(evidence).stale
        silences = overlapping(evidence.silences, stale)
        return merge([*silences, *self.outages]) if silences or self.outages else []

    def _expected(self, hot: tuple[Interval, ...]) -> tuple[Expected, ...]:
        if hot not in self.rules:
            self.rules[hot] = tuple(expected_within(self.reach, hot, self.fresh_for))
        return self.rules[hot]

    def _closed(self, market: Reached, revisions: str) -> tuple[Gap, ...]:
        key = (revisions,) if revisions else (market.open_time, market.close_time)
        if key not in self.known:
            known = [revised(*text.split(FIELD)) for text in revisions.split(ROW) if text]
            hours = moment(market.open_time), moment(market.close_time)
            parts = self.window, Interval(self.window.end, self.reach.end)
            gaps = (untradable_as_known(known, part, hours=hours) for part in parts)
            self.known[key] = tuple(chain.from_iterable(gaps))
        return self.known[key]

    # --- reads --------------------------------------------------------------------------------

    def _hot_periods(self) -> dict[int, list[Interval]]:
        found: dict[int, list[Interval]] = defaultdict(list)
        for n, start, end in self._of_markets(
            """
            SELECT n - 1, started_at, coalesce(ended_at, %(end)s)
            FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS chosen (id, n)
            JOIN markets_hotperiod ON market_id = chosen.id
            WHERE started_at < %(end)s AND (ended_at IS NULL OR ended_at > %(start)s)
            """
        ):
            found[n].append(Interval(start, end))
        return {n: merge(periods) for n, periods in found.items()}

    def _revisions(self) -> dict[int, str]:
        """Return each market's revisions as one text; most markets have the same as others."""
        shared = SharedTexts()
        return {
            n: shared[text]
            for n, text in self._of_markets(
                """
                SELECT n - 1, string_agg(concat_ws(chr(31), known_at::text, status,
                        coalesce(open_time::text, ''), coalesce(close_time::text, '')),
                    chr(30) ORDER BY known_at)
                FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS chosen (id, n)
                JOIN markets_marketrevision ON market_id = chosen.id
                WHERE known_at < %(end)s AND recorded_at <= %(known_by)s
                GROUP BY n
                """
            )
        }

    def _of_markets(self, select: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            known: dict[str, Any] = {"ids": array_of(self.ids), "known_by": self.known_by}
            cursor.execute(select, known | self.around._asdict())
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def _skipped(self) -> set[str]:
        """Return the names that sweeps of the hot list have skipped."""
        skipping = Sweep.objects.filter(tier=Tier.HOT, complete=True).exclude(skipped=[])
        within = skipping.filter(started_at__gte=self.around.start, started_at__lt=self.around.end)
        return {name for names in within.values_list("skipped", flat=True) for name in names}

    def _rows_within(
        self, left: Mapping[int, Sequence[Interval]]
    ) -> dict[int, dict[str, list[Interval]]]:
        """Return what rows observed in or beside these times, by market and source."""
        found: dict[int, dict[str, list[Interval]]] = defaultdict(lambda: defaultdict(list))
        parts = [(n, part) for n, own in left.items() for part in own]
        if not parts:
            return found
        beside = self.seldom + CANDLE
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT n, source, CASE WHEN source = 'BACKFILL' AND EXISTS (
                        SELECT FROM markets_candlestick WHERE market_id = part.id
                            AND period_interval = 1 AND end_period_ts = timestamp)
                    THEN timestamp - interval '1 minute' ELSE timestamp END, timestamp
                FROM (
                    SELECT n, id, 'epoch'::timestamptz + since * interval '1 microsecond' AS since,
                        'epoch'::timestamptz + until * interval '1 microsecond' AS until
                    FROM unnest(%(n)s::bigint[], %(ids)s::bigint[], %(since)s::bigint[],
                        %(until)s::bigint[]) AS given (n, id, since, until)
                ) AS part
                JOIN LATERAL (
                    SELECT source, timestamp FROM markets_marketsnapshot
                    WHERE market_id = part.id AND recorded_at <= %(known_by)s
                        AND timestamp > since - %(beside)s * interval '1 s'
                        AND timestamp < until + %(beside)s * interval '1 s'
                        -- This lets the planner prune to these days' partitions.
                        AND timestamp > %(first)s AND timestamp < %(last)s
                ) AS seen ON CASE WHEN source = 'POLL' THEN timestamp > since AND timestamp < until
                    ELSE source <> 'BACKFILL' OR NOT %(by_recorder_alone)s END
                ORDER BY n, seen.timestamp
                """,
                {
                    "n": array_of([n for n, _ in parts]),
                    "ids": array_of([self.ids[n] for n, _ in parts]),
                    "since": array_of([microseconds(part.start) for _, part in parts]),
                    "until": array_of([microseconds(part.end) for _, part in parts]),
                    "beside": beside.total_seconds(),
                    "known_by": self.known_by,
                    "by_recorder_alone": self.by_recorder_alone,
                    "first": min(part.start for _, part in parts) - beside,
                    "last": max(part.end for _, part in parts) + beside,
                },
            )
            for n, source, since, until in cursor.fetchall():
                found[n][source].append(Interval(since, until))
        return found


def read_markets(ids: Sequence[int]) -> list[Reached]:
    """Return these markets in their order; raises ValueError for one that is not on record."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT market.ticker, event.ticker, coalesce(open_time::text, ''),
                coalesce(close_time::text, '')
            FROM unnest(%s::bigint[]) WITH ORDINALITY AS chosen (id, n)
            JOIN markets_market AS market ON market.id = chosen.id
            JOIN markets_event AS event ON event.id = event_id ORDER BY n
            """,
            [array_of(ids)],
        )
        shared = SharedTexts()
        found = [Reached(ticker, *(shared[each] for each in rest)) for ticker, *rest in cursor]
    if len(found) != len(ids):
        raise ValueError("ids: not all of these markets are on record")
    return found


def revised(known_at: str, status: str, open_time: str, close_time: str) -> Revised:
    return datetime.fromisoformat(known_at), status, moment(open_time), moment(close_time)


def moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def with_rows(
    evidence: GapEvidence, by_source: Mapping[str, Sequence[Interval]], around: Interval
) -> GapEvidence:
    """Add what rows observed: polled ones cut silences, others have silences of their own."""
    polled = sorted(microseconds(each.end) for each in by_source.get(Source.POLL.value, ()))
    silences = [(microseconds(start), microseconds(end)) for start, end in evidence.silences]
    others = []
    for source, observed in by_source.items():
        if source != Source.POLL:
            edges = [around.start, *(edge for each in observed for edge in each), around.end]
            between = zip(edges[::2], edges[1::2], strict=True)
            others.append((source, tuple(Interval(*pair) for pair in between if pair[0] < pair[1])))
    return evidence._replace(
        silences=tuple(Interval(*map(instant, each)) for each in split(silences, polled)),
        others=tuple(others),
    )
