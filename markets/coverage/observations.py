"""Observations of one market: its snapshots by source, its candles, and the recorder's sweeps."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from markets.coverage.causes import UnobservedInterval, stale_after
from markets.intervals import Interval, intersect, merge, multirange, subtract
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


class SnapshotInterval(NamedTuple):
    """The time between two consecutive snapshots."""

    start: datetime
    end: datetime
    unchanged: bool  # both have the same quote


@dataclass(frozen=True, slots=True)
class ObservationHistory:
    """The observations of one market around a window.

    `between_snapshots` holds the intervals longer than `least` between polled snapshots; the
    first ends with the first snapshot. `proof` tells by tier when a complete sweep observed the
    market unless it skipped it. `others` holds by source the intervals between its observations.
    """

    names: Sequence[str]
    expected: Sequence[Expected]
    between_snapshots: Sequence[SnapshotInterval]
    proof: Mapping[str, Sequence[Interval]]
    others: Mapping[str, Sequence[Interval]]

    @classmethod
    def around(
        cls,
        market: Market,
        window: Interval,
        *,
        fresh_for: timedelta | None,
        longer_than: timedelta = timedelta(),
    ) -> ObservationHistory:
        """Read them; intervals between snapshots only if they are longer than `longer_than`."""
        unlisted_after = believed_listed_for()
        seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
        around = Interval(window.start - max(seldom, unlisted_after), window.end)
        hot = _hot_periods(market, around)
        expected = _expected(window, hot, fresh_for)
        least = min((rule.fresh_for for rule in expected), default=seldom)
        between = _between_snapshots(market, around, least=max(least, longer_than))
        used = Interval(window.start - max(seldom, BLOCK), window.end)
        listed = _listed(used, between, unlisted_after) if market.quoted_at else []
        proof = {Tier.HOT.value: hot, listing_of(market).value: listed}
        others = _between_other_observations(market, around, least=least)
        return cls([market.ticker, market.event.ticker], expected, between, proof, others)

    @property
    def tiers(self) -> list[str]:
        return list(self.proof)

    @property
    def least(self) -> timedelta:
        return min((rule.fresh_for for rule in self.expected), default=timedelta())

    def fresh_for(self, at: datetime) -> timedelta:
        """Return for how long an observation of an instant counted as fresh."""
        if not self.expected:
            return timedelta()
        starts = [rule.start for rule in self.expected]
        return self.expected[max(bisect_right(starts, at) - 1, 0)].fresh_for

    def expected_within(self, window: Interval) -> list[Expected]:
        return [
            Expected(*part, rule.fresh_for)
            for rule in self.expected
            for part in intersect([Interval(rule.start, rule.end)], [window])
        ]

    def stale_by_source(self, tradable: Sequence[Interval]) -> dict[str, list[UnobservedInterval]]:
        """Return by source the parts of `tradable` in which no observation of it was fresh."""
        whole = [UnobservedInterval(*part, datetime.min.replace(tzinfo=UTC)) for part in tradable]
        between = [Interval(each.start, each.end) for each in self.between_snapshots]
        polled = both_unobserved(whole, self._stale(between))
        for tier, skipping in product(self.proof, (False, True)):
            if polled and self.proof[tier]:
                silences = self._silences(polled, tier, skipping=skipping)
                polled = both_unobserved(polled, self._stale(silences))
        others = {
            source: both_unobserved(whole, self._stale(silences))
            for source, silences in self.others.items()
        }
        return {Source.POLL.value: polled, **others}

    def quiet(self) -> list[Interval]:
        """Return the time from one change to the next, whatever heartbeats lie between."""
        joined: list[SnapshotInterval] = []
        for each in self.between_snapshots[1:]:
            if joined and joined[-1].unchanged and joined[-1].end == each.start:
                joined[-1] = SnapshotInterval(joined[-1].start, each.end, each.unchanged)
            else:
                joined.append(each)
        return [Interval(each.start, each.end) for each in joined]

    def _stale(self, silences: Sequence[Interval]) -> list[UnobservedInterval]:
        """Return the part of each silence in which the observation before it was stale."""
        ends = [silence.end for silence in silences]
        stale = []
        for start, end, fresh_for in self.expected:
            for silence in islice(silences, bisect_right(ends, start), None):
                since = silence.start
                if since + fresh_for >= end:
                    break
                part = Interval(max(since + fresh_for, start), min(silence.end, end))
                stale += [UnobservedInterval(*part, since)] if part else []
        return stale

    def _silences(
        self, left: Sequence[UnobservedInterval], tier: str, *, skipping: bool
    ) -> list[Interval]:
        """Return the times between a tier's sweeps that observed the market, near these intervals.

        Sweeps that skipped something are read apart from the others, which have their own index.
        """
        near = max(BLOCK, *(rule.fresh_for for rule in self.expected))
        blocks = merge((each.start - near, each.end) for each in left)
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


def believed_listed_for() -> timedelta:
    """Return how long after its last snapshot a market is still taken to be in the listings."""
    return timedelta(seconds=max(settings.HEARTBEAT, HOUR)) + LONGEST_PASS


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


def _silences_between_whole_sweeps(
    blocks: Sequence[Interval], tier: str, *, least: timedelta
) -> list[Interval]:
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
        return [Interval(*row) for row in cursor.fetchall()]


def _silences_between_sweeps(
    blocks: Sequence[Interval],
    tier: str,
    *,
    proof: Sequence[Interval],
    least: timedelta,
    unless_skipped: Sequence[str] | None,
) -> list[Interval]:
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
                "proof": multirange(proof),
                "least": least.total_seconds(),
                "tier": tier,
                "names": list(unless_skipped or ()),
                "skipping": unless_skipped is not None,
            },
        )
        return [Interval(*row) for row in cursor.fetchall()]


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


def _between_other_observations(
    market: Market, around: Interval, *, least: timedelta
) -> dict[str, list[Interval]]:
    """Return by source, without polling, the intervals longer than `least` without an observation.

    Each row proves its instant, and the closing quote of a candle of one minute that minute. The
    first interval of a source ends with its first observation, however soon.
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
                FROM markets_marketsnapshot WHERE market_id = %(market)s AND source <> %(poll)s
                    AND timestamp > %(start)s AND timestamp < %(end)s + interval '1 minute'
            )
            SELECT source, %(start)s AS at, min(since) AS next FROM observed GROUP BY source
            UNION ALL
            SELECT source, at, next FROM (
                SELECT source, until AS at,
                    lead(since, 1, %(end)s) OVER (PARTITION BY source ORDER BY until) AS next
                FROM observed
            ) AS pairs WHERE next - at > %(least)s * interval '1 second'
            ORDER BY at
            """,
            {
                "market": market.pk,
                "poll": Source.POLL.value,
                "backfill": Source.BACKFILL.value,
                "start": around.start,
                "end": around.end,
                "least": least.total_seconds(),
            },
        )
        for source, *silence in cursor.fetchall():
            silences[source].append(Interval(*silence))
    return dict(silences)


def _listed(
    used: Interval, between: Sequence[SnapshotInterval], unlisted_after: timedelta
) -> list[Interval]:
    """Return when the market was in the exchange's listings, in the time that is used.

    It leaves them without notice. While it was listed, it left a snapshot at each heartbeat. On
    days whose snapshots retention has dropped it counts as listed.
    """
    unlisted = [Interval(*between[0][:2])]
    unlisted += [Interval(each.start + unlisted_after, each.end) for each in between[1:]]
    doubtful = intersect([used], merge(unlisted))
    if not doubtful:
        return [used]
    kept = merge(day.bounds for day in partitions.partitions_of(partitions.SNAPSHOTS))
    return subtract([used], intersect(kept, doubtful))
