"""Pages of a listing that are under way while others are parsed, and while other tiers are read."""

import gc
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
import redis
from django.conf import settings
from django.db import connection

from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi.client import Page
from markets.kalshi.errors import KalshiError, OutOfTokens, ServerError
from markets.models import Market, Sweep, Tier
from markets.recording.ahead import PagesAhead
from markets.recording.batch import Batch
from markets.tests.fake_exchange import Exchange, market_json
from markets.tests.test_first_walk import run_until_whole
from markets.tests.test_recorder import tick

# Far longer than anything that is waited for here takes.
WAIT = 10.0


class NumberedListing:
    """A listing of numbered pages, each of which may fail; counts how often each was requested."""

    def __init__(self, pages: int, **failing: KalshiError) -> None:
        self.pages = pages
        self.failing = failing
        self.requested: Counter[str] = Counter()
        self.limits: list[int] = []

    def __call__(self, *, cursor: str, limit: int) -> Page:
        self.requested[cursor] += 1
        self.limits.append(limit)
        if fault := self.failing.pop(f"page_{cursor or 0}", None):
            raise fault
        following = int(cursor or 0) + 1
        return Page([], str(following) if following < self.pages else "", datetime.now(UTC))

    def read(self, ahead: PagesAhead) -> Iterator[Page]:
        """Read the whole listing, as a sweep does."""
        cursor = ""
        while page := ahead(cursor=cursor, limit=1):
            ahead.request_after(page)
            yield page
            cursor = page.cursor
            if not cursor:
                return


class TestPagesAhead:
    @pytest.mark.parametrize("depth", [0, 1, 2, 100])
    def test_come_in_their_order_and_are_requested_once(self, depth):
        listing = NumberedListing(20)
        ahead = PagesAhead(listing, next_size=lambda unread: int(len(unread) < depth))
        cursors = [page.cursor for page in listing.read(ahead)]
        ahead.close()
        assert cursors == [*map(str, range(1, 20)), ""]
        assert set(listing.requested.values()) == {1}
        assert not ahead.has_pages

    def test_go_on_by_themselves_until_they_may_not(self):
        listing, answers = NumberedListing(20), iter([1, 1, 1, 0])
        ahead = PagesAhead(listing, next_size=lambda unread: next(answers))
        ahead.request(cursor="", limit=1)
        assert [ahead(cursor=each, limit=1).cursor for each in ("", "1", "2", "3")] == list("1234")
        assert sum(listing.requested.values()) == 4
        assert not ahead.has_pages

    def test_have_the_size_that_fits_beside_what_is_unread(self):
        unread_limits: list[list[int]] = []

        def next_size(unread: Sequence[int]) -> int:
            unread_limits.append(list(unread))
            return max(10 - sum(unread), 0)

        listing = NumberedListing(9)
        ahead = PagesAhead(listing, next_size=next_size)
        ahead.request(cursor="", limit=4)
        assert len(list(listing.read(ahead))) == 9
        assert listing.limits[:2] == [4, 6]
        assert max(map(sum, unread_limits)) <= 10

    def test_raise_an_error_to_whoever_reads_the_page_and_not_before(self):
        listing = NumberedListing(5, page_2=ServerError("no"))
        ahead = PagesAhead(listing, next_size=lambda unread: 1)
        pages = listing.read(ahead)
        assert [next(pages).cursor for _ in range(2)] == ["1", "2"]
        with pytest.raises(ServerError):
            next(pages)
        # Nothing behind it was requested, and a later run finds it where it was.
        assert set(listing.requested) == {"", "1", "2"}
        assert ahead(cursor="2", limit=1).cursor == "3"

    def test_for_which_an_earlier_turn_had_no_tokens_are_requested_again(self):
        listing = NumberedListing(5, page_0=OutOfTokens("no time"))
        ahead = PagesAhead(listing, next_size=lambda unread: 1)
        ahead.request(cursor="", limit=1)
        assert ahead(cursor="", limit=1).cursor == "1"

    def test_that_another_place_of_the_listing_is_read_instead_are_dropped(self):
        listing = NumberedListing(9)
        ahead = PagesAhead(listing, next_size=lambda unread: 0)
        ahead.request(cursor="3", limit=1)
        assert ahead(cursor="6", limit=1).cursor == "7"
        assert not ahead.has_pages

    def test_that_arrives_when_another_place_is_read_leads_nowhere(self):
        listing, may_answer = NumberedListing(9), threading.Event()

        def fetch(*, cursor: str, limit: int) -> Page:
            if cursor == "3":
                assert may_answer.wait(WAIT)
            return listing(cursor=cursor, limit=limit)

        ahead = PagesAhead(fetch, next_size=lambda unread: int(not unread))
        ahead.request(cursor="3", limit=1)
        assert ahead(cursor="6", limit=1).cursor == "7"
        may_answer.set()
        ahead._thread.shutdown()
        assert set(listing.requested) == {"3", "6"}


