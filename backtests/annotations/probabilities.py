"""The probabilities that a strategy states of its markets."""

from dataclasses import dataclass, field
from typing import NamedTuple


class FirstStatement(NamedTuple):
    """The first probability of a market, and the market's midpoint at that instant, in dollars."""

    at: int
    probability: float
    midpoint: float


@dataclass(slots=True)
class StatedProbabilities:
    """The probabilities of YES that a strategy states, as far as they are scored.

    `first` has for each market the first one that was stated while the market traded and showed
    both sides, `of_orders` for each order the one that stood when it was sent.
    """

    first: dict[int, FirstStatement] = field(default_factory=dict)
    of_orders: dict[int, float] = field(default_factory=dict)
