"""How much of a market was observed, and why the rest was not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice, product
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection

from markets.coverage.causes import (
    Gap,
    Stretch,
    Unseen,
    common,
    explained,
    merged,
    past,
    stale_after,
    untradable,
    without,
)
from markets.models import Market
from markets.storage import partitions

# Stretches nearer to each other than this are looked at together: fewer looks, more rows.
BLOCK = timedelta(minutes=10)
# A pass is given up when it takes longer; so late may a heartbeat be.
LONGEST_PASS = timedelta(minutes=10)
HOUR = 3600  # seconds: the heartbeat may have been so long before it was set to less
COMBO = "KXMVE"


# --- one market ----------------------------------------------------------------------------------


class Expected(NamedTuple):
    """For how long an observation was good."""

    start: datetime
    end: datetime
    fresh_for: timedelta


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is on record of one market in one window.

    The gaps and the time covered, `fresh`, make up the window. `quiet` lies within the time
    covered: it was observed, and nothing changed. `share` is of the time covered and of the
    gaps in which the market could be traded; None where there is neither.
    """

    start: datetime
    end: datetime
    expected: Sequence[Expected]
    gaps: Sequence[Gap]
    quiet: Sequence[Stretch]

    @property
    def fresh(self) -> timedelta:
        return self.end - self.start - sum((gap.stretch.length for gap in self.gaps), timedelta())

    @property
    def share(self) -> float | None:
        missed = sum((gap.stretch.length for gap in self.gaps if gap.counted), timedelta())
        due = self.fresh + missed
        return self.fresh / due if due else None

    def as_json(self) -> dict[str, Any]:
        return {
            **Stretch(self.start, self.end).as_json(),
            "expected": [
                Stretch(rule.start, rule.end).as_json()
                | {"fresh_for": rule.fresh_for.total_seconds()}
                for rule in self.expected
            ],
            "fresh": self.fresh.total_seconds(),
            "share": self.share,
            "gaps": [gap.as_json() for gap in self.gaps],
            "quiet": [stretch.as_json() for stretch in self.quiet],
        }


def coverage(
    market: Market, start: datetime, end: datetime, *, fresh_for: timedelta | None = None
) -> Coverage:
    """How well a market was observed from `start` on and before `end`, up to now.

    An observation is good for `fresh_for`: three ticks once the market has been hot for as
    long, three rounds of the universe otherwise. Raises ValueError where that makes no sense.
    """
    window = past(start, end)
    if fresh_for is not None and fresh_for <= timedelta():
        raise ValueError("fresh_for is not longer than nothing")
    idle = untradable(market, window)
    look = Look.at(market, window, fresh_for=fresh_for)
    unseen = look.unseen(without([window], [gap.stretch for gap in idle]))
    gaps = sorted([*idle, *explained(unseen, names=look.names, tiers=look.tiers)])
    seen = without([window], [gap.stretch for gap in gaps])
    quiet = [still for still in common(look.quiet(), seen) if still.length > look.least]
    return Coverage(*window, expected=look.expected, gaps=gaps, quiet=quiet)


# --- what was observed when ----------------------------------------------------------------------


class Still(NamedTuple):
    """Between two snapshots, one right after the other."""

    start: datetime
    end: datetime
    same: bool  # the later one says what the earlier one said


