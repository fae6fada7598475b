"""The calibration of the markets that a request names: curve, scores, returns, and what is left
out of them.

Reading takes longer than all that is computed from it, and settled markets hardly change. So what
was read is kept for a few minutes, for every page and request that asks for the same.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import NamedTuple

import redis
import structlog
from django.core.cache import cache
from django.db import connection, transaction

from kalshi_insights.arrays import Bools, Floats, Ints, np
from kalshi_insights.bad_input import BadInput
from markets.calibration.anchors import Anchor, Exclusion
from markets.calibration.charges import buying_fees, prices_paid
from markets.calibration.observations import DOLLAR, Observations, read_observations
from markets.calibration.reliability import ReliabilityBin, bins_of, reliability
from markets.calibration.request import ASK_NO, ASK_YES, CalibrationRequest
from markets.calibration.returns import Purchases, ReturnBin, returns
from markets.calibration.scores import Scores, scores
from markets.calibration.trail import ScoreTrail, score_trail
from markets.models import Import

log = structlog.get_logger(__name__)

KEPT_SECONDS = 600
ONE_READER = "SELECT pg_advisory_xact_lock(hashtext('reader of calibrations'))"
# The form of what is kept; another one is read anew.
KEPT_FORM = 1


class ReadMarkets(NamedTuple):
    """The observations of a request, the fees of buying YES and NO then, and when it was read."""

    observed: Observations
    fee_yes: Floats
    fee_no: Floats
    read_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCoverage:
    """The number of settled markets, of those with a usable price, and of the others by the reason
    why they have none. `anchors` counts the usable ones by the date that their instant was counted
    from.
    """

    eligible: int
    used: int
    events: int
    left_out: Mapping[Exclusion, int] = field(default_factory=dict)
    anchors: Mapping[Anchor, int] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        return self.used / self.eligible if self.eligible else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All figures of a request."""

    request: CalibrationRequest
    read_at: datetime
    coverage: CalibrationCoverage
    curve: list[ReliabilityBin]
    scores: Scores | None
    returns_yes: list[ReturnBin]
    returns_no: list[ReturnBin]
    fees_unknown: int
    trail: ScoreTrail


class UsedMarkets(NamedTuple):
    """The usable markets of a request with their prices and outcomes, from 0 to 1."""

    observed: Observations
    prices: Floats
    outcomes: Floats

    def sliced(self, which: Ints | slice) -> "UsedMarkets":
        return UsedMarkets(self.observed.where(which), self.prices[which], self.outcomes[which])


def calibrate(request: CalibrationRequest) -> Calibration:
    """Compute the figures of a request; raises BadInput."""
    read = read_markets(request)
    reasons, used = usable(request, read.observed)
    prices, outcomes, events = used.prices, used.outcomes, used.observed.event
    sizes = {"bins": request.bins, "minimum": request.minimum}
    is_used = reasons == Exclusion.NONE
    yes, no = (_returns(request, read, is_used, no=no) for no in (False, True))
    return Calibration(
        request=request,
        read_at=read.read_at,
        coverage=_coverage(reasons, used.observed),
        curve=reliability(prices, outcomes, events, **sizes),
        scores=scores(prices, outcomes, events, **sizes),
        returns_yes=yes,
        returns_no=no,
        fees_unknown=int((np.isnan(read.fee_yes) & np.isnan(read.fee_no) & is_used).sum()),
        trail=score_trail(used.observed.settled, (prices - outcomes) ** 2),
    )


def used_markets(request: CalibrationRequest) -> UsedMarkets:
    """Return the usable markets, the newest settlement first; raises BadInput."""
    used = usable(request, read_markets(request).observed)[1]
    return used.sliced(np.argsort(-used.observed.settled, kind="stable"))


