"""Observations of one market: its snapshots by source, its candles, and the recorder's sweeps."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from markets.coverage.causes import UnobservedInterval, stale_after
from markets.coverage.imported import unproved_by_imports
from markets.intervals import Interval, intersect, merge, multirange, subtract
from markets.models import ArchivedDay, Market, Source, Tier
from markets.models.fields import Quote
from markets.models.observations import COMBO, believed_listed_for

# Intervals nearer to each other than this are read together: fewer queries, more rows.
BLOCK = timedelta(minutes=10)
# In what is no longer than this, all observations are read at once.
SHORT = timedelta(hours=1)


class Expected(NamedTuple):
    """A part of the window, and for how long an observation counted as fresh in it."""

    start: datetime
    end: datetime
    fresh_for: timedelta


class TimeBlock(NamedTuple):
    """A time of one rule, with as much before it as an observation counted as fresh."""

    start: datetime
    end: datetime
    fresh_for: timedelta

    @property
    def interval(self) -> Interval:
        return Interval(self.start, self.end)

    @property
    def asked_for(self) -> Interval:
        return Interval(self.start + self.fresh_for, self.end)


@dataclass(frozen=True, slots=True)
class ObservationHistory:
    """The observations of one market around a window.

    `proof` tells by tier when a complete sweep observed the market unless it skipped it. `others`
    holds by source, without polling, the intervals between its observations. Of imports these
    begin where its rows prove nothing more.
    """

    market: Market
    around: Interval
    expected: Sequence[Expected]
    proof: Mapping[str, Sequence[Interval]]
    others: Mapping[str, Sequence[Interval]]

    @classmethod
    def of_market(
        cls,
        market: Market,
        window: Interval,
        *,
        fresh_for: timedelta | None,
        import_id: int | None = None,
    ) -> ObservationHistory:
        unlisted_after = believed_listed_for()
        seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
        around = Interval(window.start - max(seldom, unlisted_after), window.end)
        hot = _hot_periods(market, around)
        expected = expected_within(window, hot, fresh_for)
        least = min((rule.fresh_for for rule in expected), default=seldom)
        others = _between_observations(market, around, least=least, polled_least=unlisted_after)
        imported = unproved_by_imports(market, around, import_id=import_id)
        if imported is not None:
            others[Source.IMPORT.value] = imported
        is_known = market.quoted_at or Source.POLL in others
        between = others.pop(Source.POLL.value, [around])
        used = Interval(window.start - max(seldom, BLOCK), window.end)
        listed = _listed(used, between, unlisted_after) if is_known else []
        proof = {Tier.HOT.value: hot, listing_of(market).value: listed}
        return cls(market, around, expected, proof, others)

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which a sweep may have skipped the market."""
        return self.market.ticker, self.market.event.ticker

    @property
    def tiers(self) -> tuple[str, ...]:
        return tuple(self.proof)

    @property
    def least(self) -> timedelta:
        return min((rule.fresh_for for rule in self.expected), default=timedelta())

    def expected_within(self, window: Interval) -> list[Expected]:
        return [
            Expected(*part, rule.fresh_for)
            for rule in self.expected
            for part in intersect([Interval(rule.start, rule.end)], [window])
        ]

    def stale_by_source(self, tradable: Sequence[Interval]) -> dict[str, list[UnobservedInterval]]:
        """Return by source the parts of `tradable` in which no observation of it was fresh.

        Whole sweeps prove most of the time, and of those the late ones are read alone. Whatever
        observed the market is read for the rest.
        """
        left: Sequence[Interval] = tradable
        for tier in self.proof:
            left = self._unproved(left, tier)
        near = max(BLOCK, *(rule.fresh_for for rule in self.expected)) if left else BLOCK
        blocks = merge((start - near, end) for start, end in left)
        silences = _silences(self, blocks) if blocks else []
        polled = both_unobserved(never_observed(left), stale_parts(silences, self.expected))
        whole = never_observed(tradable)
        others = {
            source: both_unobserved(whole, self._stale_parts(source, between))
            for source, between in self.others.items()
        }
        return {Source.POLL.value: polled, **others}

    def _stale_parts(self, source: str, between: Sequence[Interval]) -> list[UnobservedInterval]:
        """Return when no observation was fresh; of imports that is all that no row proves."""
        if source == Source.IMPORT:
            return [UnobservedInterval(*each, each.start) for each in between]
        return stale_parts(between, self.expected)

    def _unproved(self, left: Sequence[Interval], tier: str) -> list[Interval]:
        """Return what a tier's whole sweeps leave of these intervals, where they can be relied on.

        Short intervals are left as they are: it is cheaper to read all of their observations.
        """
        proof = self.proof[tier]
        blocks = [
            block
            for block in self._blocks(left)
            if block.interval.length > SHORT
            and intersect([block.interval], proof) == [block.interval]
        ]
        if not blocks:
            return list(left)
        stale = merge(_stale_beside_whole_sweeps(blocks, tier))
        others = subtract(left, [block.asked_for for block in blocks])
        return merge([*others, *intersect(left, stale)])

    def _blocks(self, parts: Sequence[Interval]) -> list[TimeBlock]:
        """Return blocks that hold these intervals; those near to each other share one."""
        blocks: list[TimeBlock] = []
        for start, end, fresh_for in self.expected:
            own = intersect(parts, [Interval(start, end)])
            near = merge((start, end + BLOCK) for start, end in own)
            blocks += [
                TimeBlock(first - fresh_for, last - BLOCK, fresh_for) for first, last in near
            ]
        return blocks

    def quiet(self) -> list[Interval]:
        """Read which quotes stayed the same; return the time from one change to the next.

        Heartbeats may lie between. A snapshot that follows sooner than a heartbeat is a change.
        """
        joined: list[Interval] = []
        was_unchanged = False
        for *pair, unchanged in _between_snapshots(self.market, self.around, least=self.least):
            each = Interval(*pair)
            if was_unchanged and joined[-1].end == each.start:
                joined[-1] = Interval(joined[-1].start, each.end)
            else:
                joined.append(each)
            was_unchanged = unchanged
        return joined


