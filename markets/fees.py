"""Kalshi's trading fees, computed in integers.

Prices are in 1/10,000 dollar on the YES scale, counts in 1/100 contract, money in 1/1,000,000
dollar. Thus count x price is exact money.
"""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

CENT = 10_000
CENTICENT = 100

# Compiled code computes in 64 bits and overflows silently. P x (1 - P) is at most 1/4, which is
# 25,000,000 here, so an order within both bounds is safe: 1e8 * 2.5e7 * 3600 < 2**63. Callers
# refuse larger counts before they charge for them, and `rate` refuses larger numerators.
MOST_COUNT = 100_000_000
MOST_NUMERATOR = 3_600
FINEST_MULTIPLIER = Decimal("0.000001")

# The fee of a contract is this share of P x (1 - P), before the multiplier. The source is Kalshi's
# fee schedule of June 2026.
COEFFICIENTS = {
    "quadratic": {"taker": Fraction(7, 100), "maker": Fraction(0)},
    "quadratic_with_maker_fees": {"taker": Fraction(7, 100), "maker": Fraction(7, 400)},
    "quadratic_with_combo_maker_fees": {"taker": Fraction(7, 100), "maker": Fraction(7, 200)},
}


class UnknownFees(ValueError):
    """The fee of a fill cannot be computed from these terms."""


class Rate(NamedTuple):
    """Dollars for each contract and dollar of P x (1 - P), in lowest terms; from 0 to 1."""

    numerator: int
    denominator: int


class Rounding(NamedTuple):
    """The rounding units from an instant on, in millionths of a dollar.

    The fee of a fill is rounded up to `step`, and the balance stays on multiples of `grid`. What
    the second rounding took is given back to the order in units of `rebate`.
    """

    since: datetime
    step: int
    grid: int
    rebate: int


def rate(fee_type: str, multiplier: Decimal | None, liquidity: str) -> Rate:
    """The rate of a "taker" or a "maker"; raises `UnknownFees`.

    The multiplier is parsed from its JSON text, never from a float. Rates above 1 are refused: with
    them a better price could cost more than a worse one, fee included, and the check of funds
    assumes that it cannot.
    """
    if fee_type not in COEFFICIENTS:
        raise UnknownFees(f"the fee type {fee_type!r} is unknown")
    if multiplier is None:
        raise UnknownFees("no fee multiplier is on record")
    if not multiplier.is_finite() or multiplier < 0:
        raise UnknownFees(f"{multiplier} is not a fee multiplier")
    if multiplier > MOST_NUMERATOR:
        raise UnknownFees(f"the fee multiplier {multiplier} is too large")
    if multiplier % FINEST_MULTIPLIER:
        raise UnknownFees(f"the fee multiplier {multiplier} is too fine")
    exact = COEFFICIENTS[fee_type][liquidity] * Fraction(multiplier)
    if exact > 1:
        raise UnknownFees(f"the fee multiplier {multiplier} is too large")
    if exact.numerator > MOST_NUMERATOR:
        raise UnknownFees(f"the fee multiplier {multiplier} is too fine")
    return Rate(exact.numerator, exact.denominator)


def roundings(*, broker: bool) -> tuple[Rounding, ...]:
    """List all rounding rules, oldest first; members through a broker keep whole cents.

    The sources are Kalshi's fee rounding page as of spring, summer and August 2026 and, for the
    oldest rule, which rounds each order up to a cent, its earlier fee schedules. Two things are
    assumed: that this rule ended with the release that removed integer cents (Kalshi gives no
    date), and that rules change at midnight UTC.
    """
    account = CENT if broker else CENTICENT
    return (
        Rounding(datetime.min.replace(tzinfo=UTC), step=1, grid=CENT, rebate=CENT),
        Rounding(datetime(2026, 3, 12, tzinfo=UTC), step=CENTICENT, grid=CENT, rebate=CENT),
        Rounding(datetime(2026, 5, 28, tzinfo=UTC), step=CENTICENT, grid=account, rebate=CENT),
        Rounding(datetime(2026, 8, 26, tzinfo=UTC), step=1, grid=account, rebate=account),
    )


def rounding(at: datetime, *, broker: bool) -> Rounding:
    """The rounding rule for a fill at an instant."""
    return [rule for rule in roundings(broker=broker) if rule.since <= at][-1]


# The next two functions are also compiled, so they use plain integers and call no other function.


def charge(  # noqa: PLR0913, PLR0917
    count: int,
    price: int,
    flow: int,
    numerator: int,
    denominator: int,
    step: int,
    grid: int,
    rebate: int,
    accumulated: int,
) -> tuple[int, int]:
    """Compute the net fee of a fill, and its order's accumulator after it.

    `flow` is the cash that the fill moves before fees, negative for a buyer. The accumulator starts
    at 0 and is shared by the taker and maker fills of an order. Rebates are whole units and at most
    the fill's own fee, so the balance stays on its grid. What an order pays in fills smaller than a
    unit may therefore stay in its accumulator for good.
    """
    trade = -(-numerator * count * price * (10_000 - price) // (denominator * 10_000 * step)) * step
    rounded = (flow - trade) % grid
    accumulated += rounded
    back = min(accumulated, trade + rounded) // rebate * rebate
    return trade + rounded - back, accumulated - back


def bound(count: int, price: int, numerator: int, denominator: int, grid: int) -> int:
    """An upper bound of the net fee of a fill of up to `count`, whatever was accumulated before.

    An order can cost two grid units more for each further fill, because every fill is rounded. At a
    better price the fee may be higher, but the fee and the cost together are not.
    """
    exact = -(-numerator * count * price * (10_000 - price) // (denominator * 10_000))
    return exact + 2 * grid
