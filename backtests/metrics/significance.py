"""Significance: whether the moments at which a run bought were better than others at random."""

from dataclasses import asdict, dataclass
from typing import Any

from backtests.data.universe import MONEY

# Below this p-value, moments are called better than chance explains.
SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Significance:
    """The entries of a run beside the same entries at other moments of the same events.

    `entries` were moved `moves` times within `events`; `not_moved` could not be. `gained` is what
    they gained at their own moments, `moved_mean` what they gained on average at the others, both
    at the quotes that stood there, in millionths of a dollar. `effect` is the difference for each
    contract, `deviations` the same in standard deviations of the gains at other moments. `p_value`
    is the share of moves, their own moments counted as one, that gained as much or more.
    """

    withheld: str = ""
    entries: int = 0
    not_moved: int = 0
    events: int = 0
    moves: int = 0
    gained: int | None = None
    moved_mean: int | None = None
    effect: float | None = None
    deviations: float | None = None
    p_value: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"words": self.words()}

    def words(self) -> str:
        """State the result in words."""
        if self.withheld or self.p_value is None or self.effect is None:
            return f"The moments of entry were not tested: {self.withheld}."
        more = "more" if self.effect >= 0 else "less"
        spread = f" ({abs(self.deviations or 0):.1f} standard deviations)"
        return (
            f"Its {self.entries:,} entries in {self.events:,} events were moved {self.moves:,}"
            f" times to other moments of the same events. At its own moments it gained"
            f" ${abs(self.effect) / MONEY:,.4f} a contract {more} than there on average{spread}."
            f" {self._judgement()}"
        )

    def _judgement(self) -> str:
        p_value = self.p_value or 0.0
        if p_value <= SIGNIFICANT:
            return (
                f"Moments at random gain as much with a probability of {p_value:.3f}: its moments"
                " were better than chance explains."
            )
        return (
            f"Moments at random gain as much with a probability of {p_value:.3f}: whatever it"
            " earned, it did not earn it by choosing the moment."
        )