class Line:
    """The line to a fake exchange, on which requests can be waited for."""

    def __init__(self, exchange: Exchange) -> None:
        self.requested: Counter[str] = Counter()
        # Called before the requests of a path are answered.
        self.before_answers: dict[str, Callable[[], None]] = {}
        self._changed = threading.Condition()
        self._answer = exchange.answer
        exchange.answer = self.answer  # type: ignore[method-assign]

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/trade-api/v2")
        with self._changed:
            self.requested[path] += 1
            self._changed.notify_all()
        self.before_answers.get(path, lambda: None)()
        return self._answer(request)

    def wait_for(self, path: str, count: int, *, seconds: float = WAIT) -> bool:
        """Wait until so many requests of a path have been sent, answered or not."""
        with self._changed:
            return self._changed.wait_for(lambda: self.requested[path] >= count, timeout=seconds)


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        yield connection
        connection.delete("test:ahead")


def stop_universe_after_a_page(exchange: Exchange) -> None:
    """Run a tick in which the universe's first page is read, and the next one fails."""
    exchange.pages_left, exchange.status_afterwards = 1, 500
    tick(exchange)
    exchange.pages_left = None
    Sweep.objects.filter(finished_at=None).update(page_size=None)


class SilentOnWaits(TokenBucket):
    """A bucket whose server gives tokens, and then does not answer how many are left."""

    def wait_for(self, cost: float) -> float:
        raise redis.ConnectionError("no answer")


