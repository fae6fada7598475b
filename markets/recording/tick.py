"""One run of the recorder: its time and tokens, and what it has fetched so far."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from django.conf import settings

from markets.kalshi.client import TOKENS_PER_REQUEST, KalshiClient, Page
from markets.kalshi.errors import KalshiError
from markets.models import Poll, Sweep, Tier
from markets.models.order_books import ObservedOrderBook
from markets.models.sweeps import LISTED_TIERS
from markets.recording.ahead import PagesAhead
from markets.recording.batch import Batch, compare
from markets.recording.pace import pace
from markets.recording.scope import scope
from markets.recording.shown import ShownNames, memory

T = TypeVar("T")

# The share of a run's time and tokens that is each tier's own, whatever the tiers before it find.
# What they leave of theirs is there for those after them, so the universe usually has most.
SHARES = {
    Tier.HOT: 0.5,
    Tier.STATUS: 0.02,
    Tier.UPDATES: 0.05,
    Tier.SETTLEMENT: 0.05,
    Tier.CENSUS: 0.03,
    Tier.ORDER_BOOKS: 0.06,
    Tier.TRADES: 0.05,
    Tier.UNIVERSE: 0.2,
    Tier.COMBOS: 0.04,
}
# Four requests at a time are enough that a reply is ready whenever one has been parsed.
PARALLEL_REQUESTS = 4
# So many pages of a listing may be unread: the one that is being parsed, and the one that is under
# way meanwhile. Before its turn, a tier has its share of requests.
UNREAD_PAGES = 2
# A page of fewer items is not worth a request, unless it is the first of its turn.
LEAST_PAGE = 20
# An unfinished sweep without a new page for this long is abandoned, and a new one begins.
ABANDON_AFTER = timedelta(minutes=10)


@dataclass(slots=True)
class Tick:
    """A run under way: its turns, and what they have read.

    `deadline` for requests, `write_by` and the ends of the current tier's turn are on the clock of
    `time.monotonic()`. `sent` and `last_request` count the client's requests without those that
    were `sent_ahead`, for a tier whose turn has not come.
    """

    client: KalshiClient
    poll: Poll
    deadline: float
    write_by: float = float("inf")
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    batch: Batch = field(default_factory=lambda: Batch(scope=scope))
    order_books: list[ObservedOrderBook] = field(default_factory=list)
    sweeps: list[Sweep] = field(default_factory=list)
    # Of the runs before; nobody else writes sweeps of these tiers during a run.
    newest_sweeps: dict[str, Sweep] = field(default_factory=dict)
    shown: dict[str, ShownNames] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = field(init=False)
    sent: int = field(init=False)
    tier: Tier = Tier.HOT
    turn_ends: float = field(init=False)
    write_ends: float = field(init=False)
    last_request: float = float("inf")
    pages_before: int = 0
    early_tier: Tier | None = None
    sent_ahead: int = 0
    listings: dict[tuple[str, str], PagesAhead] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seconds = self.deadline - time.monotonic()
        self.sent = self.client.requests
        self.turn_ends = self.deadline
        self.write_ends = self.write_by

    def close(self) -> None:
        """Request no further pages, and leave those that nobody has read."""
        for listing in self.listings.values():
            listing.close()
        # They hold this run, and it holds them: without this the garbage collector would have to
        # find what the run has read, and comes only after some more runs.
        self.listings.clear()

    # --- turns ----------------------------------------------------------------------------------

    def begin_turn(self, tier: Tier, *, later: Iterable[Tier]) -> None:
        """Let a tier use what is left, but for the shares of the tiers after it.

        Its own share it has also if those before it took longer than they should.
        """
        own, kept = SHARES[tier], sum(SHARES[other] for other in later)
        now, share = time.monotonic(), own * self.seconds
        self.tier, self.pages_before = tier, self.batch.pages
        self.turn_ends = max(self.deadline - kept * self.seconds, now + share)
        written = now + pace.seconds(self.batch.work)
        self.write_ends = max(self.write_by - kept * self.seconds, written + share)
        self.client.deadline = self.turn_ends
        # Nothing is as urgent as the hot list's tokens: where they are scarce, the others wait.
        self.client.tokens_until = self.deadline if tier == Tier.HOT else None
        self.last_request = max(
            self.sent + (1 - kept) * requests_per_run(), self._sent_in_turns + own_requests(tier)
        )
        if not kept:
            # Nobody comes after it: the token bucket is its only limit.
            self.last_request = float("inf")
        if tier == self.early_tier:
            self.early_tier, self.sent_ahead = None, 0

    def has_turn(self) -> bool:
        """Return True while the current tier may send another request.

        Every turn may read one page, however long it would take to write.
        """
        is_first = self.batch.pages == self.pages_before
        return self._may_request() and (
            is_first or self._items_in_time(self.tier, self.write_ends) >= LEAST_PAGE
        )

    def limit_requests(self, share: float) -> None:
        """Let the current turn send no more requests than this share of a run's."""
        most = max(share * requests_per_run(), 1)
        self.last_request = min(self.last_request, self._sent_in_turns + most)

    def goes_on(self, sweep: Sweep) -> bool:
        """Return True while a page of this listing is to be read or may be requested."""
        requested = any(
            listing.has_pages for (tier, _), listing in self.listings.items() if tier == sweep.tier
        )
        return sweep.finished_at is None and (requested or self.has_turn())

    @property
    def _sent_in_turns(self) -> int:
        return self.client.requests - self.sent_ahead

    def _may_request(self) -> bool:
        return time.monotonic() < self.turn_ends and self._sent_in_turns < self.last_request

    def _items_in_time(self, tier: Tier, write_ends: float, *, unread: int = 0) -> float:
        """Return how many items of a tier could be requested now and written in time.

        `unread` items of it have been requested and are not in the batch yet.
        """
        arrived = time.monotonic() + pace.latency
        written = arrived + pace.seconds(self.batch.work + pace.work(tier, unread))
        return (write_ends - written) / (pace.seconds_per_quote * pace.work(tier, 1))

    # --- pages ----------------------------------------------------------------------------------

    def listing(
        self, sweep: Sweep, name: str, fetch: Callable[..., Page], *, size: int
    ) -> PagesAhead:
        """Return the sweep's listing of this name, of which pages may have been requested.

        Its longest page has `size` items.
        """
        key = sweep.tier, name
        if key not in self.listings:
            next_size = partial(self._size_ahead, Tier(sweep.tier), size)
            self.listings[key] = PagesAhead(fetch, next_size=next_size)
        return self.listings[key]

    def page_size(self, size: int) -> int:
        """Return how many items a page should have, at most `size`, to be written in time."""
        items = self._items_in_time(self.tier, self.write_ends)
        return int(min(max(items, LEAST_PAGE), size))

    def begin_early(self, sweep: Sweep, listing: PagesAhead, *, size: int) -> None:
        """Request pages of a tier whose turn comes later, for its own share of the tokens."""
        tier = Tier(sweep.tier)
        items = self._items_in_time(tier, self.write_by)
        self.early_tier, self.sent_ahead = tier, 1
        listing.request(cursor=sweep.cursor, limit=int(min(max(items, LEAST_PAGE), size)))

    def _size_ahead(self, tier: Tier, size: int, unread: Sequence[int]) -> int:
        """Return how many items the page after these unread ones may have; 0 if it must wait."""
        is_early = tier == self.early_tier
        if is_early:
            may_request = self.sent_ahead < own_requests(tier)
        else:
            is_next = tier == self.tier and len(unread) < UNREAD_PAGES
            may_request = is_next and self._may_request()
        write_ends = self.write_by if is_early else self.write_ends
        items = self._items_in_time(tier, write_ends, unread=sum(unread)) if may_request else 0
        if items < LEAST_PAGE:
            return 0
        self.sent_ahead += is_early
        return int(min(items, size))

    def add_events_page(self, page: Page) -> list[str]:
        """Add a page of events to the batch, and compare its markets with the record."""
        rejected = self.batch.add_events_page(page)
        self._compare(len(page.items))
        return rejected

    def add_markets_page(self, page: Page) -> list[str]:
        """Add a page of markets to the batch, and compare them with the record."""
        return self.add_markets_pages([page])

    def add_markets_pages(self, pages: Sequence[Page]) -> list[str]:
        """Add pages of markets to the batch, and compare all of them at once."""
        rejected = [ticker for page in pages for ticker in self.batch.add_markets_page(page)]
        self._compare(sum(len(page.items) for page in pages))
        return rejected

    def _compare(self, items: int) -> None:
        before = self.batch.work
        compare(self.batch)
        if items:
            pace.read_page(self.tier, (self.batch.work - before) / items)

    # --- sweeps ---------------------------------------------------------------------------------

    def newest_complete(self, tier: Tier) -> Sweep | None:
        """Return the tier's newest complete sweep of the runs before."""
        newest = self.newest_sweeps.get(tier)
        # One that goes on in this run is of this run.
        if newest is None or (newest.complete and newest not in self.sweeps):
            return newest
        return Sweep.objects.newest_complete(tier)

    def due_sweep(self, tier: Tier, *, every: timedelta) -> Sweep | None:
        """Return the tier's unfinished sweep, or a new one if it is due, or None."""
        current = next((s for s in reversed(self.sweeps) if s.tier == tier), None)
        if current:
            return current if current.finished_at is None else None
        now = datetime.now(UTC)
        # Runs come at whole intervals: what is due before the next one is nearer is due now.
        every -= timedelta(seconds=settings.POLL_INTERVAL) / 2
        newest = self.newest_sweeps.get(tier)
        # A negative age, after the clock has stepped back, counts as due.
        if newest and newest.finished_at is None:
            self.sweeps.append(newest)
            if timedelta(0) <= now - newest.last_page_at < ABANDON_AFTER:
                if tier in LISTED_TIERS:
                    self.shown[tier] = memory.resume(newest)
                return newest
            newest.finished_at = now
        elif newest and timedelta(0) <= now - newest.started_at < every:
            return None
        return self.begin_sweep(tier, after=newest)

    def begin_sweep(self, tier: Tier, *, after: Sweep | None) -> Sweep:
        """Begin a sweep; the newest one before it, if any, may be what it is written against."""
        sweep = Sweep(tier=tier, started_at=datetime.now(UTC))
        self.sweeps.append(sweep)
        if tier in LISTED_TIERS:
            self.shown[tier] = memory.begin(sweep, after=after)
        return sweep

    def note_shown(self, sweep: Sweep, names: Sequence[str]) -> None:
        """Store what the page showed that was added to a sweep last, if its tier stores it."""
        if sweep.tier in LISTED_TIERS:
            self.shown[sweep.tier].add_page(sweep, names)

    def abandon_sweep(self, tier: Tier) -> None:
        """End the tier's sweep incomplete, so that the next tick begins a new one."""
        for sweep in self.sweeps:
            if sweep.tier == tier and sweep.finished_at is None:
                sweep.finished_at = datetime.now(UTC)

    def fetch_in_parallel(
        self, fetches: Sequence[Callable[[], T]], *, meanwhile: Callable[[], None] = lambda: None
    ) -> list[T | KalshiError]:
        """Return the results of independent requests in their order; an error is a result too.

        `meanwhile` is called when they are under way.
        """
        with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
            results = pool.map(result_or_error, fetches)
            meanwhile()
            return list(results)


def result_or_error(fetch: Callable[[], T]) -> T | KalshiError:
    try:
        return fetch()
    except KalshiError as error:
        return error


def tokens_per_run() -> float:
    return settings.KALSHI_RATE * settings.POLL_INTERVAL


def requests_per_run() -> float:
    return tokens_per_run() / TOKENS_PER_REQUEST


def own_requests(tier: Tier) -> float:
    """The requests of a run that are a tier's own."""
    return max(SHARES[tier] * requests_per_run(), 1)
