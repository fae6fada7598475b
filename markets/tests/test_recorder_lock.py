import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import httpx
import pytest
from django.db import connection
from structlog.testing import capture_logs

from kalshi_insights.processes.pulse import ATTEMPT, GOOD_RUN, RUN, Sign, signs
from markets.kalshi.client import KalshiClient
from markets.models import MarketSnapshot, Poll
from markets.recording import lock
from markets.recording.lock import (
    LockLost,
    RecorderLock,
    RunWatch,
    missed,
    recorder_lock,
    run_limits,
    stalled_seconds,
    statement_seconds,
)
from markets.recording.recorder import record_tick, stopped_after
from markets.tests.fake_exchange import URL, Exchange

pytestmark = pytest.mark.django_db(transaction=True)

INTERVAL = 1.0


@contextmanager
def held(seconds: float = 60) -> Iterator[RecorderLock]:
    """A lock that another process holds."""
    with closing(RecorderLock(renewed_within=seconds)) as other:
        assert other.acquire()
        yield other


@pytest.fixture(autouse=True)
def nothing_missed_yet() -> None:
    missed.forget()


def client_with(exchange: Exchange, before_answer: Callable[[], None]) -> KalshiClient:
    """A client whose requests do something before they are answered."""

    def answer(request: httpx.Request) -> httpx.Response:
        before_answer()
        return exchange.answer(request)

    return KalshiClient(URL, transport=httpx.MockTransport(answer))


def end_session(other: RecorderLock) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(%s, 1000)", [other._session.connection.info.backend_pid]
        )


def test_a_lock_that_is_not_renewed_ends_with_its_session():
    with held(0.3) as other:
        with recorder_lock(INTERVAL) as mine:
            assert mine is None
        time.sleep(1)
        with recorder_lock(INTERVAL) as mine:
            assert mine is not None
        with pytest.raises(LockLost):
            other.renew()


def test_a_lock_that_is_renewed_stays():
    with held(0.5) as other:
        for _ in range(4):
            time.sleep(0.2)
            other.renew()
        with recorder_lock(INTERVAL) as mine:
            assert mine is None


def test_a_run_that_has_lost_its_lock_writes_nothing_and_says_so(exchange, monkeypatch):
    exchange.list("KXA-1-X")
    monkeypatch.setattr(lock, "RENEWED_EVERY", 0.0)
    taken: list[RecorderLock] = []
    acquire = RecorderLock.acquire

    def acquire_and_note(own: RecorderLock) -> bool:
        taken.append(own)
        return acquire(own)

    monkeypatch.setattr(RecorderLock, "acquire", acquire_and_note)
    with client_with(exchange, lambda: end_session(taken[0])) as client:
        poll = record_tick(client, interval=INTERVAL)
    assert poll.error.startswith("LockLost: the session of the recorder's lock has ended")
    assert poll.finished_at is not None
    assert MarketSnapshot.objects.count() == 0


def test_who_does_not_get_the_lock_says_so_at_first_and_then_once_a_minute(exchange):
    since = datetime.now(UTC)
    with held() as other:
        with capture_logs() as logs, exchange.client() as client:
            for _ in range(3):
                assert record_tick(client, interval=INTERVAL) is None
        [line] = logs
        assert line["event"] == "another recorder holds the lock"
        assert line["log_level"] == "warning"
        assert line["session"] == str(other._session.connection.info.backend_pid)
        assert line["since"] > str(since)
        missed._reported_at -= 61
        with capture_logs() as logs, recorder_lock(INTERVAL):
            assert [line["runs_missed"] for line in logs] == [4]


def test_a_lock_that_was_had_in_between_is_missed_anew():
    for _ in range(2):
        with held(), capture_logs() as logs, recorder_lock(INTERVAL):
            assert [line["runs_missed"] for line in logs] == [1]
        with recorder_lock(INTERVAL) as mine:
            assert mine is not None


def test_a_run_has_limits_and_the_session_has_none_afterwards(exchange):
    found: list[tuple[str, ...]] = []
    before = show_limits()
    with client_with(exchange, lambda: found.append(show_limits())) as client:
        record_tick(client, interval=5)
    # The tape waits a second for other writers of trades.
    assert set(found) == {("10s", "8s", "10s"), ("10s", "1s", "10s")}
    assert show_limits() == before


def show_limits() -> tuple[str, ...]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(f'current_setting({n!r})' for n in LIMITS)}")
        row: tuple[str, ...] = cursor.fetchone()
    return row


LIMITS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


@pytest.mark.parametrize("interval", [0.2, 1, 5, 20, 60, 3600])
def test_the_limits_of_a_run_fit_into_each_other(interval):
    limits, stalled = run_limits(interval), stalled_seconds(interval)
    assert limits.lock_timeout < limits.statement_timeout < stalled <= stopped_after(interval)
    assert limits.statement_timeout == statement_seconds(interval)
    # A run that hangs is noticed within three intervals, or a quarter of a minute.
    assert stalled <= max(3 * interval, 15)


def test_a_run_gives_signs_of_life_and_withdraws_them(exchange, settings, tmp_path):
    settings.PULSE_PATH = tmp_path
    found: list[dict[str, Sign]] = []
    with client_with(exchange, lambda: found.append(signs(tmp_path))) as client:
        record_tick(client, interval=5)
    assert {frozenset(each) for each in found} == {frozenset({ATTEMPT, RUN})}
    assert 14 < -found[0][RUN].overdue < 16
    assert signs(tmp_path).keys() == {ATTEMPT, GOOD_RUN}
    assert 50 < -signs(tmp_path)[GOOD_RUN].overdue < 61


def test_a_failed_run_is_no_good_one(exchange, settings, tmp_path):
    settings.PULSE_PATH = tmp_path
    exchange.status_afterwards, exchange.pages_left = 500, 0
    with exchange.client() as client:
        assert record_tick(client, interval=5).error
    assert signs(tmp_path).keys() == {ATTEMPT}


def test_each_statement_of_a_run_puts_the_next_sign_off(settings, tmp_path, monkeypatch):
    settings.PULSE_PATH = tmp_path
    monkeypatch.setattr(lock, "RENEWED_EVERY", 0.0)
    with (
        held() as other,
        RunWatch(other, interval=1) as watch,
        connection.execute_wrapper(watch),
    ):
        first = signs(tmp_path)[RUN].due
        time.sleep(0.05)
        assert Poll.objects.count() == 0
        assert signs(tmp_path)[RUN].due >= first + 0.05
    assert signs(tmp_path) == {}
