"""A clock that was set back, or is wrong: what it left in the future is not the newest."""

import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
import redis
from django.conf import settings as configured

from kalshi_insights.token_bucket import TokenBucket
from markets.api import candlesticks
from markets.kalshi.client import KalshiClient
from markets.models import Market, OrderBookSnapshot, Poll, Sweep, Tier
from markets.recording.recorder import record_tick
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, observe
from markets.tests.fake_exchange import URL
from markets.tests.test_views import page

pytestmark = pytest.mark.django_db

API = "/api/v1"
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def five_seconds(settings) -> None:
    settings.POLL_INTERVAL = 5


def health(client) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"{API}/health/").json()
    return answer


@pytest.mark.usefixtures("five_seconds")
class TestHealth:
    def test_runs_of_the_future_are_no_recording(self, client, now):
        a_poll(now + HOUR)
        answer = health(client)
        assert (answer["status"], answer["data_age_seconds"]) == ("stopped", None)
        assert answer["newest_poll_at"] is None
        assert answer["record_ahead_seconds"] == pytest.approx(3600, abs=5)

    def test_the_newest_run_is_the_newest_that_is_not_from_the_future(self, client, now):
        a_poll(now + HOUR)
        a_poll(now - timedelta(minutes=10))
        assert (health(client)["status"], health(client)["data_age_seconds"] > 500) == (
            "stopped",
            True,
        )
        a_poll(now - 3 * SECOND)
        assert health(client)["status"] == "recording"
        assert 1 < health(client)["data_age_seconds"] < 15
        assert health(client)["record_ahead_seconds"] == pytest.approx(3600, abs=5)

    def test_the_clocks_of_two_machines_may_differ_a_little(self, client, now):
        a_poll(now + SECOND, seconds=0.1)
        answer = health(client)
        assert (answer["status"], answer["record_ahead_seconds"]) == ("recording", None)

    def test_a_pass_of_the_future_is_no_pass(self, client, now):
        a_sweep("universe", now + HOUR)
        assert health(client)["universe_age_seconds"] is None
        a_sweep("universe", now - 40 * SECOND)
        assert health(client)["universe_age_seconds"] == pytest.approx(40, abs=5)

    def test_ages_that_a_run_of_the_future_measured_are_not_the_newest(self, client, now):
        Poll.objects.filter(pk=a_poll(now + HOUR).pk).update(ages={"hot": {"p50": 1.0}})
        Poll.objects.filter(pk=a_poll(now).pk).update(ages={"hot": {"p50": 7.0}})
        assert health(client)["tiers"] == {"hot": {"p50": 7.0}}

    @pytest.mark.parametrize("skew", [HOUR, -HOUR])
    def test_it_says_how_wrong_the_clock_is_by_the_exchanges(self, client, now, skew):
        Poll.objects.filter(pk=a_poll(now).pk).update(clock_skew=skew)
        assert health(client)["clock_ahead_seconds"] == skew.total_seconds()

    def test_what_an_answer_takes_is_no_fault_of_the_clock(self, client, now):
        Poll.objects.filter(pk=a_poll(now).pk).update(clock_skew=3 * SECOND)
        assert health(client)["clock_ahead_seconds"] is None


@pytest.mark.usefixtures("five_seconds")
class TestPages:
    def test_the_pill_says_that_runs_lie_in_the_future(self, client, now):
        a_poll(now + HOUR)
        pill = page(client, "/recorder/", "recording")
        assert "dot-stopped" in pill
        assert re.search(r"runs on record lie (59 m|1 h) in the future", pill)

    @pytest.mark.parametrize(("skew", "words"), [(HOUR, "1 h ahead"), (-HOUR, "1 h behind")])
    def test_the_pill_says_how_wrong_the_clock_is(self, client, now, skew, words):
        Poll.objects.filter(pk=a_poll(now).pk).update(clock_skew=skew)
        assert f"the clock is {words}" in page(client, "/recorder/", "recording")

    def test_where_the_clock_is_right_the_pill_says_nothing_of_it(self, client, now):
        a_poll(now - 2 * SECOND)
        assert "clock" not in page(client, "/recorder/", "recording")

    def test_a_quote_of_the_future_is_not_fresh(self, client, now):
        a_market(quoted_at=now + HOUR)
        assert self.age(client) in ("in 59 m", "in 1 h")

    def test_a_market_is_as_fresh_as_the_newest_pass_that_is_not_from_the_future(self, client, now):
        a_market(quoted_at=now - 2 * HOUR)
        a_sweep("universe", now + HOUR)
        assert self.age(client) == "2 h"
        a_sweep("universe", now - 40 * SECOND)
        assert self.age(client) in ("40 s", "41 s")

    def test_a_pass_since_proves_more_than_a_quote_of_the_future(self, client, now):
        a_market(quoted_at=now + HOUR)
        a_sweep("universe", now - 40 * SECOND)
        assert self.age(client) in ("40 s", "41 s")

    def age(self, client) -> str:
        [result] = re.findall(r'title="Observed [^"]*">([^<]*)<', page(client, "/markets/"))
        return str(result)


