"""Open interest as recorded, beside the quotes of a universe."""

from collections.abc import Sequence
from typing import NamedTuple

from kalshi_insights.arrays import Ints, np

UNKNOWN = -1


class OpenInterest(NamedTuple):
    """The open interest of a market at each instant at which it changed, in 1/100 contract."""

    at: Ints
    contracts: Ints

    @classmethod
    def of(cls, rows: Sequence[tuple[int, int]]) -> "OpenInterest":
        table = np.array(rows, np.int64).reshape(-1, 2)
        return cls(table[:, 0].copy(), table[:, 1].copy())

    def columns(self) -> tuple[Ints, ...]:
        return tuple(self)

    def until(self, at: int) -> "OpenInterest":
        """The part that was known at an instant."""
        return self.only_first(int(np.searchsorted(self.at, at, side="right")))

    def only_first(self, changes: int) -> "OpenInterest":
        return OpenInterest(self.at[:changes], self.contracts[:changes])

    def at_instants(self, at: Ints) -> Ints:
        """The newest value at each instant, -1 where there is none yet."""
        newest = np.searchsorted(self.at, at, side="right") - 1
        return np.append(self.contracts, UNKNOWN)[newest]
