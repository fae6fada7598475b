"""What Kalshi charges for a fill, in integers.

Prices are in 1/10,000 dollar on the YES scale, counts in 1/100 contract, money in 1/1,000,000
dollar. So count x price is money, exactly.
"""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

CENT = 10_000
CENTICENT = 100

# Compiled code counts in 64 bits and overflows in silence. With P x (1 - P) at most 1/4, which is
# 25,000,000 here, an order within both bounds stays below: 1e8 * 2.5e7 * 3600 < 2**63. A caller
# refuses larger counts before it charges for them; `rate` refuses larger numerators.
MOST_COUNT = 100_000_000
MOST_NUMERATOR = 3_600
FINEST_MULTIPLIER = Decimal("0.000001")

# Of P x (1 - P) for each contract, before the multiplier (Kalshi's fee schedule of June 2026).
COEFFICIENTS = {
    "quadratic": {"taker": Fraction(7, 100), "maker": Fraction(0)},
    "quadratic_with_maker_fees": {"taker": Fraction(7, 100), "maker": Fraction(7, 400)},
    "quadratic_with_combo_maker_fees": {"taker": Fraction(7, 100), "maker": Fraction(7, 200)},
}


class UnknownFees(ValueError):
    """What a fill cost cannot be told from these terms."""


class Rate(NamedTuple):
    """Dollars for each contract and dollar of P x (1 - P), in lowest terms; from 0 to 1."""

    numerator: int
    denominator: int


class Rounding(NamedTuple):
    """In what units fees are rounded from an instant on, in millionths of a dollar.

    `step` is what the fee of a fill is rounded up to, `grid` what the balance is kept on, and
    `rebate` the unit in which an order gets back what the second of them took.
    """

    since: datetime
    step: int
    grid: int
    rebate: int


def rate(fee_type: str, multiplier: Decimal | None, liquidity: str) -> Rate:
    """The rate of a "taker" or a "maker"; raises `UnknownFees`.

    The multiplier is what its JSON text says, never a float. At a rate above 1, a better price
    could cost more than a worse one, fee included; funds are checked on the premise that it cannot.
    """
    if fee_type not in COEFFICIENTS:
        raise UnknownFees(f"no table of fees is known for the type {fee_type!r}")
    if multiplier is None:
        raise UnknownFees("no fee multiplier is on record")
    if not multiplier.is_finite() or multiplier < 0:
        raise UnknownFees(f"{multiplier} is no fee multiplier")
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
    """Every rule of rounding so far, oldest first; members through a broker keep whole cents.

    From Kalshi's fee rounding page as it read in spring, in summer and in August 2026, and for
    the oldest rule, a cent begun for each order, from its earlier fee schedules. Two things are
    assumed: that this rule ended with the release that removed integer cents (Kalshi tells no
    date), and that rules change at midnight UTC of their days.
    """
    account = CENT if broker else CENTICENT
    return (
        Rounding(datetime.min.replace(tzinfo=UTC), step=1, grid=CENT, rebate=CENT),
        Rounding(datetime(2026, 3, 12, tzinfo=UTC), step=CENTICENT, grid=CENT, rebate=CENT),
        Rounding(datetime(2026, 5, 28, tzinfo=UTC), step=CENTICENT, grid=account, rebate=CENT),
        Rounding(datetime(2026, 8, 26, tzinfo=UTC), step=1, grid=account, rebate=account),
    )


def rounding(at: datetime, *, broker: bool) -> Rounding:
    """The rule for a fill at an instant."""
    return [rule for rule in roundings(broker=broker) if rule.since <= at][-1]


# The next two are compiled as well, so they know plain integers and call nothing of ours.


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
    """The net fee of one fill, and what its order has accumulated after it.

    `flow` is the cash that the fill moves before fees, below zero for a buyer. The accumulator
    begins at 0 and belongs to the order, taker and maker fills alike. Rebates are whole units, at
    most those that the fill's own fee covers; so the balance stays on its grid, and what an
    order pays in fills smaller than a unit may stay in its accumulator for good.
    """
    trade = -(-numerator * count * price * (10_000 - price) // (denominator * 10_000 * step)) * step
    rounded = (flow - trade) % grid
    accumulated += rounded
    back = min(accumulated, trade + rounded) // rebate * rebate
    return trade + rounded - back, accumulated - back


def bound(count: int, price: int, numerator: int, denominator: int, grid: int) -> int:
    """At least the net fee of a fill of at most `count`, whatever was accumulated before it.

    An order can cost more by two grid units for each further fill, since every fill is rounded.
    At a better price the fee may be higher, but the fee and the cost together are not.
    """
    exact = -(-numerator * count * price * (10_000 - price) // (denominator * 10_000))
    return exact + 2 * grid
