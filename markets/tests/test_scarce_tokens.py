"""Runs of the recorder that find few tokens, as after answers of too many requests."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import redis
from django.conf import settings

from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi.client import KalshiClient
from markets.models import Poll, Sweep, Tier
from markets.recording.recorder import record_tick
from markets.tests.fake_exchange import URL, Exchange
from markets.tests.test_recorder import INTERVAL, tick

KEY = "test:scarce"


@pytest.fixture
def valkey() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        yield connection
        connection.delete(KEY)


def run_with_a_token_in(valkey: redis.Redis, seconds: float, exchange: Exchange) -> Poll:
    """Run once with an empty bucket that has the tokens of a request in so many seconds.

    Nobody really waits for them.
    """
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    Poll.objects.update(started_at=an_hour_ago)
    Sweep.objects.update(started_at=an_hour_ago)
    bucket = TokenBucket(valkey, rate=10 / seconds, capacity=10, key=KEY)
    bucket.take(10)
    transport = httpx.MockTransport(exchange.answer_dated)
    with KalshiClient(
        URL, transport=transport, bucket=bucket, sleep=lambda seconds: None
    ) as client:
        poll = record_tick(client, interval=INTERVAL)
    assert poll is not None
    return poll


@pytest.mark.django_db(transaction=True)
class TestTheHotList:
    def test_waits_for_its_tokens_as_long_as_a_run_may_fetch(self, exchange, valkey):
        """Its own half of a run is for slow answers; tokens that come late are its own as well."""
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.quote("KXA-1-X", "0.4300", "0.4500")
        poll = run_with_a_token_in(valkey, INTERVAL * 0.7, exchange)
        assert (poll.error, poll.snapshots) == ("", 1)
        assert Sweep.objects.newest(Tier.HOT).complete

    def test_fails_where_its_tokens_come_after_the_run(self, exchange, valkey):
        exchange.list("KXA-1-X")
        tick(exchange)
        poll = run_with_a_token_in(valkey, INTERVAL * 0.9, exchange)
        assert "no tokens" in poll.error