def fresh_for_at(expected: Sequence[Expected], at: datetime) -> timedelta:
    """Return for how long an observation of an instant counted as fresh."""
    if not expected:
        return timedelta()
    starts = [rule.start for rule in expected]
    return expected[max(bisect_right(starts, at) - 1, 0)].fresh_for


def stale_parts(
    silences: Sequence[Interval], expected: Sequence[Expected]
) -> list[UnobservedInterval]:
    """Return the part of each silence in which the observation before it was stale."""
    ends = [silence.end for silence in silences]
    stale = []
    for start, end, fresh_for in expected:
        for silence in islice(silences, bisect_right(ends, start), None):
            since = silence.start
            if since + fresh_for >= end:
                break
            part = Interval(max(since + fresh_for, start), min(silence.end, end))
            stale += [UnobservedInterval(*part, since)] if part else []
    return stale


def listing_of(market: Market) -> Tier:
    """Return the tier whose sweeps list a market."""
    return Tier.COMBOS if market.ticker.startswith(COMBO) else Tier.UNIVERSE


def both_unobserved(
    ones: Sequence[UnobservedInterval], others: Sequence[UnobservedInterval]
) -> list[UnobservedInterval]:
    """Return where neither had a fresh observation, with the later of their last ones."""
    ends = [other.end for other in others]
    both = []
    for one in ones:
        for other in islice(others, bisect_right(ends, one.start), None):
            if other.start >= one.end:
                break
            start, end = max(one.start, other.start), min(one.end, other.end)
            both.append(UnobservedInterval(start, end, max(one.since, other.since)))
    return both


def never_observed(parts: Sequence[Interval]) -> list[UnobservedInterval]:
    return [UnobservedInterval(*part, datetime.min.replace(tzinfo=UTC)) for part in parts]


