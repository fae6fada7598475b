"""Freshness: the age of a market's last observation, and the state of the recording."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from markets.models import Market, Poll, Sweep, Tier
from markets.models.markets import OPEN_STATUSES
from markets.models.recording import CLOCK_TOLERANCE

# The recording counts as late, and as stopped, after this many ticks without a good run.
LATE_AFTER = 3
STOPPED_AFTER = 12
STATES = ("recording", "late", "stopped")
# An answer may take this long, and then the exchange's clock in it is as old.
SKEW_TOLERATED = timedelta(seconds=10)
COVERING_TIERS = (Tier.HOT, Tier.UNIVERSE)


def observed_at(market: Market, sweeps: Mapping[str, Sweep], *, now: datetime) -> datetime | None:
    """Return when the market was last observed, changed or not; None if it never was.

    `sweeps` holds the newest complete sweeps by tier as of `now`. A sweep proves only the instant
    at which it began, since it may have met this market right then. Sweeps cover open markets
    only. A quote from the future, left by a clock that was set back, is the newest only where
    nothing has been observed since.
    """
    if market.quoted_at is None or market.status not in OPEN_STATUSES:
        return market.quoted_at
    tiers = COVERING_TIERS if market.is_hot else (Tier.UNIVERSE,)
    covering = [sweeps[tier] for tier in tiers if tier in sweeps]
    names = {market.ticker, market.event.ticker}
    times = [s.started_at for s in covering if names.isdisjoint(s.skipped)]
    if market.quoted_at > now + CLOCK_TOLERANCE:
        return max(times, default=market.quoted_at)
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


class ClockFault(NamedTuple):
    """Where the clock is wrong; None where nothing speaks against it."""

    ahead_of_exchange: timedelta | None  # negative where it is behind
    record_ahead: timedelta | None  # how far runs on record lie in the future


def clock_fault(poll: Poll | None, *, now: datetime) -> ClockFault:
    """Judge the clock by what the newest good run measured, and by what is on record."""
    skew = poll.clock_skew if poll else None
    is_wrong = skew is not None and abs(skew) > SKEW_TOLERATED
    return ClockFault(skew if is_wrong else None, Poll.objects.furthest_ahead(now))


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
