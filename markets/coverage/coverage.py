"""Coverage of one market: when it was observed, and why it was not at other times."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, product
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from markets.coverage.causes import (
    Gap,
    UnobservedInterval,
    elapsed_window,
    explain,
    stale_after,
    untradable,
)
from markets.intervals import Interval, intersect, merge, subtract
from markets.models import Market, Source, Tier
from markets.models.fields import Quote
from markets.storage import partitions

# Intervals nearer to each other than this are read together: fewer queries, more rows.
BLOCK = timedelta(minutes=10)
# A sweep that takes longer is abandoned, so a heartbeat is at most this late.
LONGEST_PASS = timedelta(minutes=10)
HOUR = 3600  # seconds: the heartbeat may have been this long before it was shortened
COMBO = "KXMVE"


class Expected(NamedTuple):
    """A part of the window, and for how long an observation counted as fresh in it."""

    start: datetime
    end: datetime
    fresh_for: timedelta


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of one market in one window.

    The gaps and the time covered, `fresh`, make up the window. `quiet` lies within the time
    covered: the market was observed, and nothing changed. `share` is the time covered, divided by
    itself and the gaps in which the market could be traded; None where there is neither.
    """

    start: datetime
    end: datetime
    expected: Sequence[Expected]
    gaps: Sequence[Gap]
    quiet: Sequence[Interval]

    @property
    def fresh(self) -> timedelta:
        return self.end - self.start - sum((gap.interval.length for gap in self.gaps), timedelta())

    @property
    def share(self) -> float | None:
        missed = sum((gap.interval.length for gap in self.gaps if gap.counted), timedelta())
        due = self.fresh + missed
        return self.fresh / due if due else None


def coverage(
    market: Market, start: datetime, end: datetime, *, fresh_for: timedelta | None = None
) -> Coverage:
    """Return how well a market was observed from `start` on and before `end`, up to now.

    An observation is fresh for `fresh_for`: by default for three ticks once the market has been
    hot for as long, and for three intervals of the universe otherwise. Raises ValueError for a
    window or a `fresh_for` that makes no sense.
    """
    window = elapsed_window(start, end)
    if fresh_for is not None and fresh_for <= timedelta():
        raise ValueError("fresh_for must be longer than zero")
    closed = untradable(market, window)
    history = ObservationHistory.around(market, window, fresh_for=fresh_for)
    unobserved = history.unobserved(subtract([window], [gap.interval for gap in closed]))
    gaps = sorted([*closed, *explain(unobserved, names=history.names, tiers=history.tiers)])
    covered = subtract([window], [gap.interval for gap in gaps])
    quiet = [each for each in intersect(history.quiet(), covered) if each.length > history.least]
    return Coverage(*window, expected=history.expected, gaps=gaps, quiet=quiet)


# --- Observations -------------------------------------------------------------------------------


class SnapshotInterval(NamedTuple):
    """The time between two consecutive snapshots."""

    start: datetime
    end: datetime
    unchanged: bool  # both have the same quote


