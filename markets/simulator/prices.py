"""The latent process of a set of events, and what makers quote, for many markets at once.

Prices are integers in 1/10,000 dollar and counts in 1/100 contract. `rows` are indices of markets
and `at` instants in seconds, of the same length; quotes change in steps of five seconds. A missing
bid is 0, a missing ask 10,000, both with size 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from markets.simulator.cadence import STEP
from markets.simulator.hours import TradingHours
from markets.simulator.ladders import UNIT, Side, on_grid
from markets.simulator.lives import Lives, TradingSpans, Traits, without_paused_orders
from markets.simulator.noise import (
    ASK_SIZE,
    BID_SIZE,
    BOUNCE,
    CLOCK,
    Floats,
    Ints,
    Keys,
    brownian,
    mix,
    phi,
    uniform,
)
from markets.simulator.universe import SimulatedEvent

# The favourite-longshot bias: the market overprices longshots and underprices favourites.
BIAS = 0.06
# In the calm stretch, the sizes at an unchanged price stay the same for this many steps.
SIZE_CLOCK = 24


class SimulatedQuotes(NamedTuple):
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints


def window_steps(key: Keys, window: Ints, pace: Ints) -> Ints:
    """The step in each window of `pace` steps at which the quotes change."""
    return np.asarray(window * pace + (mix(key, window) % pace.astype(np.uint64)).astype(np.int64))


@dataclass(frozen=True, slots=True)
class Prices:
    """The latent process of a set of events, with the quotes that follow from it.

    Arguments and results are in wall time; the process itself runs on trading time.
    """

    lives: Lives
    traits: Traits
    bias: bool
    hours: TradingHours
    spans: TradingSpans

    @classmethod
    def of(
        cls,
        events: Sequence[SimulatedEvent],
        *,
        bias: bool,
        hours: TradingHours,
        liveliness: float = 1.0,
    ) -> Prices:
        """Compute the constants of events. `liveliness` multiplies the orders of takers."""
        lives = Lives.of(events)
        spans = TradingSpans.of(lives, hours)
        traits = without_paused_orders(Traits.of(events, lives), lives, spans)
        return cls(lives, traits.livelier(liveliness, liveliness), bias, hours, spans)

    def _instants(self, events: Ints, trading_time: Ints) -> Ints:
        # An event that opens as a closure ends has the trading time at which the closure began.
        return np.maximum(self.hours.instant(trading_time), self.lives.opened[events])

    def last_change(self, events: Ints, at: Ints) -> Ints:
        """The newest instant at which quotes changed, which they do once in each window."""
        lives, spans, now = self.lives, self.spans, self.hours.trading_time(at)
        late = now >= spans.late_start[events]
        start = np.where(late, spans.late_start[events], spans.opened[events])
        pace = np.where(late, lives.late_pace[events], lives.calm_pace[events])
        last = np.where(late, spans.ended[events] - STEP, spans.calm_end[events])
        step = (np.minimum(now, last) - start) // STEP
        window = step // pace
        key = mix(lives.key[events], CLOCK + late)
        here, before = window_steps(key, window, pace), window_steps(key, window - 1, pace)
        changed = np.where(here <= step, here, before)
        return self._instants(events, start + np.maximum(changed, 0) * STEP)

    def changes(self, event: int, start: int, end: int) -> Ints:
        """List the instants in (start, end] at which one event's quotes change."""
        opened, calm_end, late_start, ended = (column[event] for column in self.spans)
        calm = self._stretch(event, opened, calm_end, late=False)
        late = self._stretch(event, late_start, ended - STEP, late=True)
        moves = np.concatenate([calm[calm < late_start], late])
        found = np.unique(self._instants(np.full(len(moves), event), moves))
        return np.asarray(found[(found > start) & (found <= end)])

    def _stretch(self, event: int, start: np.int64, last: np.int64, *, late: bool) -> Ints:
        paces = self.lives.late_pace if late else self.lives.calm_pace
        pace = paces[event : event + 1]
        windows = np.arange((last - start) // STEP // pace[0] + 1, dtype=np.int64)
        key = mix(self.lives.key[event : event + 1], CLOCK + late)
        steps = np.append(window_steps(key, windows, pace), 0)
        return np.asarray(start + steps[steps * STEP <= last - start] * STEP)

    def known_share(self, events: Ints, at: Ints) -> Floats:
        """The share of the final draw's variance that is known at an instant, in [0, 1)."""
        known, reveal = self.lives.known[events], self.lives.reveal[events]
        now = self.hours.trading_time(at)
        calm, late = self.spans.progress(events, now)
        begun = now >= self.spans.late_start[events]
        share = np.where(begun, known + (reveal - known) * late, known * calm)
        return np.asarray(np.minimum(share, 1.0 - 1e-7))

    def chances(self, rows: Ints, at: Ints) -> Floats:
        """The true probability of YES given what is known, a martingale that ends in the result."""
        traits = self.traits
        known = self.known_share(traits.event[rows], at)
        # Markets of an event share a path, so it is computed once for each event and instant.
        pairs, place = np.unique(traits.event[rows] * (1 << 36) + at, return_inverse=True)
        share = self.known_share(pairs >> 36, pairs & ((1 << 36) - 1))
        path = brownian(self.lives.key[pairs >> 36], share)[place.reshape(-1)]
        rest = np.sqrt(1.0 - known)
        above, below = (traits.high[rows] - path) / rest, (traits.low[rows] - path) / rest
        return np.asarray(phi(above) - phi(below))

    def beliefs(self, rows: Ints, at: Ints) -> Floats:
        """The market's estimate of the probability, which overprices longshots."""
        chance = np.clip(self.chances(rows, at), 0.0, 1.0)
        if not self.bias:
            return chance
        rare = np.minimum(chance, 1.0 - chance)
        tilt = BIAS * np.sqrt(rare) * (1.0 - 2.0 * rare)
        return np.asarray(chance + np.where(chance < 0.5, tilt, -tilt))

    def quotes(self, rows: Ints, at: Ints) -> SimulatedQuotes:
        """The top of the books as makers quote it; empty before the open and after the end.

        What takers have taken since the last change is not subtracted: `SimulatedBooks` shows that.
        """
        traits, lives = self.traits, self.lives
        events = traits.event[rows]
        changed = self.last_change(events, at)
        belief = self.beliefs(rows, changed)
        half = traits.width[rows] * (0.25 + 1.5 * np.sqrt(belief * (1.0 - belief)))
        bounce = half * 1.2 * (uniform(mix(traits.key[rows], BOUNCE), changed // STEP) - 0.5)
        bid = on_grid(traits, rows, belief - half + bounce, up=False)
        ask = on_grid(traits, rows, belief + half + bounce, up=True)
        trading = (at >= lives.opened[events]) & (at < lives.ended[events])
        offered = traits.offered[rows]
        bid = np.where(trading & (bid > 0) & (offered & 1 == 0), bid, 0)
        ask = np.where(trading & (ask < UNIT) & (offered & 2 == 0), ask, UNIT)
        bids, asks = self._sides(rows, self._clock(events, changed))
        return SimulatedQuotes(
            bid,
            ask,
            np.where(bid > 0, bids.sizes(bid, 0), 0),
            np.where(ask < UNIT, asks.sizes(UNIT - ask, 0), 0),
        )

    def sides(self, rows: Ints, at: Ints) -> tuple[Side, Side]:
        """The bids and the asks that makers have placed by an instant."""
        events = self.traits.event[rows]
        return self._sides(rows, self._clock(events, self.last_change(events, at)))

    def _sides(self, rows: Ints, clock: Ints) -> tuple[Side, Side]:
        bids, asks = np.full(len(rows), BID_SIZE), np.full(len(rows), ASK_SIZE)
        return Side(self.traits, rows, bids, clock), Side(self.traits, rows, asks, clock)

    def fair_prices(self, rows: Ints, at: Ints) -> Ints:
        """The market's estimate in whole cents, which lie on every grid."""
        cents = np.rint(self.beliefs(rows, at) * 100).astype(np.int64)
        return np.clip(cents, 1, 99) * (UNIT // 100)

    def _clock(self, events: Ints, changed: Ints) -> Ints:
        busy = (changed >= self.lives.late_start[events]) & (self.lives.late_pace[events] < 6)
        return np.where(busy, changed // STEP, changed // (STEP * SIZE_CLOCK))
