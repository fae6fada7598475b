"""Provisional markets, which are withdrawn if nobody trades them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from markets.simulator.cadence import DAY, STEP
from markets.simulator.noise import PROVISIONAL, Bools, Ints, mix, uniform
from markets.simulator.orders import SECOND, TakerOrders
from markets.simulator.prices import Prices
from markets.simulator.universe import NEVER, SimulatedEvent

SHARE = 0.15


def provisional(prices: Prices, events: Sequence[SimulatedEvent]) -> Bools:
    """Pick the provisional markets among those with siblings that stay."""
    traits = prices.traits
    first = np.append(True, np.diff(traits.event) > 0)[: len(traits.event)]
    # A combination has its parent's key. Its legs must stay, so the parent is left out.
    combined = {e.key for e in events if e.legs}
    slow = np.array(
        [e.series.lead >= DAY and e.key not in combined for e in events], dtype=np.bool_
    )
    drawn = uniform(mix(traits.key, PROVISIONAL), 0) < SHARE
    return np.asarray(drawn & ~first & slow[traits.event])


def withdrawals(orders: TakerOrders, is_provisional: Bools) -> Ints:
    """Return when markets are withdrawn: NEVER, unless provisional and untraded by then."""
    prices = orders.prices
    found = np.full(len(is_provisional), NEVER, dtype=np.int64)
    rows = np.flatnonzero(is_provisional)
    events = prices.traits.event[rows]
    opened, ended = prices.lives.opened[events], prices.lives.ended[events]
    share = 0.005 + 0.15 * uniform(mix(prices.traits.key[rows], PROVISIONAL), 1)
    until = (opened + (ended - opened) * share).astype(np.int64) // STEP * STEP
    untraded = orders.count(rows, until * SECOND) == 0
    found[rows[untraded]] = until[untraded]
    return found