@pytest.mark.django_db(transaction=True)
class TestTheUniverse:
    def test_has_its_next_page_under_way_while_one_is_parsed(self, exchange):
        """Each page waits, before it is compared with the record, for the request of the next."""
        exchange.list(*(f"KXA-{n:02}-X" for n in range(12)))
        line = Line(exchange)
        waited: list[bool] = []

        def wait() -> None:
            waited.append(line.wait_for("/events", min(len(waited) + 2, 6)))

        with while_comparing(wait):
            tick(exchange)
        assert waited == [True] * 6
        assert Market.objects.count() == 12

    def test_goes_on_while_the_hot_list_is_under_way(self, exchange):
        exchange.list(*(f"KXA-{n:02}-X" for n in range(40)))
        tick(exchange)
        stop_universe_after_a_page(exchange)
        line, waited = Line(exchange), []
        line.before_answers["/markets"] = lambda: waited.append(line.wait_for("/events", 1))
        poll = tick(exchange, keep_sweeps=True)
        assert waited[0]
        assert poll.error == ""
        assert line.requested["/events"] == 19

    def test_waits_for_the_hot_list_where_tokens_are_scarce(self, exchange, valkey):
        exchange.list(*(f"KXA-{n:02}-X" for n in range(8)))
        tick(exchange)
        stop_universe_after_a_page(exchange)
        line, waited = Line(exchange), []
        line.before_answers["/markets"] = lambda: waited.append(
            line.wait_for("/events", 1, seconds=0.5)
        )
        # Enough for the hot list, and after 0.05 s for another request.
        bucket = TokenBucket(valkey, rate=100, capacity=15, key="test:ahead")
        poll = tick(exchange, keep_sweeps=True, bucket=bucket)
        assert not waited[0]
        assert poll.error == ""

    def test_costs_the_hot_list_nothing_where_the_token_bucket_does_not_answer(
        self, exchange, valkey
    ):
        exchange.list(*(f"KXA-{n:02}-X" for n in range(8)))
        tick(exchange)
        stop_universe_after_a_page(exchange)
        exchange.quote("KXA-00-X", "0.4300", "0.4500")
        bucket = SilentOnWaits(valkey, rate=1000, key="test:ahead")
        poll = tick(exchange, keep_sweeps=True, bucket=bucket)
        assert (poll.error, poll.snapshots) == ("", 1)

    def test_begins_while_other_tiers_have_their_turn(self, exchange):
        exchange.list(*(f"KXA-{n:02}-X" for n in range(40)))
        tick(exchange)
        line, waited = Line(exchange), []
        line.before_answers["/exchange/status"] = lambda: waited.append(line.wait_for("/events", 6))
        poll = tick(exchange)
        assert waited == [True]
        assert poll.error == ""
        # Twenty pages are requested once each, whoever had the turn.
        assert line.requested["/events"] == 20

    def test_takes_no_more_than_its_share_before_its_turn(self, exchange):
        """A run's tokens pay for thirty requests, of which a fifth are the universe's own."""
        exchange.list(*(f"KXA-{n:02}-X" for n in range(40)))
        tick(exchange)
        line, early = Line(exchange), []

        def wait() -> None:
            line.wait_for("/events", 6)
            # The thread that requests them has nothing else to do: a seventh would come at once.
            line.wait_for("/events", 7, seconds=0.2)
            early.append(line.requested["/events"])

        line.before_answers["/exchange/status"] = wait
        tick(exchange)
        assert early == [6]

    def test_has_every_page_once_however_many_runs_it_takes(self, exchange):
        exchange.list(*(f"KXA-{n:02}-X" for n in range(60)))
        exchange.slow["/events"] = 0.05
        polls = list(run_until_whole(exchange, interval=1.0))
        assert len(polls) > 1
        assert [poll.error for poll in polls] == [""] * len(polls)
        pages = [r.url.params for r in exchange.requests if r.url.path.endswith("/events")]
        cursors = [each.get("cursor", "") for each in pages]
        assert cursors == ["", *map(str, range(2, 60, 2))]
        sweep = Sweep.objects.newest_complete(Tier.UNIVERSE)
        assert (sweep.markets, len(sweep.pages), Market.objects.count()) == (60, 30, 60)
        received = [page[0] for page in sweep.pages]
        assert received == sorted(received)

    def test_that_fails_before_its_turn_fails_in_it(self, exchange):
        exchange.list(*(f"KXA-{n:02}-X" for n in range(4)))
        tick(exchange)
        exchange.failing["/events"] = httpx.Response(400, text='{"code":"bad","message":"no"}')
        exchange.quote("KXA-00-X", "0.4300", "0.4500")
        poll = tick(exchange)
        assert poll.error.startswith("universe: ")
        assert poll.snapshots == 1


@pytest.mark.django_db
def test_a_run_that_is_over_frees_what_it_has_read_at_once(exchange):
    """A run reads a hundred megabytes, and the collector of cycles may come some runs later."""
    exchange.list("KXA-1-X", "KXA-2-X", "KXA-3-X")
    gc.collect()
    gc.disable()
    try:
        tick(exchange)
        kept = [each for each in gc.get_objects() if isinstance(each, Batch)]
    finally:
        gc.enable()
    assert kept == []


def test_a_run_observed_from_the_page_that_arrived_first_though_it_was_read_last():
    early = datetime(2026, 11, 20, 10, tzinfo=UTC)
    batch = Batch()
    for n, at in enumerate((early + timedelta(seconds=1), early)):
        raw = msgspec.Raw(msgspec.json.encode(market_json(f"KXA-1-{n}")))
        batch.add_markets_page(Page([raw], "", at))
    assert batch.observed_from == early


@contextmanager
def while_comparing(work: Callable[[], None]) -> Iterator[None]:
    """Call `work` before each statement that compares a page with the record."""

    def watch(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if "definition_mark IS NOT DISTINCT FROM" in str(sql):
            work()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
