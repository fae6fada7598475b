"""The lifecycles of events and the constant attributes of their markets, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from markets.simulator.hours import Times, TradingHours
from markets.simulator.noise import (
    DEPTH,
    MARKET,
    TRADE,
    Bools,
    Floats,
    Ints,
    Keys,
    mix,
    phi,
    uniform,
)
from markets.simulator.series import GRIDS
from markets.simulator.universe import SimulatedEvent

# A side of a book has two to so many levels, unless the price grid ends before.
DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Lives:
    """The lifecycles of a set of events, one column for each attribute."""

    key: Keys
    created: Ints
    opened: Ints
    calm_end: Ints
    late_start: Ints
    ended: Ints
    # The close as first listed, and the instant when it is corrected, or NEVER.
    listed_close: Ints
    relisted: Ints
    determined: Ints
    settled: Ints
    timer: Ints
    disputed: Bools
    known: Floats
    reveal: Floats
    calm_pace: Ints
    late_pace: Ints

    @classmethod
    def of(cls, events: Sequence[SimulatedEvent]) -> Lives:
        def ints(name: str) -> Ints:
            return np.array([getattr(event, name) for event in events], dtype=np.int64)

        def traits(name: str) -> list[float]:
            return [getattr(event.series, name) for event in events]

        paces = np.array([event.series.pace for event in events], dtype=np.int64).reshape(-1, 2)
        return cls(
            key=np.array([event.key for event in events], dtype=np.uint64),
            created=ints("created"),
            opened=ints("opened"),
            calm_end=ints("calm_end"),
            late_start=ints("late_start"),
            ended=ints("ended"),
            listed_close=ints("listed_close"),
            relisted=ints("relisted"),
            determined=ints("determined"),
            settled=ints("settled"),
            timer=np.array(traits("dispute"), dtype=np.int64),
            disputed=np.array([event.disputed for event in events], dtype=np.bool_),
            known=np.array(traits("known")),
            reveal=np.array([event.reveal for event in events]),
            calm_pace=paces[:, 0],
            late_pace=paces[:, 1],
        )


@dataclass(frozen=True, slots=True)
class Traits:
    """The constant attributes of a set of markets. `event` is the row of a market's event."""

    event: Ints
    key: Keys
    order_key: Keys
    low: Floats
    high: Floats
    edge: Ints
    edge_step: Ints
    center_step: Ints
    width: Floats
    # 0: both sides are quoted; 1: no bids; 2: no asks; 3: neither.
    offered: Ints
    # The takers' orders of the calm and of the late stretch.
    calm_orders: Floats
    late_orders: Floats
    lot: Ints
    whole: Bools
    # The number of levels on each side of the book.
    depth: Ints

    @classmethod
    def of(cls, events: Sequence[SimulatedEvent], lives: Lives) -> Traits:
        counts = np.array([len(event.outcomes) for event in events], dtype=np.int64)
        event = np.repeat(np.arange(len(events), dtype=np.int64), counts)
        within = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
        # A combination shares its parent's path, not its parent's markets.
        combined = np.array([bool(each.legs) for each in events], dtype=np.int64)
        key = mix(mix(lives.key, MARKET + combined)[event], within)
        grids = np.array([GRIDS[e.series.structure] for e in events], dtype=np.int64).reshape(-1, 3)
        bounds = [(o.low, o.high) for e in events for o in e.outcomes]
        low, high = np.array(bounds, dtype=np.float64).reshape(-1, 2).T
        orders = np.array([e.series.trades for e in events], dtype=np.float64).reshape(-1, 2)[event]
        width = np.array([e.series.width for e in events])[event]
        quiet = uniform(key, 1) < np.array([e.series.quiet for e in events])[event]
        chance = phi(high) - phi(low)
        # The strikes near the money trade most.
        liquid = np.sqrt(4.0 * chance * (1.0 - chance)) * (0.3 + 0.7 * uniform(key, 2)) + 0.01
        liquid *= np.where(quiet, 0.03, 1.0)
        offered = np.where(quiet, np.searchsorted((0.8, 0.9, 0.96), uniform(key, 3)), 0)
        # Where nobody quotes, nobody trades.
        quoted = offered < 3
        return cls(
            event=event,
            key=key,
            order_key=mix(key, TRADE),
            low=low,
            high=high,
            edge=grids[event, 0],
            edge_step=grids[event, 1],
            center_step=grids[event, 2],
            width=np.maximum(width * (0.6 + uniform(key, 4)) * np.where(quiet, 3.5, 1.0), 0.004),
            offered=offered,
            calm_orders=orders[:, 0] * liquid * quoted,
            late_orders=(orders[:, 1] * liquid + 0.01) * quoted,
            lot=(300 + 20_000 * uniform(key, 5) ** 4).astype(np.int64),
            whole=uniform(key, 6) < 0.7,
            depth=(2 + (DEEPEST - 1) * uniform(mix(key, DEPTH), 0)).astype(np.int64),
        )

    def livelier(self, calm: Floats | float, late: Floats | float) -> Traits:
        """Multiply the orders of both stretches."""
        return replace(
            self, calm_orders=self.calm_orders * calm, late_orders=self.late_orders * late
        )


class TradingSpans(NamedTuple):
    """The bounds of the events' trading, in trading time."""

    opened: Ints
    calm_end: Ints
    late_start: Ints
    ended: Ints

    @classmethod
    def of(cls, lives: Lives, hours: TradingHours) -> TradingSpans:
        bounds = (lives.opened, lives.calm_end, lives.late_start, lives.ended)
        return cls(*(hours.trading_time(each) for each in bounds))

    def progress(self, events: Ints, now: Times) -> tuple[Floats, Floats]:
        """The shares of the calm and of the late stretch that are over."""
        opened, calm_end, late_start, ended = (column[events] for column in self)
        calm = np.clip((now - opened) / np.maximum(calm_end - opened, 1), 0.0, 1.0)
        late = np.clip((now - late_start) / np.maximum(ended - late_start, 1), 0.0, 1.0)
        return calm, late


def without_paused_orders(traits: Traits, lives: Lives, spans: TradingSpans) -> Traits:
    """Take away the orders that would fall into closures."""
    calm = (spans.calm_end - spans.opened) / np.maximum(lives.calm_end - lives.opened, 1)
    late = (spans.ended - spans.late_start) / np.maximum(lives.ended - lives.late_start, 1)
    return traits.livelier(calm[traits.event], late[traits.event])
