"""The definition of a simulated series: its texts, its calendar and how it trades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markets.simulator.cadence import DAY, HOUR, MINUTE, STEP, Cadence, day_code, day_label
from markets.simulator.shapes import Bins, Field, Match, Shape

# For each price level structure: the upper end of the lower edge zone (the upper zone mirrors it),
# the step in the edge zones and the step in the middle, in units of 0.0001 dollar.
GRIDS: dict[str, tuple[int, int, int]] = {
    "linear_cent": (0, 100, 100),
    "deci_cent": (0, 10, 10),
    "tapered_deci_cent": (1000, 10, 100),
    "center_whole_edge_half_cent": (1000, 50, 100),
    "center_half_edge_quint_cent": (1000, 20, 50),
    "center_deci_edge_centi_cent": (100, 1, 10),
}

# A dispute takes at least SHORTEST_DISPUTE, and a postponement at most LONGEST_DELAY.
SHORTEST_DISPUTE = 10 * MINUTE
LONGEST_DELAY = 8 * HOUR


@dataclass(frozen=True, slots=True)
class SimulatedSeries:
    ticker: str
    title: str
    category: str
    tags: tuple[str, ...]
    source: tuple[str, str]
    question: str
    rule: str
    shape: Shape
    cadence: Cadence
    lead: int
    frequency: str = "custom"
    code: Callable[[int], str] = day_code
    when: Callable[[int], str] = day_label
    subjects: Sequence[tuple[str, str]] = (("", ""),)
    teams: Match | None = None
    spacing: int = 0
    # The length of the late stretch, in which most is learned, and the share of the variance that
    # is known before it begins and when trading ends.
    late_length: int = HOUR
    known: float = 0.3
    reveal: float = 1.0
    # Mean steps between quote changes, and the takers' orders in a liquid market, each of them
    # before and in the late stretch.
    pace: tuple[int, int] = (360, 60)
    trades: tuple[int, int] = (400, 200)
    width: float = 0.012
    quiet: float = 0.1
    # A game begins at its anchor, lasts about `duration` and closes when it is decided.
    duration: int = 0
    early: str = ""
    delay: int = HOUR
    timer: int = HOUR
    structure: str = "linear_cent"
    exchange_index: int = 0
    fee_type: str = "quadratic"
    fee_multiplier: float = 1.0
    core: bool = True
    underlying: str = ""

    @property
    def exclusive(self) -> bool:
        return isinstance(self.shape, Bins | Field | Match)

    @property
    def size(self) -> int:
        return getattr(self.shape, "count", 2)

    @property
    def open_at_once(self) -> float:
        """The mean number of markets of one line that are open at a time."""
        return self.size * (self.lead + self.duration) / self.cadence.period

    @property
    def preopen(self) -> int:
        """The seconds for which an event is listed before it opens."""
        return min(self.lead, DAY // 2) // STEP * STEP

    @property
    def dispute(self) -> int:
        """A quarter of the time from a disputed result to the payment."""
        return max(self.timer, SHORTEST_DISPUTE)

    @property
    def movable(self) -> bool:
        """True where the end may be postponed, because a number can be published late."""
        return self.lead >= DAY and not self.early and not self.duration

    @property
    def tail(self) -> int:
        """The seconds after its anchor by which every event is settled."""
        delays = LONGEST_DELAY if self.movable else 0
        return self.duration * 2 + self.delay * 2 + self.dispute * 4 + delays

    def cadence_of(self, line: int) -> Cadence:
        return self.cadence.later(line * self.spacing % self.cadence.period)