def within_bin(request: CalibrationRequest, used: UsedMarkets, number: int | None) -> UsedMarkets:
    """Return those with a price in a bin, or all where it is None; raises BadInput."""
    if number is None:
        return used
    if not 0 <= number < request.bins:
        raise BadInput("bin", f"must be a whole number from 0 to {request.bins - 1}")
    return used.sliced(np.flatnonzero(bins_of(used.prices, request.bins) == number))


def usable(request: CalibrationRequest, observed: Observations) -> tuple[Ints, UsedMarkets]:
    """Return why each market is left out, and those that are not."""
    reasons = observed.reasons(request.price, float(request.max_spread))
    used = observed.where(reasons == Exclusion.NONE)
    return reasons, UsedMarkets(used, used.prices(request.price), used.outcomes(request.price))


def _returns(
    request: CalibrationRequest, read: ReadMarkets, is_used: Bools, *, no: bool
) -> list[ReturnBin]:
    """Return what buying a side of the usable markets at its ask returned."""
    paid, fee = prices_paid(read.observed, no=no), read.fee_no if no else read.fee_yes
    bought = is_used & np.isfinite(fee)
    value = read.observed.outcomes(ASK_NO if no else ASK_YES)
    purchases = Purchases(
        paid[bought] / DOLLAR, fee[bought], value[bought], read.observed.event[bought]
    )
    return returns(purchases, bins=request.bins, minimum=request.minimum)


def _coverage(reasons: Ints, used: Observations) -> CalibrationCoverage:
    return CalibrationCoverage(
        eligible=len(reasons),
        used=len(used),
        events=len(np.unique(used.event)),
        left_out={
            reason: count
            for reason in Exclusion
            if reason != Exclusion.NONE and (count := int((reasons == reason).sum()))
        },
        anchors={
            anchor: count for anchor in Anchor if (count := int((used.anchor == anchor).sum()))
        },
    )


# --- Reading, and keeping what was read ---------------------------------------------------------


def read_markets(request: CalibrationRequest) -> ReadMarkets:
    """Read the observations of a request, or take those that were read lately; raises BadInput."""
    request.check()
    for id, why in Import.objects.why_unusable(request.imports).items():
        raise BadInput("imports", f"{id} {why}")
    key = _key(request)
    if (kept := _kept(key)) is not None:
        return kept
    with transaction.atomic():
        # One reads at a time, so that however many ask, one core is busy; a web session that waits
        # too long is answered by 503. Whoever waited may find what the other has read.
        with connection.cursor() as cursor:
            cursor.execute(ONE_READER)
        return _kept(key) or _read(request, key)


def _read(request: CalibrationRequest, key: str) -> ReadMarkets:
    observed = read_observations(request)
    read = ReadMarkets(observed, *buying_fees(observed, request.imports), datetime.now(UTC))
    _keep(key, read)
    return read


def _key(request: CalibrationRequest) -> str:
    words = repr((KEPT_FORM, request.reading)).encode()
    return f"calibration-{hashlib.blake2b(words, digest_size=16).hexdigest()}"


def _keep(key: str, read: ReadMarkets) -> None:
    columns = [getattr(read.observed, each.name) for each in fields(Observations)]
    arrays = b"".join(np.ascontiguousarray(each).tobytes() for each in (*columns, *read[1:3]))
    try:
        cache.set(key, (read.read_at, zlib.compress(arrays, 1)), KEPT_SECONDS)
    except redis.RedisError as fault:
        log.warning("cache_unavailable", error=type(fault).__name__)


def _kept(key: str) -> ReadMarkets | None:
    try:
        found = cache.get(key)
    except redis.RedisError as fault:
        log.warning("cache_unavailable", error=type(fault).__name__)
        return None
    if found is None:
        return None
    read_at, arrays = found
    names = fields(Observations)
    rows = np.frombuffer(zlib.decompress(arrays), np.int64).reshape(len(names) + 2, -1)
    observed = Observations(*rows[:-2])
    return ReadMarkets(observed, rows[-2].view(float), rows[-1].view(float), read_at)
