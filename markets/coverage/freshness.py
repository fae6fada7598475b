"""Freshness: the age of a market's last observation, and the state of the recording."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings

from markets.coverage.causes import INSTANT, silent_times, stale_after
from markets.coverage.observations import listing_of
from markets.intervals import EPOCH, Interval
from markets.models import HotPeriod, Market, Poll, Sweep, Tier
from markets.models.markets import NOT_OPEN_STATUSES, OPEN_STATUSES
from markets.models.observations import believed_listed_for
from markets.models.recording import CLOCK_TOLERANCE

# The recording counts as late, and as stopped, after this many ticks without a good run.
LATE_AFTER = 3
STOPPED_AFTER = 12
STATES = ("recording", "late", "stopped")
# An answer may take this long, and then the exchange's clock in it is as old.
SKEW_TOLERATED = timedelta(seconds=10)
COVERING_TIERS = (Tier.HOT, Tier.UNIVERSE)
OBSERVING_TIERS = (*COVERING_TIERS, Tier.COMBOS)


def observed_at(market: Market, sweeps: Mapping[str, Sweep], *, now: datetime) -> datetime | None:
    """Return when the market was last observed, changed or not; None if it never was.

    `sweeps` holds the newest complete sweeps by tier as of `now`. A sweep proves only the instant
    at which it began, since it may have met this market right then. Sweeps cover open markets
    only, and the exchange's listing of open markets may leave out a status that we do not know. A
    quote from the future, left by a clock that was set back, is the newest only where nothing has
    been observed since.
    """
    if market.quoted_at is None or market.status in NOT_OPEN_STATUSES:
        return market.quoted_at
    proofs = {Tier.HOT: market.is_hot, Tier.UNIVERSE: market.status in OPEN_STATUSES}
    covering = [sweeps[tier] for tier in COVERING_TIERS if proofs[tier] and tier in sweeps]
    names = {market.ticker, market.event.ticker}
    times = [s.started_at for s in covering if names.isdisjoint(s.skipped)]
    if market.quoted_at > now + CLOCK_TOLERANCE:
        return max(times, default=market.quoted_at)
    return max([market.quoted_at, *times])


class QuoteEvidence(NamedTuple):
    """The last observation of a market by an instant, its age, and whether that is good enough."""

    observed_at: datetime | None
    evidence_age_seconds: float | None
    being_observed: bool


def as_of(markets: Sequence[Market], at: datetime) -> list[Market]:
    """Return markets as they were known at an instant, with the fields of `QuoteEvidence`.

    It takes three queries more than `Market.objects.rewind`, for any number of markets.
    """
    known = Market.objects.rewind(markets, at)
    for market, evidence in zip(known, quote_evidence(known, at), strict=True):
        vars(market).update(evidence._asdict())
    return known


def quote_evidence(markets: Sequence[Market], at: datetime) -> list[QuoteEvidence]:
    """Return the evidence of the quotes of markets, which are as they are known at an instant.

    A market is being observed if its last observation is fresh and the instant does not lie in an
    outage. It takes three queries for any number of markets.
    """
    hot_since = HotPeriod.objects.hot_since(markets, at)
    whole = Sweep.objects.newest_complete_by(at, *OBSERVING_TIERS)
    sweeps = [_Seen(tier, began, frozenset(skipped)) for tier, began, skipped in whole]
    outage = silent_times(Interval(at, at + INSTANT))
    found = []
    for market in markets:
        since = hot_since.get(market.pk)
        last = _last_observation(market, sweeps, since, at=at)
        found.append(_evidence(last, at, hot_since=since, outage=outage))
    return found


class _Seen(NamedTuple):
    """A complete sweep: its tier, when it began, and the names that it skipped."""

    tier: str
    started_at: datetime
    skipped: frozenset[str]


def _last_observation(
    market: Market, sweeps: Sequence[_Seen], hot_since: datetime | None, *, at: datetime
) -> datetime | None:
    """Return the newest of a market's quote and the sweeps that observed it by an instant.

    A quote from the future, left by a clock that was set back, tells nothing of it.
    """
    if market.quoted_at is None:
        return None
    quoted = [market.quoted_at] if market.quoted_at <= at + CLOCK_TOLERANCE else []
    if market.status in NOT_OPEN_STATUSES:
        return max(quoted, default=None)
    names = frozenset((market.ticker, market.event.ticker))
    # Each tier whose sweeps observed the market, and since when.
    observing = {str(listing_of(market)): EPOCH} if market.status in OPEN_STATUSES else {}
    if hot_since:
        observing[Tier.HOT.value] = hot_since
    listed_until = market.quoted_at + believed_listed_for()
    times = [
        sweep.started_at
        for sweep in sweeps
        if sweep.tier in observing
        and observing[sweep.tier] <= sweep.started_at <= listed_until
        and names.isdisjoint(sweep.skipped)
    ]
    return max([*quoted, *times], default=None)


def _evidence(
    last: datetime | None,
    at: datetime,
    *,
    hot_since: datetime | None,
    outage: Sequence[Interval],
) -> QuoteEvidence:
    if last is None:
        return QuoteEvidence(None, None, being_observed=False)
    often = stale_after(settings.POLL_INTERVAL)
    is_hot = hot_since is not None and hot_since + often <= at
    fresh_for = often if is_hot else stale_after(settings.UNIVERSE_INTERVAL)
    missed = any(last <= each.start for each in outage)
    # The clock that wrote it may be a little ahead of ours.
    age = max(at - last, timedelta(0))
    return QuoteEvidence(last, age.total_seconds(), being_observed=age <= fresh_for and not missed)


class RecordingState(NamedTuple):
    state: str
    age: timedelta | None


def recording(poll: Poll | None, *, now: datetime, interval: float) -> RecordingState:
    """Return the state of the recording by its newest good run: recording, late or stopped."""
    if poll is None or poll.finished_at is None:
        return RecordingState("stopped", None)
    age = max(now - poll.finished_at, timedelta(0))
    if age <= timedelta(seconds=LATE_AFTER * interval):
        return RecordingState("recording", age)
    late = age <= timedelta(seconds=STOPPED_AFTER * interval)
    return RecordingState("late" if late else "stopped", age)


class ClockFault(NamedTuple):
    """By how much clocks are wrong; None where nothing speaks against them."""

    ahead_of_exchange: timedelta | None  # negative where it is behind
    record_ahead: timedelta | None  # how far runs on record lie in the future


def clock_fault(poll: Poll | None, *, now: datetime) -> ClockFault:
    """Judge the clock by what the newest good run measured, and by what is on record."""
    skew = poll.clock_skew if poll else None
    is_wrong = skew is not None and abs(skew) > SKEW_TOLERATED
    return ClockFault(skew if is_wrong else None, Poll.objects.furthest_ahead(now))


def problem(*, now: datetime, interval: float) -> str:
    """Return why the newest run failed, in words for anybody; "" where it did not.

    What a recorder said that is no longer there says nothing of the present.
    """
    failed = Poll.objects.newest_failed(at=now)
    if failed is None or now - failed.started_at > timedelta(seconds=STOPPED_AFTER * interval):
        return ""
    return failed.reason


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
