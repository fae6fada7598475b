"""The pace of a run: how long it will take to write what it has read so far, and one page more."""

from dataclasses import dataclass, field

from markets.models import Tier

# A new or changed definition (its market, its revision, its search text) takes as long to write
# as so many quotes.
QUOTES_PER_DEFINITION = 3
# What a process assumes before it has measured: the seconds of a quote and of any write on a busy
# machine, and an event of twenty new markets for each item of a page.
CAUTIOUS_SECONDS, CAUTIOUS_BASE = 0.0005, 0.1
CAUTIOUS_ITEM = 20 * (1 + QUOTES_PER_DEFINITION)
LEAST_WORK = 0.01
# A write of fewer quotes tells nothing of their pace, but of what a run writes in any case; and
# one of fewer still does not disprove a pace, either.
LEAST_MEASURED, LEAST_DISPROVING = 2_000, 300
BASE_WEIGHT = 0.2


@dataclass(slots=True)
class Pace:
    """The seconds that replies and writes take, as this process has measured them.

    The work of a write is counted in quotes.
    """

    seconds_per_quote: float = CAUTIOUS_SECONDS
    base: float = CAUTIOUS_BASE
    # From the request of a listing's page to its reply.
    latency: float = 0.0
    # The work that an item of each tier makes, as its newest pages had it.
    work_per_item: dict[Tier, float] = field(default_factory=dict)

    def seconds(self, work: float) -> float:
        return self.base + work * self.seconds_per_quote

    def work(self, tier: Tier, items: float) -> float:
        """Return the work that so many items of a tier will make; some in any case."""
        return items * max(self.work_per_item.get(tier, CAUTIOUS_ITEM), LEAST_WORK)

    def wait_for_page(self, seconds: float) -> None:
        """Learn from a reply: of a slower one at once, of quicker ones by and by."""
        self.latency = max(seconds, (self.latency + seconds) / 2)

    def read_page(self, tier: Tier, work_per_item: float) -> None:
        """Learn from a page of a tier: of more work at once, of less by and by."""
        both = (self.work_per_item.get(tier, CAUTIOUS_ITEM) + work_per_item) / 2
        self.work_per_item[tier] = max(work_per_item, both, 0.0)

    def measure(self, work: int, seconds: float) -> None:
        """Learn from a write: of a slower one at once, since other work may go on beside it."""
        if work < LEAST_MEASURED:
            beyond = seconds - self.seconds(work)
            self.base = max(self.base + BASE_WEIGHT * beyond, 0.0)
        if work < LEAST_DISPROVING:
            return
        # The quotes of a short write took no longer than all of it.
        base = self.base if work >= LEAST_MEASURED else 0.0
        measured = max(seconds - base, 0.0) / work
        if work >= LEAST_MEASURED or measured < self.seconds_per_quote:
            self.seconds_per_quote = max(measured, (self.seconds_per_quote + measured) / 2)

    def measure_failed(self, work: int, seconds: float) -> None:
        """Learn from a write that failed after so long, if it was slower than expected."""
        if seconds > self.seconds(work):
            self.measure(max(work, LEAST_MEASURED), seconds)


# Each process has one, since runs follow each other in it.
pace = Pace()
