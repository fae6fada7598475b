"""The pace of writing: how long a run will take to write what it has read so far."""

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
# A write of fewer quotes tells nothing of their pace, but of what a write takes in any case; one of
# so many tells as much as all before it.
LEAST_MEASURED, HALF_WEIGHT = 300, 3_000
BASE_WEIGHT = 0.2


@dataclass(slots=True)
class WritePace:
    """The seconds that writing takes, by the work in quotes, as this process has measured them."""

    seconds_per_quote: float = CAUTIOUS_SECONDS
    base: float = CAUTIOUS_BASE
    # The work that an item of each tier makes, as its newest pages had it.
    work_per_item: dict[Tier, float] = field(default_factory=dict)

    def seconds(self, work: float) -> float:
        return self.base + work * self.seconds_per_quote

    def work(self, tier: Tier, items: float) -> float:
        """Return the work that so many items of a tier will make; some in any case."""
        return items * max(self.work_per_item.get(tier, CAUTIOUS_ITEM), LEAST_WORK)

    def read_page(self, tier: Tier, work_per_item: float) -> None:
        """Learn from a page of a tier: of more work at once, of less by and by."""
        both = (self.work_per_item.get(tier, work_per_item) + work_per_item) / 2
        self.work_per_item[tier] = max(work_per_item, both, 0.0)

    def measure(self, work: int, seconds: float) -> None:
        """Learn from a write, from a long one more than from a short one."""
        beyond = seconds - self.seconds(work)
        if work < LEAST_MEASURED:
            self.base = max(self.base + BASE_WEIGHT * beyond, 0.0)
            return
        weight = work / (work + HALF_WEIGHT)
        learnt = self.seconds_per_quote + weight * beyond / work
        # A base that was measured on a busier machine leaves nothing for the quotes.
        self.seconds_per_quote = max(learnt, CAUTIOUS_SECONDS / 100)


# Each process has one, since runs follow each other in it.
pace = WritePace()
