"""The levels of order books as makers fill them: prices on the grid, and sizes.

Prices are on the scale of a side's own leg, as in the exchange's order books: asks are bids for NO.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from markets.simulator.lives import Traits
from markets.simulator.noise import ASK_SIZE, DEPTH, Bools, Floats, Ints, mix, uniform

UNIT = 10_000
# The last level has this many lots more, so that takers never empty a side.
RESERVE = 13
# A level lies at most so many steps of the grid below the one before it.
WIDEST_GAP = 4


class Side(NamedTuple):
    """One side of the books of some markets, one of each row; methods work on columns."""

    traits: Traits
    rows: Ints
    # ASK_SIZE for the asks, BID_SIZE for the bids.
    stream: Ints
    # A counter; the size at a price changes only when it does.
    clock: Ints

    def pick(self, selected: Ints) -> Side:
        return Side(self.traits, self.rows[selected], self.stream[selected], self.clock[selected])

    def sizes(self, price: Ints, place: int) -> Ints:
        """The sizes in 1/100 contract of the levels that are `place` below the best."""
        traits, rows = self.traits, self.rows
        yes_price = np.where(self.stream == ASK_SIZE, UNIT - price, price)
        draw = uniform(mix(mix(traits.key[rows], self.stream), self.clock), yes_price)
        lot = traits.lot[rows]
        size = (lot * (0.5 + 9.0 * draw**3)).astype(np.int64)
        size += np.where(self.is_last(price, place), RESERVE * lot, 0)
        return np.where(traits.whole[rows], size // 100 * 100, size)

    def is_last(self, price: Ints, place: int) -> Bools:
        """True where no level follows: the ladder ends, or the grid."""
        deepest = place + 1 >= self.traits.depth[self.rows]
        return np.asarray(deepest | (price <= self.traits.edge_step[self.rows]))

    def below(self, price: Ints) -> Ints:
        """The prices of the next levels, none of them below the lowest of the grid."""
        traits, rows = self.traits, self.rows
        drawn = uniform(mix(traits.key[rows], DEPTH), price)
        gap = (WIDEST_GAP * drawn**3).astype(np.int64)
        for step in range(int(gap.max(initial=0)) + 1):
            lower = on_grid(traits, rows, (price - 1) / UNIT, up=False)
            price = np.where(step <= gap, lower, price)
        return np.maximum(price, traits.edge_step[rows])


def on_grid(traits: Traits, rows: Ints, price: Floats, *, up: bool) -> Ints:
    """Round prices in dollars outwards to the markets' price grids."""
    exact = np.clip(price, 0.0, 1.0) * UNIT
    edge = traits.edge[rows]
    outer = (exact < edge) | (exact > UNIT - edge)
    step = np.where(outer, traits.edge_step[rows], traits.center_step[rows])
    # The tolerance keeps a price on the grid from being rounded to its neighbour.
    count = np.ceil(exact / step - 1e-9) if up else np.floor(exact / step + 1e-9)
    return np.asarray((count * step).astype(np.int64))