def _stale_beside_whole_sweeps(blocks: Sequence[TimeBlock], tier: str) -> list[Interval]:
    """Return when, within these blocks, the last whole sweep of a tier was not fresh.

    Each sweep carries how late it was; where another was written between later, that is too much.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH block AS (
                SELECT * FROM unnest(%(start)s::timestamptz[], %(end)s::timestamptz[],
                    %(fresh_for)s::interval[]) AS b (since, until, fresh_for)
            ), late AS (
                SELECT since, fresh_for, started_at AS next FROM block JOIN markets_sweep
                    ON tier = %(tier)s AND complete AND skipped = '{}'
                    AND started_at > since AND started_at < until
                    AND (since_last IS NULL OR since_last > fresh_for)
                    -- Without the blocks' own values, an index can tell that it has all of them.
                    AND (since_last IS NULL OR since_last > %(least)s * interval '1 second')
                UNION ALL SELECT since, fresh_for, until FROM block
            )
            SELECT at + fresh_for, next FROM late CROSS JOIN LATERAL (
                SELECT coalesce(max(started_at), since) AS at FROM markets_sweep
                WHERE tier = %(tier)s AND complete AND skipped = '{}'
                    AND started_at > since AND started_at < next
            ) AS before WHERE next - at > fresh_for
            """,
            {
                **{name: [getattr(block, name) for block in blocks] for name in TimeBlock._fields},
                "least": min(block.fresh_for for block in blocks).total_seconds(),
                "tier": tier,
            },
        )
        return [Interval(*row) for row in cursor.fetchall()]


# The sweeps of a tier that observed the market.
OBSERVING_SWEEPS = """
    UNION ALL SELECT started_at FROM markets_sweep
    WHERE tier = %(tier{n})s AND complete AND started_at > since AND started_at < until
        AND started_at <@ %(proof{n})s::tstzmultirange AND NOT skipped && %(names)s
"""


