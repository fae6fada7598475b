"""Orders of takers: their times, sides and sizes, in closed form for many markets at once.

`rows` are indices of markets, `number` those of a market's orders, from 0 on, and instants are in
microseconds. Counts are in 1/100 contract. Arguments are broadcast against each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from markets.simulator.noise import (
    BLOCK,
    INTEREST,
    LOT,
    TAKER,
    Bools,
    Floats,
    Ints,
    mix,
    uniform,
)
from markets.simulator.prices import Prices

SECOND = 1_000_000
# The instant of an order that never comes.
NO_INSTANT = 1 << 60
# Order i comes when the clock is between i + MARGIN and i + 1 - MARGIN, so that rounding of the
# clock never decides whether it has come.
MARGIN = 0.001
# The share of orders that are agreed outside the book.
BLOCKS = 0.002
# Orders are about a lot each, plus or minus WIGGLE, and every ninth has LARGE lots more.
WIGGLE, LARGE = 0.6, 5
# The largest share of volume that is still held as open interest.
MOST_HELD = 0.6


@dataclass(frozen=True, slots=True)
class TakerOrders:
    prices: Prices

    def clock(self, rows: Ints, at: Ints) -> Floats:
        """The number of orders that are due, which grows evenly within each stretch."""
        traits = self.prices.traits
        now = self.prices.hours.trading_time(at / SECOND)
        calm, late = self.prices.spans.progress(traits.event[rows], now)
        return np.asarray(traits.calm_orders[rows] * calm + traits.late_orders[rows] * late)

    def count(self, rows: Ints, at: Ints) -> Ints:
        """Count the orders up to an instant, inclusive."""
        whole = np.floor(self.clock(rows, at)).astype(np.int64)
        return np.asarray(whole + (self.times(rows, whole) <= at))

    def may_come(self, rows: Ints, start: Ints, end: Ints) -> Bools:
        """False where certainly no order comes in (start, end]; cheaper than counting."""
        low, high = self.clock(rows, start), self.clock(rows, end)
        whole = np.floor(low).astype(np.int64)
        due = self._due(rows, whole)
        return np.asarray(np.where(due < low - MARGIN, whole + 1 <= high, due <= high + MARGIN))

    def _due(self, rows: Ints, number: Ints) -> Floats:
        """Return the reading of the clock at which an order comes."""
        drawn = uniform(self.prices.traits.order_key[rows], number)
        return np.asarray(number + MARGIN + (1.0 - 2.0 * MARGIN) * drawn)

    def times(self, rows: Ints, number: Ints) -> Ints:
        """The instants of orders, which invert the clock; NO_INSTANT after a market's last one."""
        traits = self.prices.traits
        most = traits.calm_orders[rows] + traits.late_orders[rows]
        clock = self._due(rows, number)
        at = self.wall_time(self._trading_times(rows, clock))
        return np.where(clock <= most, at, NO_INSTANT)

    def trading_times(self, rows: Ints, number: Ints) -> Floats:
        """The instants of orders in seconds of trading time."""
        return self._trading_times(rows, self._due(rows, number))

    def _trading_times(self, rows: Ints, clock: Floats) -> Floats:
        """The instants at which the clock shows so much."""
        traits = self.prices.traits
        calm, late = traits.calm_orders[rows], traits.late_orders[rows]
        spans = self.prices.spans
        opened, calm_end, late_start, ended = (each[traits.event[rows]] for each in spans)
        # A stretch that lies within a closure has no orders.
        early = opened + clock / np.maximum(calm, 1e-9) * (calm_end - opened)
        later = late_start + (clock - calm) / np.maximum(late, 1e-9) * (ended - late_start)
        return np.asarray(np.minimum(np.where(clock < calm, early, later), ended - 1e-3))

    def wall_time(self, trading_time: Floats) -> Ints:
        """Convert seconds of trading time to microseconds, none of them on a whole second.

        Quotes change and trading pauses on whole seconds, so no order comes at the same instant.
        """
        at = (self.prices.hours.instant(trading_time) * SECOND).astype(np.int64)
        return np.asarray(at + (at % SECOND == 0))

    def volume(self, rows: Ints, count: Ints) -> Ints:
        """The volume of the first `count` orders."""
        traits = self.prices.traits
        key, lot = mix(traits.key[rows], LOT), traits.lot[rows]
        wiggle = lot * WIGGLE * (uniform(key, count) - uniform(key, np.zeros_like(count)))
        phase = (key % np.uint64(9)).astype(np.int64)
        large = lot * LARGE * ((count + phase) // 9 - phase // 9)
        exact = lot * count + wiggle.astype(np.int64) + large
        return np.where(traits.whole[rows], exact // 100 * 100, exact)

    def sizes(self, rows: Ints, number: Ints) -> Ints:
        return self.volume(rows, number + 1) - self.volume(rows, number)

    def interest(self, rows: Ints, volume: Ints) -> Ints:
        """Open interest, a share of volume that is constant for each market."""
        share = MOST_HELD * uniform(mix(self.prices.traits.key[rows], INTEREST), 0)
        return np.asarray((volume * share).astype(np.int64))

    def buys(self, rows: Ints, number: Ints) -> Bools:
        """True where the taker would rather buy YES than sell it."""
        return np.asarray(uniform(mix(self.prices.traits.key[rows], TAKER), number) < 0.5)

    def blocks(self, rows: Ints, number: Ints) -> Bools:
        return np.asarray(uniform(mix(self.prices.traits.key[rows], BLOCK), number) < BLOCKS)
