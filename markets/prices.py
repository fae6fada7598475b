"""Prices: complement, midpoint, spread, price grid and quality flags.

Prices are dollars on the YES scale. None stands for a side that nobody quotes.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

ONE = Decimal(1)
# The exponent of the finest step that is accepted, a millionth of a dollar.
MOST_PLACES = -6


class Quality(enum.IntFlag):
    """Oddities of a quote, which are flagged when it is recorded and never repaired."""

    CROSSED = 1
    LOCKED = 2
    OFF_GRID = 4
    ONE_SIDED = 8
    # The market was not trading, so its book has only leftover orders.
    STALE = 16


@dataclass(frozen=True, slots=True)
class PriceRange:
    """A range of a market's price grid: `start`, then every `step` dollars up to `end`."""

    start: Decimal
    end: Decimal
    step: Decimal

    def __post_init__(self) -> None:
        numbers = (self.start, self.end, self.step)
        if not all(number.is_finite() for number in numbers):
            raise ValueError("a price range needs finite numbers")
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(f"{self.start} to {self.end} is not a range of prices")
        if not 0 < self.step <= 1:
            raise ValueError(f"{self.step} is not a valid price step")
        if any(int(number.as_tuple().exponent) < MOST_PLACES for number in numbers):
            raise ValueError("a price range is finer than a millionth of a dollar")

    def __contains__(self, price: Decimal) -> bool:
        return self.start <= price <= self.end and (price - self.start) % self.step == 0


def complement(price: Decimal) -> Decimal:
    """The price of the other side: a NO bid of x is a YES ask of 1 - x."""
    return ONE - price


def mid(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    if bid is None or ask is None:
        return None
    return (bid + ask) / 2


def spread(bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
    """The ask minus the bid, negative where the book is crossed."""
    if bid is None or ask is None:
        return None
    return ask - bid


def on_grid(price: Decimal, ranges: Sequence[PriceRange]) -> bool:
    """True if an order at this price could rest; an unknown grid (no ranges) allows any price."""
    return not ranges or any(price in each for each in ranges)


def quality(
    bid: Decimal | None,
    ask: Decimal | None,
    ranges: Sequence[PriceRange],
    *,
    trading: bool = True,
) -> Quality:
    """Flag the oddities of a quote, given the market's price grid and trading state."""
    flags = Quality(0)
    if bid is not None and ask is not None:
        if bid > ask:
            flags |= Quality.CROSSED
        elif bid == ask:
            flags |= Quality.LOCKED
    elif (bid is None) != (ask is None):
        flags |= Quality.ONE_SIDED
    if any(side is not None and not on_grid(side, ranges) for side in (bid, ask)):
        flags |= Quality.OFF_GRID
    return flags if trading else flags | Quality.STALE