@dataclass(frozen=True, slots=True)
class Look:
    """What the record has of one market around a window.

    `stills` are longer than `least`; the first of them ends with the first snapshot. `proof`:
    when a complete pass of a tier, unless it skipped the market, is an observation of it.
    """

    names: Sequence[str]
    window: Stretch
    expected: Sequence[Expected]
    stills: Sequence[Still]
    proof: Mapping[str, Sequence[Stretch]]

    @classmethod
    def at(cls, market: Market, window: Stretch, *, fresh_for: timedelta | None) -> Look:
        unlisted_after = timedelta(seconds=max(settings.HEARTBEAT, HOUR)) + LONGEST_PASS
        seldom = fresh_for or stale_after(settings.UNIVERSE_INTERVAL)
        around = Stretch(window.start - max(seldom, unlisted_after), window.end)
        hot = _hot_periods(market, around)
        expected = _expected(window, hot, fresh_for)
        least = min((rule.fresh_for for rule in expected), default=seldom)
        stills = _stills(market, around, least=least)
        walk = "combos" if market.ticker.startswith(COMBO) else "universe"
        listed = _listed(around, stills, unlisted_after) if market.quoted_at else []
        proof = {"hot": hot, walk: listed}
        return cls([market.ticker, market.event.ticker], window, expected, stills, proof)

    @property
    def tiers(self) -> list[str]:
        return list(self.proof)

    @property
    def least(self) -> timedelta:
        return min((rule.fresh_for for rule in self.expected), default=timedelta())

    def unseen(self, tradable: Sequence[Stretch]) -> list[Unseen]:
        left = common(tradable, self._aged(self.stills))
        for tier, skipping in product(self.proof, (False, True)):
            if left and self.proof[tier]:
                silences = self._silences(left, tier, skipping=skipping)
                left = common(left, self._aged(silences))
        starts = [rule.start for rule in self.expected]
        rules = [self.expected[bisect_right(starts, start) - 1] for start, _ in merged(left)]
        return [
            Unseen(*stretch, since=stretch.start - rule.fresh_for)
            for stretch, rule in zip(merged(left), rules, strict=True)
        ]

    def quiet(self) -> list[Stretch]:
        """From one change to the next one, whatever heartbeats lie between."""
        found: list[Still] = []
        for still in self.stills[1:]:
            if found and found[-1].same and found[-1].end == still.start:
                found[-1] = Still(found[-1].start, still.end, still.same)
            else:
                found.append(still)
        return [Stretch(still.start, still.end) for still in found]

    def _aged(self, silences: Sequence[tuple[datetime, ...] | Still]) -> list[Stretch]:
        """When, in each of these times between observations, the first was no longer good."""
        ends = [silence[1] for silence in silences]
        found = []
        for start, end, fresh_for in self.expected:
            for silence in islice(silences, bisect_right(ends, start), None):
                if silence[0] + fresh_for >= end:
                    break
                aged = Stretch(max(silence[0] + fresh_for, start), min(silence[1], end))
                found += [aged] if aged else []
        return found

    def _silences(
        self, left: Sequence[Stretch], tier: str, *, skipping: bool
    ) -> list[tuple[datetime, datetime]]:
        """Between the passes of a tier that observed the market, around these stretches.

        Passes that skipped something come apart from the others, which an index has by itself.
        """
        near = max(BLOCK, *(rule.fresh_for for rule in self.expected))
        blocks = merged((start - near, end) for start, end in left)
        proof = self.proof[tier]
        proved = [block for block in blocks if not skipping and common([block], proof) == [block]]
        others = [block for block in blocks if block not in proved]
        return sorted(
            [
                *_late(proved, tier, least=self.least),
                *_apart(
                    others,
                    tier,
                    proof=proof,
                    least=self.least,
                    unless_skipped=self.names if skipping else None,
                ),
            ]
        )


def _late(
    blocks: Sequence[Stretch], tier: str, *, least: timedelta
) -> list[tuple[datetime, datetime]]:
    """The silences longer than `least` between whole passes that all count.

    Each pass says how late it was; where one has come between since, it says too much.
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


def _apart(
    blocks: Sequence[Stretch],
    tier: str,
    *,
    proof: Sequence[Stretch],
    least: timedelta,
    unless_skipped: Sequence[str] | None,
) -> list[tuple[datetime, datetime]]:
    """The same between all passes that count: within `proof`, and whole.

    Or, with `unless_skipped`, those that skipped some markets, but none of these names.
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
                        -- What is decided without a row is decided before the planning.
                        AND CASE WHEN %(skipping)s THEN skipped <> '{}'
                            AND NOT skipped && %(names)s ELSE skipped = '{}' END
                ) AS passes
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


def _hot_periods(market: Market, around: Stretch) -> list[Stretch]:
    periods = market.hot_periods.filter(started_at__lt=around.end)
    times = periods.exclude(ended_at__lte=around.start).values_list("started_at", "ended_at")
    return merged((started, ended or around.end) for started, ended in times)


def _expected(
    window: Stretch, hot: Sequence[Stretch], fresh_for: timedelta | None
) -> list[Expected]:
    if fresh_for is not None:
        return [Expected(*window, fresh_for)] if window else []
    often, seldom = stale_after(settings.POLL_INTERVAL), stale_after(settings.UNIVERSE_INTERVAL)
    # Until then what was observed before it came on the hot list is still good.
    warm = merged((start + often, end) for start, end in hot)
    rules = [Expected(*stretch, often) for stretch in common([window], warm)]
    return sorted(rules + [Expected(*stretch, seldom) for stretch in without([window], warm)])


