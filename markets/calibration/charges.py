"""The fee that buying at the ask cost at the time, by the terms on record."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from kalshi_insights.arrays import Floats, Ints, np
from markets import fees
from markets.calibration.anchors import MISSING, Exclusion
from markets.calibration.observations import DOLLAR, MILLION, Observations
from markets.models import FeeChange
from markets.models.observations import instant
from markets.models.revisions import FeeTerms

# A fee is rounded for each fill, so that it depends on the size of the order.
CONTRACTS = 100
HUNDREDTHS = 100


class BuyingFees(NamedTuple):
    """Dollars a contract of YES and of NO; NaN where nobody offered it or the terms are unknown."""

    yes: Floats
    no: Floats


def buying_fees(observed: Observations, imports: Sequence[int] = ()) -> BuyingFees:
    """Return what a taker of `CONTRACTS` at the ask paid, for each market with a quote,
    at the instant of its observation."""
    found = BuyingFees(np.full(len(observed), np.nan), np.full(len(observed), np.nan))
    quoted = np.flatnonzero(observed.reason == Exclusion.NONE)
    if not len(quoted):
        return found
    chosen = observed.where(quoted)
    ids, instants = chosen.market.tolist(), chosen.at
    schedule = FeeChange.objects.schedule(
        ids, start=instant(int(instants.min())), end=instant(int(instants.max())), imports=imports
    )
    columns = (prices_paid(chosen, no=no).tolist() for no in (False, True))
    for row, id, at, yes, no in zip(quoted.tolist(), ids, instants.tolist(), *columns, strict=True):
        when = instant(at)
        terms = (*_terms(schedule[id], when), _rounding(when.date().toordinal()))
        found.yes[row], found.no[row] = _fee(yes, *terms), _fee(no, *terms)
    return found


def _terms(schedule: Sequence[FeeTerms], at: datetime) -> tuple[str, Decimal | None]:
    """Return the terms in force at an instant; the first of a schedule hold before it, too."""
    terms = next((each for each in reversed(schedule) if each.since <= at), schedule[0])
    return terms.fee_type, terms.fee_multiplier


@lru_cache(maxsize=1_000)
def _rounding(day: int) -> fees.Rounding:
    """Return the rule of a day, since rules change at midnight."""
    at = datetime.fromordinal(day).replace(tzinfo=UTC)
    return fees.rounding(at, broker=False)


@lru_cache(maxsize=100_000)
def _fee(price: int, fee_type: str, multiplier: Decimal | None, rounding: fees.Rounding) -> float:
    if price == MISSING:
        return math.nan
    try:
        rate = fees.rate(fee_type, multiplier, "taker")
    except fees.UnknownFees:
        return math.nan
    count = CONTRACTS * HUNDREDTHS
    fee, _ = fees.charge(
        count, price, -count * price, *rate, rounding.step, rounding.grid, rounding.rebate, 0
    )
    return fee / MILLION / CONTRACTS


def prices_paid(observed: Observations, *, no: bool) -> Ints:
    """Return what a contract of a side cost at its ask; MISSING where nobody offered it."""
    if not no:
        return observed.ask
    return np.where(observed.bid == MISSING, MISSING, DOLLAR - observed.bid)
