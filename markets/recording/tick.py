"""One run of the recorder: its time and tokens, and what it has fetched so far."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.conf import settings

from markets.kalshi.client import TOKENS_PER_REQUEST, KalshiClient
from markets.kalshi.errors import KalshiError
from markets.models import Poll, Sweep, Tier
from markets.models.order_books import ObservedOrderBook
from markets.recording.batch import Batch

T = TypeVar("T")

# The share of a run's time and tokens that is each tier's own, whatever the tiers before it find.
# What they leave of theirs is there for those after them, so the universe usually has most.
SHARES = {
    Tier.HOT: 0.5,
    Tier.STATUS: 0.02,
    Tier.UPDATES: 0.06,
    Tier.SETTLEMENT: 0.06,
    Tier.CENSUS: 0.04,
    Tier.ORDER_BOOKS: 0.07,
    Tier.UNIVERSE: 0.2,
    Tier.COMBOS: 0.05,
}
# Four requests at a time are enough that a reply is ready whenever one has been parsed.
PARALLEL_REQUESTS = 4
# An unfinished sweep without a new page for this long is abandoned, and a new one begins.
ABANDON_AFTER = timedelta(minutes=10)


@dataclass(slots=True)
class Tick:
    """`deadline`, and where the current tier's turn ends, are on the clock of `time.monotonic()`.

    `sent` and `last_request` count the client's requests.
    """

    client: KalshiClient
    poll: Poll
    deadline: float
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    batch: Batch = field(default_factory=Batch)
    order_books: list[ObservedOrderBook] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = field(init=False)
    sent: int = field(init=False)
    turn_ends: float = field(init=False)
    last_request: float = float("inf")

    def __post_init__(self) -> None:
        self.seconds = self.deadline - time.monotonic()
        self.sent = self.client.requests
        self.turn_ends = self.deadline

    def begin_turn(self, tier: Tier, *, later: Iterable[Tier]) -> None:
        """Let a tier use what is left, but for the shares of the tiers after it.

        Its own share it has also if those before it took longer than they should.
        """
        own, kept = SHARES[tier], sum(SHARES[other] for other in later)
        now, requests = time.monotonic(), tokens_per_run() / TOKENS_PER_REQUEST
        self.turn_ends = max(self.deadline - kept * self.seconds, now + own * self.seconds)
        self.client.deadline = self.turn_ends
        self.last_request = max(
            self.sent + (1 - kept) * requests, self.client.requests + max(own * requests, 1)
        )
        if not kept:
            # Nobody comes after it: the token bucket is its only limit.
            self.last_request = float("inf")

    def has_turn(self) -> bool:
        """Return True while the current tier may send another request."""
        return time.monotonic() < self.turn_ends and self.client.requests < self.last_request

    def due_sweep(self, tier: Tier, *, every: timedelta) -> Sweep | None:
        """Return the tier's unfinished sweep, or a new one if it is due, or None."""
        current = next((s for s in reversed(self.sweeps) if s.tier == tier), None)
        if current:
            return current if current.finished_at is None else None
        now = datetime.now(UTC)
        newest = Sweep.objects.newest(tier)
        # A negative age, after the clock has stepped back, counts as due.
        if newest and newest.finished_at is None:
            self.sweeps.append(newest)
            if timedelta(0) <= now - newest.last_page_at < ABANDON_AFTER:
                return newest
            newest.finished_at = now
        elif newest and timedelta(0) <= now - newest.started_at < every:
            return None
        return self.begin_sweep(tier)

    def begin_sweep(self, tier: Tier) -> Sweep:
        sweep = Sweep(tier=tier, started_at=datetime.now(UTC))
        self.sweeps.append(sweep)
        return sweep

    def abandon_sweep(self, tier: Tier) -> None:
        """End the tier's sweep incomplete, so that the next tick begins a new one."""
        for sweep in self.sweeps:
            if sweep.tier == tier and sweep.finished_at is None:
                sweep.finished_at = datetime.now(UTC)

    def fetch_in_parallel(self, fetches: Sequence[Callable[[], T]]) -> list[T | KalshiError]:
        """Return the results of independent requests in their order; an error is a result too."""
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            return list(pool.map(result_or_error, fetches))


def result_or_error(fetch: Callable[[], T]) -> T | KalshiError:
    try:
        return fetch()
    except KalshiError as error:
        return error


def tokens_per_run() -> float:
    return settings.KALSHI_RATE * settings.POLL_INTERVAL
