"""Calling workers for a search: one message at a time, which each claimed chunk hands on."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from django.conf import settings as django_settings
from kombu.exceptions import OperationalError
from redis import Redis

from backtests import strategies, tasks
from backtests.models import BacktestStatus, SearchChunk
from backtests.models.results import LOST_AFTER
from backtests.models.searches import CHUNK_SIZES
from backtests.searches import requests, universes
from backtests.strategies.fade_longshots import FadeLongshots
from backtests.tests.search_builders import a_search, record_days
from kalshi_insights.processes.worker import QUEUES

pytestmark = pytest.mark.django_db
QUEUE = QUEUES["backtester"]


@pytest.fixture(autouse=True)
def _days(monkeypatch):
    record_days()
    monkeypatch.setitem(CHUNK_SIZES, "kernel", 1)
    yield
    universes.forget()


@pytest.fixture
def broker() -> Iterator[Redis]:
    with Redis.from_url(django_settings.REDIS_URL) as server:
        server.delete(QUEUE)
        yield server
        server.delete(QUEUE)


def work(broker, search):
    """Run chunks as workers do, as long as there are messages."""
    while broker.lpop(QUEUE):
        tasks.run_search_chunk(search.pk)
    search.refresh_from_db()


class Watched(FadeLongshots):
    """It notes how many messages wait while each of its points runs."""

    name = "watched"
    server: ClassVar[Redis | None] = None
    waiting: ClassVar[dict[int, int]] = {}

    def targets(self, history):
        self.waiting[self.p.contracts] = self.server.llen(QUEUE)
        return super().targets(history)


def test_a_chunk_calls_one_worker_for_the_next_before_it_runs(broker, monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, "watched", Watched)
    monkeypatch.setattr(Watched, "server", broker)
    monkeypatch.setattr(Watched, "waiting", {})
    search = a_search({"contracts": [1, 2, 3, 4]}, strategy="watched")
    requests.call_worker(search.pk)
    work(broker, search)
    assert search.status == BacktestStatus.DONE
    assert Watched.waiting == {1: 1, 2: 1, 3: 1, 4: 0}


def test_messages_too_many_come_to_nothing(broker):
    search = a_search({"contracts": [1, 2]})
    for _ in range(5):
        requests.call_worker(search.pk)
    work(broker, search)
    assert (search.status, broker.llen(QUEUE)) == (BacktestStatus.DONE, 0)


class Ended(FadeLongshots):
    """The process that runs it is told to end."""

    name = "ended"

    def targets(self, history):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().targets(history)


def test_a_worker_is_called_for_the_last_chunk_if_its_worker_gives_it_back(broker, monkeypatch):
    monkeypatch.setitem(strategies.STRATEGIES, "ended", Ended)
    search = a_search({"contracts": [1]}, strategy="ended")
    tasks.run_search_chunk(search.pk)
    assert SearchChunk.objects.waiting(search.pk).count() == 1
    assert broker.llen(QUEUE) == 1


def test_a_worker_is_called_for_a_chunk_that_is_lost(broker):
    search = a_search({"contracts": [1]})
    SearchChunk.objects.claim_next(search.pk, now=datetime.now(UTC))
    before = datetime.now(UTC) - LOST_AFTER - timedelta(seconds=1)
    tasks.pick_up_backtests()
    assert broker.llen(QUEUE) == 0
    SearchChunk.objects.update(claimed_at=before, heartbeat_at=before)
    tasks.pick_up_backtests()
    assert broker.llen(QUEUE) == 1


def test_a_chunk_runs_although_the_broker_is_away(broker, monkeypatch):
    def away(*message: object) -> None:
        raise OperationalError("Connection refused")

    search = a_search({"contracts": [1, 2]})
    monkeypatch.setattr(tasks.run_search_chunk, "delay", away)
    tasks.run_search_chunk(search.pk)
    assert search.progress().done == 1
