"""The pace of writing: how long a run will take to write what it has read so far."""

from collections import defaultdict
from dataclasses import dataclass, field

from markets.models import Tier

# A new or changed definition (its market, its revision, its search text) takes as long to write
# as so many quotes.
QUOTES_PER_DEFINITION = 3
# The seconds of a quote until this process has measured them: those of a slow machine.
CAUTIOUS_SECONDS = 0.0002
# The quotes of a page of a thousand new markets, which a page is taken for until one was read.
CAUTIOUS_PAGE = 1000 * (1 + QUOTES_PER_DEFINITION)
# A shorter write tells nothing of its rows, and one so long as much as all before it.
LEAST_MEASURED, HALF_WEIGHT = 300, 3_000


@dataclass(slots=True)
class WritePace:
    """The seconds that writing takes, by the number of quotes, as this process has measured it."""

    seconds_per_quote: float = CAUTIOUS_SECONDS
    # The work that the newest page of each tier made.
    pages: defaultdict[Tier, int] = field(
        default_factory=lambda: defaultdict(lambda: CAUTIOUS_PAGE)
    )

    def seconds(self, quotes: int) -> float:
        return quotes * self.seconds_per_quote

    def measure(self, quotes: int, seconds: float) -> None:
        """Learn from a write, from a long one more than from a short one."""
        if quotes >= LEAST_MEASURED:
            weight = quotes / (quotes + HALF_WEIGHT)
            self.seconds_per_quote += weight * (seconds / quotes - self.seconds_per_quote)


# Each process has one, since runs follow each other in it.
pace = WritePace()
