import threading
import time

import pytest
import redis
from django.conf import settings

from kalshi_insights.token_bucket import TokenBucket


@pytest.fixture
def server():
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        yield connection
        connection.delete("test:tokens")


def bucket(server, rate=100.0, capacity=None):
    return TokenBucket(server, rate=rate, capacity=capacity, key="test:tokens")


def test_a_fresh_bucket_holds_three_seconds_of_tokens(server):
    tokens = bucket(server)
    assert [tokens.take(100) for _ in range(3)] == [0, 0, 0]
    assert tokens.take(100) == pytest.approx(1, abs=0.1)


def test_who_comes_later_waits_longer(server):
    tokens = bucket(server, rate=10)
    tokens.take(30)
    waits = [tokens.take(10) for _ in range(3)]
    assert waits == pytest.approx([1, 2, 3], abs=0.1)


def test_tokens_come_back_with_time_but_never_beyond_the_capacity(server):
    tokens = bucket(server, rate=1000, capacity=50)
    tokens.take(50)
    time.sleep(0.15)
    assert tokens.take(50) == 0
    assert tokens.take(50) == pytest.approx(0.05, abs=0.02)


def test_a_wait_that_is_too_long_takes_nothing(server):
    tokens = bucket(server, rate=10)
    tokens.take(30)
    assert tokens.take(20, patience=1) == pytest.approx(2, abs=0.1)
    assert tokens.take(20, patience=1) == pytest.approx(2, abs=0.1)


def test_asking_for_the_wait_takes_nothing(server):
    tokens = bucket(server, rate=10)
    tokens.take(20)
    assert [tokens.wait_for(10), tokens.wait_for(10), tokens.wait_for(20)] == pytest.approx(
        [0, 0, 1], abs=0.1
    )


def test_a_drained_bucket_makes_everybody_wait(server):
    tokens, another = bucket(server), bucket(server)
    tokens.drain()
    assert another.take(70) == pytest.approx(1, abs=0.1)


def test_draining_forgives_no_debt(server):
    tokens = bucket(server, rate=10)
    tokens.take(50)
    tokens.drain()
    assert tokens.take(10) == pytest.approx(30 / 7, abs=0.1)


def test_a_cost_above_the_capacity_is_served_in_the_end(server):
    assert bucket(server, rate=10, capacity=10).take(30) == pytest.approx(2, abs=0.1)


def test_the_present_rate_is_lower_after_a_429_and_takes_no_tokens(server):
    tokens = bucket(server, rate=100)
    assert tokens.present_rate() == 100
    tokens.drain()
    assert tokens.present_rate() == pytest.approx(70, abs=1)
    server.hincrbyfloat("test:tokens", "at", -31)
    assert tokens.present_rate() == pytest.approx(100)
    assert tokens.take(300) == 0


def test_an_idle_bucket_leaves_nothing_behind(server):
    bucket(server, rate=100).take(10)
    assert 0 < server.pttl("test:tokens") <= 2000


def test_processes_together_get_no_more_than_one_alone(server):
    waits: list[float] = []

    def spend():
        with redis.Redis.from_url(settings.REDIS_URL) as own:
            waits.extend(bucket(own, rate=100, capacity=100).take(10) for _ in range(10))

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits.count(0) <= 12
    assert max(waits) == pytest.approx(3, abs=0.3)


def test_a_429_slows_the_filling_once_however_many_processes_meet_it(server):
    tokens = bucket(server, rate=100)
    for _ in range(5):
        tokens.drain()
    assert tokens.take(70) == pytest.approx(1, abs=0.1)


def test_what_a_429_took_of_the_rate_comes_back(server):
    tokens = bucket(server, rate=100)
    tokens.drain()
    server.hincrbyfloat("test:tokens", "at", -31)
    assert [tokens.take(300), tokens.take(100)] == pytest.approx([0, 1], abs=0.1)
