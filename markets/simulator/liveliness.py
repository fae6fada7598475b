"""The mean number of trades a second of a whole exchange, by a sample of its events."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from markets.simulator.lives import Lives, Traits
from markets.simulator.universe import EventLine, SimulatedUniverse

# Every line has so many periods of its calendar counted, and some of their events computed.
FROM, PERIODS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), 28
EVENTS = 4_000
# Some orders meet several levels of a book and print a trade at each.
TRADES_PER_ORDER = 1.55


def with_trades_per_second(universe: SimulatedUniverse, wanted: float) -> SimulatedUniverse:
    """The same universe, with so many trades a second of all its markets together."""
    liveliness = wanted / trades_per_second(universe)
    return SimulatedUniverse(seed=universe.seed, markets=universe.markets, liveliness=liveliness)


def trades_per_second(universe: SimulatedUniverse) -> float:
    """The mean over trading time of a universe whose liveliness is 1."""
    sampled = [
        (universe.event(line, number), rate)
        for line in universe.lines
        for number, rate in sample(line, EVENTS // len(universe.lines) + 1)
    ]
    events = [event for event, _ in sampled]
    traits = Traits.of(events, Lives.of(events))
    orders = np.bincount(traits.event, traits.calm_orders + traits.late_orders, len(events))
    return TRADES_PER_ORDER * float(orders @ np.array([rate for _, rate in sampled]))


def sample(line: EventLine, most: int) -> list[tuple[int, float]]:
    """Some events of a line, and how many a second each of them stands for."""
    source = line.parent or line
    calendar = source.series.cadence_of(source.index)
    seconds = PERIODS * calendar.period
    numbers = calendar.numbers(FROM, FROM + seconds)
    picked = numbers[:: -(-len(numbers) // most)]
    return [(number, len(numbers) / len(picked) / seconds) for number in picked]
