"""Runs that end by the clock, by signals, or without a database, on real sessions."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from backtests import runner, strategies, tasks
from backtests.models import BacktestResult, BacktestStatus
from backtests.tests.record_builders import queue_backtest
from backtests.tests.silent_strategies import (
    KNOWN,
    DeafSignal,
    Does,
    SilentSignal,
    SilentStrategy,
    StubbornSignal,
    compute_in_silence,
)
from backtests.tests.test_runner import a_market, again, now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    for strategy in KNOWN:
        monkeypatch.setitem(strategies.STRATEGIES, strategy.name, strategy)


def queue(strategy):
    return queue_backtest(a_market(), strategy=strategy.name)


def ran(result):
    runner.run(result.pk)
    return again(result)


def run_that(work, monkeypatch):
    """Run a strategy that does some work while it computes its targets."""
    monkeypatch.setattr(Does, "work", work)
    return ran(queue(Does))


@contextmanager
def another_session(database=None):
    session = connection.copy()
    session.settings_dict["NAME"] = database or session.settings_dict["NAME"]
    try:
        with session.cursor() as cursor:
            yield cursor
    finally:
        session.close()


def request_cancel(result):
    with another_session() as cursor:
        cursor.execute(
            "UPDATE backtests_backtestresult SET cancel_requested = true WHERE id = %s",
            [result.pk],
        )


# --- by the clock --------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [SilentSignal, SilentStrategy, StubbornSignal])
def test_a_silent_strategy_hears_that_it_is_cancelled(strategy):
    result = queue(strategy)
    threading.Timer(0.3, request_cancel, [result]).start()
    assert ran(result).status == BacktestStatus.CANCELLED
    assert result.progress < 1


def test_one_that_waits_for_the_database_hears_it_too(monkeypatch):
    def wait():
        request_cancel(BacktestResult.objects.get())
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    assert run_that(wait, monkeypatch).status == BacktestStatus.CANCELLED
    assert again(BacktestResult.objects.get()).error == ""


def test_a_silent_strategy_ends_at_the_deadline(settings):
    settings.BACKTEST_SECONDS = 1
    result = ran(queue(SilentStrategy))
    assert (result.status, result.error) == (
        BacktestStatus.FAILED,
        "It took longer than 1 seconds. Choose fewer markets or a shorter time, or raise"
        " BACKTEST_SECONDS.",
    )


def test_a_silent_strategy_gives_signs_of_life(monkeypatch):
    """A sign of life shows the newest progress, whichever step the run is at."""

    def wait_for_a_sign():
        until = time.monotonic() + 60
        result = BacktestResult.objects.get()
        while result.heartbeat_at == result.claimed_at and time.monotonic() < until:
            result.refresh_from_db()
        assert result.doing == "running the strategy"
        assert result.progress == 0.35

    assert run_that(wait_for_a_sign, monkeypatch).error == ""


def test_one_that_another_worker_has_ends_and_leaves_it_alone(monkeypatch):
    def give_up_for_lost():
        BacktestResult.objects.requeue_lost(now=now() + timedelta(minutes=6))
        compute_in_silence()

    result = run_that(give_up_for_lost, monkeypatch)
    assert (result.status, result.attempts) == (BacktestStatus.QUEUED, 1)


def test_a_run_in_another_thread_ends_at_its_next_report():
    result = queue(StubbornSignal)
    request_cancel_soon = threading.Timer(0.1, request_cancel, [result])

    def run():
        request_cancel_soon.start()
        runner.run(result.pk)
        connection.close()

    thread = threading.Thread(target=run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backtests.tests.silent_strategies.LONGEST_SECONDS", 1.5)
        thread.start()
        thread.join()
    assert again(result).status == BacktestStatus.CANCELLED


# --- a database that is away ---------------------------------------------------------------------


def end_sessions(*, database):
    with another_session("postgres") as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend'",
            [database],
        )


def admit(database, is_open):
    with another_session("postgres") as cursor:
        cursor.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS {is_open}')


def test_a_failure_is_stored_when_the_database_is_back(monkeypatch):
    database = connection.settings_dict["NAME"]

    def fail_without_a_database():
        admit(database, is_open=False)
        threading.Timer(1, admit, [database, True]).start()
        end_sessions(database=database)
        raise LookupError("of its own")

    result = run_that(fail_without_a_database, monkeypatch)
    assert result.status == BacktestStatus.FAILED
    assert "LookupError: of its own" in result.error


def test_a_result_is_stored_when_the_database_is_back():
    result = queue_backtest(a_market())
    database = connection.settings_dict["NAME"]

    def lose_sessions(progress, doing):
        if doing == "running do-nothing":
            end_sessions(database=database)

    runner.run(result.pk, on_progress=lose_sessions)
    assert again(result).status == BacktestStatus.DONE
    assert result.executions.count() == 3


# --- signals -------------------------------------------------------------------------------------


def test_a_process_that_is_told_to_end_says_so_of_its_run(monkeypatch):
    def end():
        os.kill(os.getpid(), signal.SIGTERM)
        compute_in_silence()

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        run_that(end, monkeypatch)
    assert ended.value.code == 128 + signal.SIGTERM
    result = BacktestResult.objects.get()
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith("Its worker was told to end while it ran")
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_presses_ctrl_c_has_cancelled_it(monkeypatch):
    def end():
        os.kill(os.getpid(), signal.SIGINT)
        compute_in_silence()

    with pytest.raises(KeyboardInterrupt):
        run_that(end, monkeypatch)
    assert BacktestResult.objects.get().status == BacktestStatus.CANCELLED


# --- a worker ------------------------------------------------------------------------------------


@contextmanager
def a_worker(log):
    database = connection.settings_dict
    address = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format_map(database)
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "backtests.tests.silent_strategies", "backtester"],
            cwd=django_settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": address},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def wait_for(result, status, log):
    until = time.monotonic() + 90
    while again(result).status != status:
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


@pytest.mark.system
def test_a_worker_ends_runs_that_do_not_hear_and_one_that_it_computes_as_it_ends(tmp_path: Path):
    log = tmp_path / "worker.log"
    market = a_market()
    deaf, next_one = (
        queue_backtest(market, strategy=each.name) for each in (DeafSignal, SilentSignal)
    )
    with a_worker(log) as worker:
        for result in (deaf, next_one):
            tasks.run_backtest.delay(result.pk)
        wait_for(deaf, BacktestStatus.RUNNING, log)
        request_cancel(deaf)
        wait_for(deaf, BacktestStatus.CANCELLED, log)
        wait_for(next_one, BacktestStatus.RUNNING, log)
        worker.terminate()
        assert worker.wait(60) == 0, log.read_text()
    assert again(next_one).status == BacktestStatus.FAILED, log.read_text()
    assert next_one.error.startswith("Its worker was told to end while it ran")