def _silences(history: ObservationHistory, blocks: Sequence[Interval]) -> list[Interval]:
    """Return the silences longer than the history's `least` between all that observed the market.

    These are polled snapshots, and the sweeps within the proof that did not skip the market.
    """
    proof = [(tier, parts) for tier, parts in history.proof.items() if parts]
    sweeps = "".join(OBSERVING_SWEEPS.format(n=n) for n in range(len(proof)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT at, next
            FROM unnest(%(since)s::timestamptz[], %(until)s::timestamptz[])
                AS block (since, until)
            CROSS JOIN LATERAL (
                SELECT at, lead(at, 1, until) OVER (ORDER BY at) AS next FROM (
                    SELECT since AS at UNION ALL
                    SELECT timestamp FROM markets_marketsnapshot
                    WHERE market_id = %(market)s AND source = %(poll)s
                        AND timestamp > since AND timestamp < until
                        -- This lets the planner prune to these days' partitions.
                        AND timestamp > %(first)s AND timestamp < %(last)s
                    {sweeps}
                ) AS observations
            ) AS silences WHERE next - at > %(least)s * interval '1 second' ORDER BY at
            """,
            {
                "since": [block.start for block in blocks],
                "until": [block.end for block in blocks],
                "first": blocks[0].start,
                "last": blocks[-1].end,
                "least": history.least.total_seconds(),
                "market": history.market.pk,
                "poll": Source.POLL.value,
                "names": list(history.names),
                **{f"tier{n}": tier for n, (tier, _) in enumerate(proof)},
                **{f"proof{n}": multirange(parts) for n, (_, parts) in enumerate(proof)},
            },
        )
        return [Interval(*row) for row in cursor.fetchall()]


def _hot_periods(market: Market, around: Interval) -> list[Interval]:
    periods = market.hot_periods.filter(started_at__lt=around.end)
    times = periods.exclude(ended_at__lte=around.start).values_list("started_at", "ended_at")
    return merge((started, ended or around.end) for started, ended in times)


def expected_within(
    window: Interval, hot: Sequence[Interval], fresh_for: timedelta | None
) -> list[Expected]:
    if fresh_for is not None:
        return [Expected(*window, fresh_for)] if window else []
    often, seldom = stale_after(settings.POLL_INTERVAL), stale_after(settings.UNIVERSE_INTERVAL)
    # Until then an observation from before it came on the hot list is still fresh.
    warm = merge((start + often, end) for start, end in hot)
    rules = [Expected(*part, often) for part in intersect([window], warm)]
    return sorted(rules + [Expected(*part, seldom) for part in subtract([window], warm)])


def _between_snapshots(
    market: Market, around: Interval, *, least: timedelta
) -> list[tuple[datetime, datetime, bool]]:
    """Return each two consecutive snapshots further apart than `least`, and if they are the same.

    Of the last one, the other is the end. A snapshot that follows sooner than a heartbeat is a
    change, so only the others' quotes are compared.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT at, next, next - at >= %(heartbeat)s * interval '1 second' AND (
                SELECT count(DISTINCT ROW({", ".join(Quote._fields)})) = 1 AND count(*) = 2
                FROM markets_marketsnapshot WHERE market_id = %(market)s AND source = %(poll)s
                    -- This lets the planner prune to these days' partitions.
                    AND timestamp > %(start)s AND timestamp < %(end)s
                    AND timestamp IN (at, next))
            FROM (
                SELECT timestamp AS at,
                    lead(timestamp, 1, %(end)s) OVER (ORDER BY timestamp) AS next
                FROM markets_marketsnapshot WHERE market_id = %(market)s AND source = %(poll)s
                    AND timestamp > %(start)s AND timestamp < %(end)s
            ) AS pairs WHERE next - at > %(least)s * interval '1 second'
            ORDER BY at
            """,
            {
                "market": market.pk,
                "poll": Source.POLL.value,
                "least": least.total_seconds(),
                "heartbeat": min(settings.HOT_HEARTBEAT, settings.HEARTBEAT),
                **around._asdict(),
            },
        )
        rows: list[tuple[datetime, datetime, bool]] = cursor.fetchall()
    return rows


def _between_observations(
    market: Market, around: Interval, *, least: timedelta, polled_least: timedelta
) -> dict[str, list[Interval]]:
    """Return by source the intervals longer than `least` without an observation, oldest first.

    Each row proves its instant, and the closing quote of a candle of one minute that minute. The
    first interval of a source ends with its first observation, however soon. Those between polled
    snapshots are longer than `polled_least`. One statement reads all of them in one pass, but for
    imported rows.
    """
    silences: dict[str, list[Interval]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH observed AS (
                SELECT source, timestamp AS until, CASE WHEN source = %(backfill)s AND EXISTS (
                        SELECT FROM markets_candlestick WHERE market_id = %(market)s
                            AND period_interval = 1 AND end_period_ts = timestamp)
                    THEN timestamp - interval '1 minute' ELSE timestamp END AS since
                FROM markets_marketsnapshot WHERE market_id = %(market)s AND source <> %(import)s
                    AND timestamp > %(start)s AND timestamp < %(last)s
                    AND (source <> %(poll)s OR timestamp < %(end)s)
            )
            SELECT source, %(start)s AS at, min(since) AS next FROM observed GROUP BY source
            UNION ALL
            SELECT source, at, next FROM (
                SELECT source, until AS at,
                    lead(since, 1, %(end)s) OVER (PARTITION BY source ORDER BY until) AS next
                FROM observed
            ) AS pairs
            WHERE next - at > CASE source WHEN %(poll)s THEN %(polled_least)s ELSE %(least)s END
                * interval '1 second'
            ORDER BY at
            """,
            {
                "market": market.pk,
                "poll": Source.POLL.value,
                "backfill": Source.BACKFILL.value,
                "import": Source.IMPORT.value,
                "least": least.total_seconds(),
                "polled_least": polled_least.total_seconds(),
                # A candle that ends so much later may have observed the end.
                "last": around.end + timedelta(minutes=1),
                **around._asdict(),
            },
        )
        for source, *silence in cursor.fetchall():
            silences[source].append(Interval(*silence))
    return dict(silences)


def _listed(
    used: Interval, between: Sequence[Interval], unlisted_after: timedelta
) -> list[Interval]:
    """Return when the market was in the exchange's listings, in the time that is used.

    It leaves them without notice. While it was listed, it left a snapshot at each heartbeat. On
    days whose snapshots retention has dropped it counts as listed.
    """
    unlisted = [between[0]]
    unlisted += [Interval(each.start + unlisted_after, each.end) for each in between[1:]]
    doubtful = intersect([used], merge(unlisted))
    if not doubtful:
        return [used]
    kept = ArchivedDay.objects.kept_snapshots()
    return subtract([used], intersect(kept, doubtful))
