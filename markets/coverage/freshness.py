"""How old what is shown is: of one market, and of the recording as a whole."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from markets.models import Market, Poll, Sweep, Tier
from markets.models.markets import OPEN_STATUSES

# Ticks without a good run until the recording counts as late, and as stopped.
LATE_AFTER = 3
STOPPED_AFTER = 12
STATES = ("recording", "late", "stopped")
COVERING_TIERS = (Tier.HOT, Tier.UNIVERSE)


def seen_at(market: Market, sweeps: Mapping[str, Sweep]) -> datetime | None:
    """When the market was last observed, changed or not; None where it never was.

    `sweeps` are the newest complete passes by tier. A pass vouches for the instant it began:
    it may have met this market no later than that. It covers open markets only.
    """
    if market.quoted_at is None or market.status not in OPEN_STATUSES:
        return market.quoted_at
    tiers = COVERING_TIERS if market.is_hot else (Tier.UNIVERSE,)
    passes = [sweeps[tier] for tier in tiers if tier in sweeps]
    names = {market.ticker, market.event.ticker}
    covering = [s.started_at for s in passes if names.isdisjoint(s.skipped)]
    return max([market.quoted_at, *covering])


class Recording(NamedTuple):
    state: str
    age: timedelta | None


def recording(poll: Poll | None, *, now: datetime, interval: float) -> Recording:
    """The state of the recording, by its newest good run: recording, late or stopped."""
    if poll is None or poll.finished_at is None:
        return Recording("stopped", None)
    age = max(now - poll.finished_at, timedelta(0))
    if age <= timedelta(seconds=LATE_AFTER * interval):
        return Recording("recording", age)
    late = age <= timedelta(seconds=STOPPED_AFTER * interval)
    return Recording("late" if late else "stopped", age)


def percentiles(ages: Sequence[tuple[float, int]]) -> dict[str, float]:
    """p50, p95 and max of seconds that each stand for a number of markets; {} without any."""
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