@dataclass(frozen=True, slots=True)
class ObservationHistory:
    """The observations of one market around a window.

    `between_snapshots` holds the intervals longer than `least`; the first ends with the first
    snapshot. `proof` tells by tier when a complete sweep observed the market unless it skipped it.
    """

    names: Sequence[str]
    window: Interval
    expected: Sequence[Expected]
    between_snapshots: Sequence[SnapshotInterval]
    proof: Mapping[str, Sequence[Interval]]

    @classmethod
    def around(
        cls, market: Market, window: Interval, *, fresh_for: timedelta | None
    ) -> ObservationHistory:
        unlisted_after = timedelta(seconds=max(settings.HEARTBEAT, HOUR)) + LONGEST_PASS
        seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
        around = Interval(window.start - max(seldom, unlisted_after), window.end)
        hot = _hot_periods(market, around)
        expected = _expected(window, hot, fresh_for)
        least = min((rule.fresh_for for rule in expected), default=seldom)
        between = _between_snapshots(market, around, least=least)
        walk = Tier.COMBOS if market.ticker.startswith(COMBO) else Tier.UNIVERSE
        listed = _listed(around, between, unlisted_after) if market.quoted_at else []
        proof = {Tier.HOT.value: hot, walk.value: listed}
        return cls([market.ticker, market.event.ticker], window, expected, between, proof)

    @property
    def tiers(self) -> list[str]:
        return list(self.proof)

    @property
    def least(self) -> timedelta:
        return min((rule.fresh_for for rule in self.expected), default=timedelta())

    def unobserved(self, tradable: Sequence[Interval]) -> list[UnobservedInterval]:
        """Return the parts of `tradable` in which no observation was fresh."""
        left = intersect(tradable, self._stale(self.between_snapshots))
        for tier, skipping in product(self.proof, (False, True)):
            if left and self.proof[tier]:
                silences = self._silences(left, tier, skipping=skipping)
                left = intersect(left, self._stale(silences))
        starts = [rule.start for rule in self.expected]
        rules = [self.expected[bisect_right(starts, start) - 1] for start, _ in merge(left)]
        return [
            UnobservedInterval(*interval, since=interval.start - rule.fresh_for)
            for interval, rule in zip(merge(left), rules, strict=True)
        ]

    def quiet(self) -> list[Interval]:
        """Return the time from one change to the next, whatever heartbeats lie between."""
        joined: list[SnapshotInterval] = []
        for each in self.between_snapshots[1:]:
            if joined and joined[-1].unchanged and joined[-1].end == each.start:
                joined[-1] = SnapshotInterval(joined[-1].start, each.end, each.unchanged)
            else:
                joined.append(each)
        return [Interval(each.start, each.end) for each in joined]

    def _stale(self, silences: Sequence[tuple[datetime, ...] | SnapshotInterval]) -> list[Interval]:
        """Return the part of each silence in which the observation before it was stale."""
        ends = [silence[1] for silence in silences]
        stale = []
        for start, end, fresh_for in self.expected:
            for silence in islice(silences, bisect_right(ends, start), None):
                if silence[0] + fresh_for >= end:
                    break
                part = Interval(max(silence[0] + fresh_for, start), min(silence[1], end))
                stale += [part] if part else []
        return stale

    def _silences(
        self, left: Sequence[Interval], tier: str, *, skipping: bool
    ) -> list[tuple[datetime, datetime]]:
        """Return the times between a tier's sweeps that observed the market, near these intervals.

        Sweeps that skipped something are read apart from the others, which have their own index.
        """
        near = max(BLOCK, *(rule.fresh_for for rule in self.expected))
        blocks = merge((start - near, end) for start, end in left)
        proof = self.proof[tier]
        proved = [
            block for block in blocks if not skipping and intersect([block], proof) == [block]
        ]
        others = [block for block in blocks if block not in proved]
        return sorted(
            [
                *_silences_between_whole_sweeps(proved, tier, least=self.least),
                *_silences_between_sweeps(
                    others,
                    tier,
                    proof=proof,
                    least=self.least,
                    unless_skipped=self.names if skipping else None,
                ),
            ]
        )