def _stills(market: Market, around: Stretch, *, least: timedelta) -> list[Still]:
    """The first of them ends with the first snapshot.

    What follows sooner than a heartbeat is a change: only the others' quotes are compared.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT %(start)s AS at, coalesce(min(timestamp), %(end)s), false
            FROM markets_marketsnapshot WHERE market_id = %(market)s AND source = 'POLL'
                AND timestamp > %(start)s AND timestamp < %(end)s
            UNION ALL
            SELECT at, next, next - at >= %(heartbeat)s * interval '1 second' AND (
                SELECT count(DISTINCT ROW(yes_bid, yes_ask, yes_bid_size, yes_ask_size,
                    last_price, volume, open_interest)) = 1 AND count(*) = 2
                FROM markets_marketsnapshot WHERE market_id = %(market)s AND source = 'POLL'
                    -- So that only these days' pieces are planned for.
                    AND timestamp > %(start)s AND timestamp < %(end)s
                    AND timestamp IN (at, next))
            FROM (
                SELECT timestamp AS at,
                    lead(timestamp, 1, %(end)s) OVER (ORDER BY timestamp) AS next
                FROM markets_marketsnapshot WHERE market_id = %(market)s AND source = 'POLL'
                    AND timestamp > %(start)s AND timestamp < %(end)s
            ) AS stills WHERE next - at > %(least)s * interval '1 second'
            ORDER BY at
            """,
            {
                "market": market.pk,
                "start": around.start,
                "end": around.end,
                "least": least.total_seconds(),
                "heartbeat": min(settings.HOT_HEARTBEAT, settings.HEARTBEAT),
            },
        )
        return [Still(*row) for row in cursor.fetchall()]


def _listed(around: Stretch, stills: Sequence[Still], unlisted_after: timedelta) -> list[Stretch]:
    """When the market was in the exchange's listings, which end without a word.

    As long as it was, it left a snapshot at each heartbeat. Of days whose snapshots retention
    has dropped it is believed to have been.
    """
    unlisted = [Stretch(*stills[0][:2])]
    unlisted += [Stretch(still.start + unlisted_after, still.end) for still in stills[1:]]
    kept = merged(piece.span for piece in partitions.pieces(partitions.SNAPSHOTS))
    return without([around], common(kept, merged(unlisted)))


# --- the recorder as a whole ---------------------------------------------------------------------


class Slots(NamedTuple):
    """How many hot passes there should have been, and how many of these there were."""

    due: int
    filled: int

    @property
    def share(self) -> float | None:
        return self.filled / self.due if self.due else None


def hot_slots(start: datetime, end: datetime) -> Slots:
    """The slots from `start` on and before `end`, up to now, that a complete hot pass filled.

    Slots follow the passes and not the wall clock: one is missing wherever two passes lie
    nearer to two intervals apart than to one. Passes in quick succession make up for none.
    """
    window = past(start, end)
    interval = timedelta(seconds=settings.POLL_INTERVAL)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), max(at) - min(at),
                coalesce(sum(greatest(round(date_part('epoch', at - before) / %s) - 1, 0)), 0)
            FROM (
                SELECT started_at AS at, lag(started_at) OVER (ORDER BY started_at) AS before
                FROM markets_sweep WHERE tier = 'hot' AND complete
                    AND started_at >= %s AND started_at < %s
            ) AS passes
            """,
            [interval.total_seconds(), *window],
        )
        passes, span, missed = cursor.fetchone()
    due = window.length // interval
    if not passes:
        return Slots(due, 0)
    # Before the first and after the last pass together, as if the window began again.
    missed += max(round((window.length - span) / interval) - 1, 0)
    return Slots(due, max(min(passes, due - int(missed)), 0))


def day_share(day: date) -> float | None:
    """The share of a day's (UTC) slots that were filled; None where no run is on record."""
    start, end = partitions.Piece(partitions.SNAPSHOTS, day).span
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM markets_poll WHERE started_at >= %s AND started_at < %s)",
            [start, end],
        )
        recorded: bool = cursor.fetchone()[0]
    return hot_slots(start, end).share if recorded else None
