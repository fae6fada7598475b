"""Outcome structures of events. Every market is an interval of one standard normal draw.

An event's latent path ends in W(1), a standard normal. A market is YES when low < W(1) <= high,
so intervals that tile the line exclude each other and half-lines nest, at every instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, sin, tau
from statistics import NormalDist
from typing import NamedTuple

from markets.simulator.cadence import DAY
from markets.simulator.noise import fraction

_quantile = NormalDist().inv_cdf

Strike = float | int


class SimulatedOutcome(NamedTuple):
    suffix: str
    label: str
    low: float
    high: float
    strike_type: str
    floor: Strike | None = None
    cap: Strike | None = None


class EventDraft(NamedTuple):
    """An event before its outcomes are drawn. Events on one underlying share `family`."""

    key: int
    family: int
    anchor: int
    opened: int
    line: int


class Draw(NamedTuple):
    """The outcomes, and the figure that settles them: center + spread * W(1), rounded."""

    outcomes: tuple[SimulatedOutcome, ...]
    center: float = 0.0
    spread: float = 0.0
    decimals: int = 0


def level(family: int, at: int, swing: float) -> float:
    """The level of the underlying, a slow wave around 1 in closed form."""
    waves = ((1.7, 0.25), (9.0, 0.35), (53.0, 0.4))
    return 1.0 + swing * sum(
        share * sin(tau * (at / (days * DAY) + fraction(family, i)))
        for i, (days, share) in enumerate(waves)
    )


def figure(value: float, decimals: int) -> Strike:
    return round(value, decimals) if decimals else round(value)


@dataclass(frozen=True, slots=True)
class Numeric:
    """A number that is published once: its usual value, its uncertainty and the step of strikes."""

    center: float
    spread: float
    step: float
    count: int
    decimals: int = 0
    swing: float = 0.05
    label: str = "{:,}"

    def middle(self, draft: EventDraft) -> float:
        wobble = (fraction(draft.key, 11) - 0.5) * self.step
        return self.center * level(draft.family, draft.opened, self.swing) + wobble

    def first_strike(self, middle: float) -> float:
        return (round(middle / self.step) - self.count // 2) * self.step

    def text(self, value: Strike) -> str:
        return self.label.format(value)


@dataclass(frozen=True, slots=True)
class Ladder(Numeric):
    """Nested strikes: above 3.0, above 3.1 …"""

    strike_type: str = "greater"
    offset: float = 0.0
    suffix: str = "T"

    def draw(self, draft: EventDraft) -> Draw:
        middle = self.middle(draft)
        first = self.first_strike(middle) + self.offset
        steps = (figure(first + i * self.step, self.decimals) for i in range(self.count))
        outcomes = tuple(self.outcome(strike, middle) for strike in steps if strike >= 0)
        return Draw(outcomes, middle, self.spread, self.decimals)

    def outcome(self, strike: Strike, middle: float) -> SimulatedOutcome:
        strict = self.strike_type == "greater"
        # The published figure is rounded, so a strike's threshold lies half a unit away from it.
        threshold = strike + (0.5 if strict else -0.5) * 10.0**-self.decimals
        low = (threshold - middle) / self.spread
        label = f"Above {self.text(strike)}" if strict else f"{self.text(strike)} or more"
        return SimulatedOutcome(f"{self.suffix}{strike}", label, low, inf, self.strike_type, strike)


@dataclass(frozen=True, slots=True)
class Bins(Numeric):
    """Mutually exclusive ranges with an open end on either side."""

    def draw(self, draft: EventDraft) -> Draw:
        middle = self.middle(draft)
        first = self.first_strike(middle)
        edges = [first + i * self.step for i in range(self.count - 1)]
        inner = (self.between(a, b, middle) for a, b in pairwise(edges))
        outcomes = (self.below(edges[0], middle), *inner, self.above(edges[-1], middle))
        return Draw(outcomes, middle, self.spread, self.decimals)

    @property
    def unit(self) -> float:
        return float(10.0**-self.decimals)

    def threshold(self, edge: float, middle: float) -> float:
        return (edge - self.unit / 2.0 - middle) / self.spread

    def below(self, edge: float, middle: float) -> SimulatedOutcome:
        cap = figure(edge, self.decimals)
        last = self.text(figure(edge - self.unit, self.decimals))
        high = self.threshold(edge, middle)
        return SimulatedOutcome(f"T{cap}", f"{last} or below", -inf, high, "less", cap=cap)

    def above(self, edge: float, middle: float) -> SimulatedOutcome:
        strike = figure(edge - self.unit, self.decimals)
        label = f"{self.text(figure(edge, self.decimals))} or above"
        return SimulatedOutcome(
            f"T{strike}", label, self.threshold(edge, middle), inf, "greater", floor=strike
        )

    def between(self, start: float, end: float, middle: float) -> SimulatedOutcome:
        floor = figure(start, self.decimals)
        cap = figure(end - self.unit, self.decimals)
        suffix = f"B{(floor + cap) / 2:.{self.decimals + 1}f}"
        label = f"{self.text(floor)} to {self.text(cap)}"
        low, high = self.threshold(start, middle), self.threshold(end, middle)
        return SimulatedOutcome(suffix, label, low, high, "between", floor, cap)


@dataclass(frozen=True, slots=True)
class UpDown(Numeric):
    """One market, which asks whether the price ends the window at least where it began."""

    def draw(self, draft: EventDraft) -> Draw:
        middle = self.middle(draft)
        strike = figure(middle, self.decimals)
        low = (strike - 0.5 * 10.0**-self.decimals - middle) / self.spread
        label = f"Price to beat: {self.text(strike)}"
        outcome = SimulatedOutcome("00", label, low, inf, "greater_or_equal", strike)
        return Draw((outcome,), middle, self.spread, self.decimals)


@dataclass(frozen=True, slots=True)
class Field:
    """Named outcomes of which at most one wins; `others` is the chance that none of them does."""

    names: Sequence[tuple[str, str]]
    count: int
    chances: Sequence[float] = ()
    others: float = 0.04

    def draw(self, draft: EventDraft) -> Draw:
        start = int(fraction(draft.key, 12) * len(self.names)) if not self.chances else 0
        picked = [self.names[(start + i) % len(self.names)] for i in range(self.count)]
        return Draw(tile(picked, self.weights(draft), self.others))

    def weights(self, draft: EventDraft) -> Sequence[float]:
        if self.chances:
            return self.chances
        # Few favourites and a long tail.
        return [0.004 + fraction(draft.key, 20 + i) ** 4 for i in range(self.count)]


@dataclass(frozen=True, slots=True)
class Match:
    """The two sides of a game, paired anew every day so that no team plays twice."""

    teams: Sequence[tuple[str, str]]

    def sides(self, draft: EventDraft) -> tuple[tuple[str, str], tuple[str, str]]:
        wheel, turn, i = len(self.teams) - 1, draft.anchor // DAY, draft.line
        away = self.teams[1 + (turn + i) % wheel]
        home = self.teams[1 + (turn - i) % wheel] if i else self.teams[0]
        return away, home

    def draw(self, draft: EventDraft) -> Draw:
        edge = 0.25 + 0.5 * fraction(draft.key, 12)
        return Draw(tile(self.sides(draft), [edge, 1.0 - edge], 0.0))


Shape = Ladder | Bins | UpDown | Field | Match


def tile(
    names: Sequence[tuple[str, str]], weights: Sequence[float], others: float
) -> tuple[SimulatedOutcome, ...]:
    """Tile the line with intervals in proportion to the weights, and leave `others` at the end."""
    total = sum(weights) / (1.0 - others)
    outcomes, reached, low = [], 0.0, -inf
    for (code, name), weight in zip(names, weights, strict=True):
        reached += weight / total
        high = _quantile(reached) if reached < 1.0 - 1e-9 else inf
        outcomes.append(SimulatedOutcome(code, name, low, high, "structured"))
        low = high
    return tuple(outcomes)
