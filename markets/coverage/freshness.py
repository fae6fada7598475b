"""Freshness: the age of a market's last observation, and the state of the recording."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from markets.models import Market, Poll, Sweep, Tier
from markets.models.markets import NOT_OPEN_STATUSES, OPEN_STATUSES

# The recording counts as late, and as stopped, after this many ticks without a good run.
LATE_AFTER = 3
STOPPED_AFTER = 12
STATES = ("recording", "late", "stopped")
COVERING_TIERS = (Tier.HOT, Tier.UNIVERSE)


def observed_at(market: Market, sweeps: Mapping[str, Sweep]) -> datetime | None:
    """Return when the market was last observed, changed or not; None if it never was.

    `sweeps` holds the newest complete sweeps by tier. A sweep proves only the instant at which it
    began, since it may have met this market right then. Sweeps cover open markets only, and the
    exchange's listing of open markets may leave out a status that we do not know.
    """
    if market.quoted_at is None or market.status in NOT_OPEN_STATUSES:
        return market.quoted_at
    proofs = {Tier.HOT: market.is_hot, Tier.UNIVERSE: market.status in OPEN_STATUSES}
    covering = [sweeps[tier] for tier in COVERING_TIERS if proofs[tier] and tier in sweeps]
    names = {market.ticker, market.event.ticker}
    times = [s.started_at for s in covering if names.isdisjoint(s.skipped)]
    return max([market.quoted_at, *times])


class Recording(NamedTuple):
    state: str
    age: timedelta | None


def recording(poll: Poll | None, *, now: datetime, interval: float) -> Recording:
    """Return the state of the recording by its newest good run: recording, late or stopped."""
    if poll is None or poll.finished_at is None:
        return Recording("stopped", None)
    age = max(now - poll.finished_at, timedelta(0))
    if age <= timedelta(seconds=LATE_AFTER * interval):
        return Recording("recording", age)
    late = age <= timedelta(seconds=STOPPED_AFTER * interval)
    return Recording("late" if late else "stopped", age)


def percentiles(ages: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Return p50, p95 and max of ages in seconds, weighted by markets; {} without any."""
    total, seen = sum(markets for _, markets in ages), 0
    if not total:
        return {}
    found: dict[str, float] = {}
    ranked = sorted(ages)
    for seconds, markets in ranked:
        seen += markets
        for name, share in (("p50", 0.5), ("p95", 0.95)):
            if seen >= share * total:
                found.setdefault(name, round(seconds, 3))
    return found | {"max": round(ranked[-1][0], 3)}
