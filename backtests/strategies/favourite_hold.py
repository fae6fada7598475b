"""Buy what is nearly certain shortly before it is."""

from typing import ClassVar

import numpy as np

from backtests.data.universe import Bools, Floats, Ints, Seen, exact
from backtests.strategies.base import (
    BELIEF,
    CONTRACTS,
    EDGE,
    HOLD,
    WIDEST,
    Parameter,
    Schema,
    Signal,
)


class FavouriteHold(Signal):
    """The other side's chance is stated as its midpoint times `belief`; the rest is the
    favourite's."""

    name = "favourite-hold"
    version = "2"
    summary = "Buys the side that is nearly certain shortly before the close, and holds it."
    schema: ClassVar[Schema] = {
        "threshold": Parameter(
            default=0.85, least=0.5, most=0.999, unit="dollars",
            help="A side at this midpoint or above is the favourite.",
        ),
        "ceiling": Parameter(
            default=0.99, least=0.5, most=0.999, unit="dollars",
            help="Above this midpoint there is too little to win.",
        ),
        "belief": BELIEF,
        "edge": EDGE,
        "widest": WIDEST,
        "hours_most": Parameter(
            default=24.0, least=0.0, most=87_600.0, unit="hours",
            help="Enter no earlier than this before the close.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, seen: Seen) -> Ints:
        hours = seen.seconds_to_close / 3_600
        fit = (hours >= 0) & (hours <= self.p.hours_most) & (seen.spread <= self.p.widest)
        fit &= seen.tradable
        chance = self._chance(seen)
        yes = fit & self._favoured(seen.mid) & (exact(chance - seen.ask) >= self.p.edge)
        no = fit & self._favoured(exact(1 - seen.mid)) & (exact(seen.bid - chance) >= self.p.edge)
        return np.where(yes, self.p.contracts, np.where(no, -self.p.contracts, HOLD))

    def probabilities(self, seen: Seen) -> Floats:
        favourite = self._favoured(seen.mid) | self._favoured(exact(1 - seen.mid))
        return np.where(favourite, self._chance(seen), np.nan)

    def _favoured(self, price: Floats) -> Bools:
        favoured: Bools = (price >= self.p.threshold) & (price <= self.p.ceiling)
        return favoured

    def _chance(self, seen: Seen) -> Floats:
        """Of YES, if the cheaper side is worth its midpoint times `belief`."""
        cheap: Floats = self.p.belief * np.minimum(seen.mid, 1 - seen.mid)
        return np.where(seen.mid > 0.5, 1 - cheap, cheap)