def _silences_between_whole_sweeps(
    blocks: Sequence[Interval], tier: str, *, least: timedelta
) -> list[tuple[datetime, datetime]]:
    """Return the silences longer than `least` between whole sweeps that all count.

    Each sweep carries how late it was; where another was written between later, that is too much.
    """
    if not blocks:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH block AS (
                SELECT since, until
                FROM unnest(%(since)s::timestamptz[], %(until)s::timestamptz[]) AS b (since, until)
            ), late AS (
                SELECT since, started_at AS next FROM block JOIN markets_sweep
                    ON tier = %(tier)s AND complete AND skipped = '{}'
                    AND started_at > since AND started_at < until
                    AND (since_last IS NULL OR since_last > %(least)s * interval '1 second')
                UNION ALL SELECT since, until FROM block
            )
            SELECT at, next FROM late CROSS JOIN LATERAL (
                SELECT coalesce(max(started_at), since) AS at FROM markets_sweep
                WHERE tier = %(tier)s AND complete AND skipped = '{}'
                    AND started_at > since AND started_at < next
            ) AS before WHERE next - at > %(least)s * interval '1 second'
            """,
            {
                "since": [block.start for block in blocks],
                "until": [block.end for block in blocks],
                "least": least.total_seconds(),
                "tier": tier,
            },
        )
        silences: list[tuple[datetime, datetime]] = cursor.fetchall()
    return silences


def _silences_between_sweeps(
    blocks: Sequence[Interval],
    tier: str,
    *,
    proof: Sequence[Interval],
    least: timedelta,
    unless_skipped: Sequence[str] | None,
) -> list[tuple[datetime, datetime]]:
    """Return the silences longer than `least` between the sweeps that count.

    These are the whole sweeps within `proof`, or, with `unless_skipped`, the sweeps within it
    that skipped some markets, but none of these names.
    """
    if not blocks:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT at, next
            FROM unnest(%(since)s::timestamptz[], %(until)s::timestamptz[])
                AS block (since, until)
            CROSS JOIN LATERAL (
                SELECT at, lead(at, 1, until) OVER (ORDER BY at) AS next FROM (
                    SELECT since AS at UNION ALL
                    SELECT started_at FROM markets_sweep
                    WHERE tier = %(tier)s AND complete
                        AND started_at > since AND started_at < until
                        AND started_at <@ %(proof)s::tstzmultirange
                        -- Conditions without a column are folded before planning.
                        AND CASE WHEN %(skipping)s THEN skipped <> '{}'
                            AND NOT skipped && %(names)s ELSE skipped = '{}' END
                ) AS sweeps
            ) AS silences WHERE next - at > %(least)s * interval '1 second'
            """,
            {
                "since": [block.start for block in blocks],
                "until": [block.end for block in blocks],
                "proof": "{"
                + ",".join(f"[{s.isoformat()},{e.isoformat()})" for s, e in proof)
                + "}",
                "least": least.total_seconds(),
                "tier": tier,
                "names": list(unless_skipped or ()),
                "skipping": unless_skipped is not None,
            },
        )
        silences: list[tuple[datetime, datetime]] = cursor.fetchall()
    return silences


def _hot_periods(market: Market, around: Interval) -> list[Interval]:
    periods = market.hot_periods.filter(started_at__lt=around.end)
    times = periods.exclude(ended_at__lte=around.start).values_list("started_at", "ended_at")
    return merge((started, ended or around.end) for started, ended in times)


def _expected(
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
) -> list[SnapshotInterval]:
    """Return the intervals longer than `least` between snapshots, oldest first.

    The first of them ends with the first snapshot. A snapshot that follows sooner than a
    heartbeat is a change, so only the others' quotes are compared.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT %(start)s AS at, coalesce(min(timestamp), %(end)s), false
            FROM markets_marketsnapshot WHERE market_id = %(market)s AND source = %(poll)s
                AND timestamp > %(start)s AND timestamp < %(end)s
            UNION ALL
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
                "start": around.start,
                "end": around.end,
                "least": least.total_seconds(),
                "heartbeat": min(settings.HOT_HEARTBEAT, settings.HEARTBEAT),
            },
        )
        return [SnapshotInterval(*row) for row in cursor.fetchall()]


def _listed(
    around: Interval, between: Sequence[SnapshotInterval], unlisted_after: timedelta
) -> list[Interval]:
    """Return when the market was in the exchange's listings, which it leaves without notice.

    While it was listed, it left a snapshot at each heartbeat. On days whose snapshots retention
    has dropped it counts as listed.
    """
    unlisted = [Interval(*between[0][:2])]
    unlisted += [Interval(each.start + unlisted_after, each.end) for each in between[1:]]
    days = partitions.partitions_of(partitions.SNAPSHOTS)
    kept = merge(day.bounds for day in days)
    return subtract([around], intersect(kept, merge(unlisted)))
