"""The settled markets of a request, read from the record or from what was kept of it.

Reading takes longer than all that is computed from it, and settled markets hardly change. So what
was read is kept for a few minutes, for every page and request that asks for the same.
"""

import hashlib
import zlib
from dataclasses import fields
from datetime import UTC, datetime
from typing import NamedTuple

import redis
import structlog
from django.core.cache import cache
from django.db import connection, transaction

from kalshi_insights.arrays import Floats, Ints, np
from kalshi_insights.bad_input import BadInput
from markets.calibration.anchors import Exclusion
from markets.calibration.charges import buying_fees
from markets.calibration.observations import Observations, read_observations
from markets.calibration.request import CalibrationRequest
from markets.models import Import

log = structlog.get_logger(__name__)

KEPT_SECONDS = 600
ONE_READER = "SELECT pg_advisory_xact_lock(hashtext('reader of calibrations'))"
# The form of what is kept; another one is read anew.
KEPT_FORM = 2


class ReadMarkets(NamedTuple):
    """The observations of a request, the fees of buying YES and NO then, and when it was read."""

    observed: Observations
    fee_yes: Floats
    fee_no: Floats
    read_at: datetime


class UsedMarkets(NamedTuple):
    """The usable markets of a request with their prices and outcomes, from 0 to 1."""

    observed: Observations
    prices: Floats
    outcomes: Floats

    def sliced(self, which: Ints | slice) -> "UsedMarkets":
        return UsedMarkets(self.observed.where(which), self.prices[which], self.outcomes[which])

    def newest_first(self) -> "UsedMarkets":
        """Sort them by their settlement."""
        return self.sliced(np.argsort(-self.observed.settled, kind="stable"))


def usable(request: CalibrationRequest, observed: Observations) -> tuple[Ints, UsedMarkets]:
    """Return why each market is left out, and those that are not."""
    reasons = observed.reasons(request.price, float(request.max_spread))
    used = observed.where(reasons == Exclusion.NONE)
    return reasons, UsedMarkets(used, used.prices(request.price), used.outcomes(request.price))


def used_markets(request: CalibrationRequest) -> UsedMarkets:
    """Return the usable markets, the newest settlement first; raises BadInput."""
    return usable(request, read_markets(request).observed)[1].newest_first()


def read_markets(request: CalibrationRequest, *, anew: bool = False) -> ReadMarkets:
    """Read the observations of a request, or take those that were read lately unless `anew`;
    raises BadInput.
    """
    request.check()
    for id, why in Import.objects.why_unusable(request.imports).items():
        raise BadInput("imports", f"{id} {why}")
    key = _key(request)
    if not anew and (kept := _kept(key)) is not None:
        return kept
    with transaction.atomic():
        # One reads at a time, so that however many ask, one core is busy; a web session that waits
        # too long is answered by 503. Whoever waited may find what the other has read.
        with connection.cursor() as cursor:
            cursor.execute(ONE_READER)
        return (None if anew else _kept(key)) or _read(request, key)


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
