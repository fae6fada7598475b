"""Chunks whose process is silent are kept alive, and killed where it does not end in time."""

import signal
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from backtests.models import Search, SearchChunk
from backtests.searches import chunk_watch
from backtests.searches.chunk_watch import ChunkWatch
from backtests.signs_of_life import RunSignals
from backtests.tests.search_builders import a_search, record_days

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _days(monkeypatch):
    record_days()
    monkeypatch.setattr(chunk_watch, "TOLD_SECONDS", 0)


def now():
    return datetime.now(UTC)


def a_watch(*, silent_for=0, signals=None):
    search = a_search()
    chunk = SearchChunk.objects.claim_next(search.pk, now=now())
    assert chunk is not None
    SearchChunk.objects.filter(pk=chunk.pk).update(
        heartbeat_at=now() - timedelta(seconds=silent_for), progress=0.4
    )
    return ChunkWatch(chunk, signals or RunSignals())


def test_the_heartbeat_of_a_silent_one_is_sent_for_it():
    watch = a_watch(silent_for=10)
    assert not watch.must_end()
    chunk = SearchChunk.objects.get(pk=watch.chunk.pk)
    assert now() - chunk.heartbeat_at < timedelta(seconds=10)
    assert chunk.progress == 0.4


def test_one_that_gives_signs_of_life_hears_of_a_cancellation_by_itself():
    watch = a_watch()
    Search.objects.cancel(watch.chunk.search_id, now=now())
    assert not watch.must_end()


def test_a_silent_one_whose_search_was_cancelled_is_ended():
    watch = a_watch(silent_for=10)
    Search.objects.cancel(watch.chunk.search_id, now=now())
    assert watch.must_end()
    assert (watch.has_ended_it, watch.words) == (True, "")


def test_one_that_takes_too_long_is_ended_and_says_so(settings):
    settings.BACKTEST_SECONDS = -1
    watch = a_watch()
    assert watch.must_end()
    assert watch.words.startswith("It took longer than")


def test_one_that_is_another_workers_by_now_is_ended():
    watch = a_watch()
    SearchChunk.objects.update(token=uuid4())
    assert watch.must_end()
    assert watch.words == ""


def test_one_that_is_told_to_end_has_some_seconds_for_it(monkeypatch):
    monkeypatch.setattr(chunk_watch, "TOLD_SECONDS", 60)
    signals = RunSignals()
    watch = a_watch(signals=signals)
    signals.note(signal.SIGTERM)
    assert not watch.must_end()
    monkeypatch.setattr(chunk_watch, "TOLD_SECONDS", 0)
    assert watch.must_end()