class TestReads:
    def test_the_newest_snapshot_is_the_newest_that_is_not_from_the_future(self, now):
        market = a_market()
        a_snapshot(market, now + HOUR).save()
        observe(market, now - SECOND, "0.40", "0.41")
        assert candlesticks.newest(Market.objects.get()).timestamp == now - SECOND

    def test_what_was_changed_in_the_future_has_no_date_that_hides_the_next_change(
        self, client, now
    ):
        market = a_market(quoted_at=now + HOUR, recorded_at=now - HOUR)
        assert "Last-Modified" not in client.get(f"{API}/markets/{market.ticker}/").headers
        Market.objects.update(quoted_at=now - SECOND)
        assert "Last-Modified" in client.get(f"{API}/markets/{market.ticker}/").headers

    def test_the_newest_order_book_is_too(self, now):
        market = a_market()
        for number, at in enumerate((now + HOUR, now - SECOND)):
            OrderBookSnapshot.objects.create(
                id=f"00000000-0000-0000-0000-00000000000{number}",
                market=market,
                timestamp=at,
                **books(),
            )
        assert candlesticks.book(market, as_of=None).timestamp == now - SECOND


def books() -> dict[str, list[object]]:
    fields = OrderBookSnapshot._meta.get_fields()
    return {each.name: [] for each in fields if each.get_internal_type() == "ArrayField"}


class TestRecorder:
    def test_updates_are_asked_for_since_now_at_the_latest(self, exchange, now):
        a_sweep("updates", now + HOUR)
        with exchange.client() as client:
            record_tick(client, interval=1)
        [since] = [
            int(request.url.params["min_updated_ts"])
            for request in exchange.requests
            if "min_updated_ts" in request.url.params
        ]
        assert since <= now.timestamp()

    def test_the_sweep_that_was_written_last_is_the_newest(self, now):
        a_sweep("universe", now + HOUR)
        last = a_sweep("universe", now)
        assert Sweep.objects.newest_complete(Tier.UNIVERSE) == last

    def test_ages_across_a_step_of_the_clock_are_unknown(self, exchange, now):
        exchange.list("KXA-1-X")
        with exchange.client() as client:
            record_tick(client, interval=1)
            for sweep in Sweep.objects.filter(tier=Tier.UNIVERSE):
                [[at, count, first]] = sweep.pages
                sweep.pages = [[at + 3600, count, first]]
                sweep.started_at += HOUR
                sweep.finished_at = sweep.started_at
                sweep.save()
            Poll.objects.update(started_at=now - HOUR)
            poll = record_tick(client, interval=1)
        assert "universe" not in poll.ages

    @pytest.mark.parametrize("skew", [HOUR, -HOUR])
    def test_each_run_notes_how_far_the_clock_is_from_the_exchanges(self, exchange, now, skew):
        def answer(request: httpx.Request) -> httpx.Response:
            response: httpx.Response = exchange.answer(request)
            response.headers["Date"] = format_datetime(datetime.now(UTC) - skew, usegmt=True)
            return response

        with KalshiClient(URL, transport=httpx.MockTransport(answer)) as client:
            poll = record_tick(client, interval=1)
        assert Poll.objects.get().clock_skew == poll.clock_skew
        assert abs(poll.clock_skew - skew) < 3 * SECOND

    def test_a_run_that_heard_nothing_knows_nothing_of_the_clock(self, exchange):
        with exchange.client() as client:
            client.clock_skew = HOUR
            assert record_tick(client, interval=1).clock_skew is None


@pytest.mark.usefixtures("five_seconds")
@pytest.mark.parametrize("status", ["active", "closed"])
def test_a_quote_of_the_future_is_no_evidence(client, now, status):
    market = a_market(status=status, quoted_at=now + HOUR)
    row = client.get(f"{API}/markets/{market.ticker}/").json()
    assert (row["observed_at"], row["being_observed"]) == (None, False)
    a_sweep("universe", now - 10 * SECOND)
    row = client.get(f"{API}/markets/{market.ticker}/").json()
    assert row["being_observed"] is (status == "active")


def test_tokens_come_back_after_the_clock_of_redis_was_set_back():
    with redis.Redis.from_url(configured.REDIS_URL) as server:
        bucket = TokenBucket(server, rate=1000, capacity=50, key="test:clock")
        bucket.take(50)
        seconds, _ = server.time()
        server.hset("test:clock", mapping={"at": seconds + 3600, "tokens": -900})
        # Whoever waits is refused, and that must not hold the clock of the bucket.
        assert bucket.take(10, patience=0.1) == pytest.approx(0.91, abs=0.05)
        time.sleep(0.3)
        assert bucket.take(10, patience=0.1) < 0.65
        server.delete("test:clock")
