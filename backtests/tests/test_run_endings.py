"""Runs that end by the clock, by signals, or without a database, on real sessions."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from backtests import hung_runs, runner, strategies, tasks
from backtests.models import BacktestResult, BacktestStatus
from backtests.signs_of_life import RunSignals
from backtests.tests.record_builders import queue_backtest
from backtests.tests.silent_strategies import (
    ENDED_BY_ITSELF,
    KNOWN,
    CompiledSignal,
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
    ENDED_BY_ITSELF.clear()


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
    assert ENDED_BY_ITSELF == []


def test_one_that_waits_for_the_database_hears_it_too(monkeypatch):
    def wait():
        request_cancel(BacktestResult.objects.get())
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")
        ENDED_BY_ITSELF.append("the query")

    assert run_that(wait, monkeypatch).status == BacktestStatus.CANCELLED
    assert again(BacktestResult.objects.get()).error == ""
    assert ENDED_BY_ITSELF == []


def test_a_silent_strategy_ends_at_the_deadline(settings):
    settings.BACKTEST_SECONDS = 1
    result = ran(queue(SilentStrategy))
    assert (result.status, result.error) == (
        BacktestStatus.FAILED,
        "It took longer than 1 seconds. Choose fewer markets or a shorter time, or raise"
        " BACKTEST_SECONDS.",
    )
    assert ENDED_BY_ITSELF == []


def test_a_silent_strategy_gives_signs_of_life(monkeypatch):
    """A sign of life shows the newest progress, whichever step the run is at."""

    def wait_for_a_sign():
        until = time.monotonic() + 60
        result = BacktestResult.objects.get()
        while result.doing != "running the strategy" and time.monotonic() < until:
            result.refresh_from_db()
        assert (result.heartbeat_at or now()) > (result.claimed_at or now())
        assert result.progress == 0.35

    assert run_that(wait_for_a_sign, monkeypatch).error == ""


def test_one_that_another_worker_has_ends_and_leaves_it_alone(monkeypatch):
    def give_up_for_lost():
        BacktestResult.objects.requeue_lost(now=now() + timedelta(minutes=6))
        compute_in_silence()

    result = run_that(give_up_for_lost, monkeypatch)
    assert (result.status, result.attempts) == (BacktestStatus.QUEUED, 1)
    assert ENDED_BY_ITSELF == []


def heartbeat_age():
    with another_session() as cursor:
        cursor.execute("SELECT now() - heartbeat_at FROM backtests_backtestresult")
        return cursor.fetchone()[0]


def test_one_that_does_not_hear_gives_no_more_signs_of_life(monkeypatch):
    """Its worker sees it silent then, and ends it."""
    fell_silent: list[bool] = []

    def hold_out():
        until = time.monotonic() + 60
        while not fell_silent and time.monotonic() < until:
            with suppress(KeyboardInterrupt):
                request_cancel(result)
                if heartbeat_age() > hung_runs.SILENT_AFTER:
                    fell_silent.append(True)

    monkeypatch.setattr(Does, "work", hold_out)
    result = queue(Does)
    ran(result)
    assert fell_silent
    assert BacktestResult.objects.get().status == BacktestStatus.CANCELLED


def test_a_run_in_another_thread_ends_at_its_next_report(monkeypatch):
    monkeypatch.setattr("backtests.tests.silent_strategies.LONGEST_SECONDS", 1.5)
    result, reports = queue(StubbornSignal), []

    def run():
        threading.Timer(0.1, request_cancel, [result]).start()
        runner.run(result.pk, on_progress=lambda _, doing: reports.append(doing))
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert again(result).status == BacktestStatus.CANCELLED
    assert ENDED_BY_ITSELF == ["the computation"]
    assert reports[-1] == "running the strategy"


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


@contextmanager
def on_statement(words, act):
    """Act before the first statement that contains some words."""
    waiting = [act]

    def look(execute, sql, *arguments):
        if words in sql and waiting:
            waiting.pop()()
        return execute(sql, *arguments)

    with connection.execute_wrapper(look):
        yield
    assert waiting == [], f"no statement contained {words}"


def test_a_cancellation_that_came_last_is_stored_when_the_database_is_back():
    result = queue_backtest(a_market())
    database = connection.settings_dict["NAME"]
    with (
        on_statement("FOR UPDATE", lambda: request_cancel(result)),
        on_statement('"finished_at" = %s', lambda: end_sessions(database=database)),
    ):
        runner.run(result.pk)
    assert again(result).status == BacktestStatus.CANCELLED


def hold_locked(result, is_locked, seconds):
    with another_session() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT FROM backtests_backtestresult WHERE id = %s FOR UPDATE", [result.pk])
        is_locked.set()
        time.sleep(seconds)
        cursor.execute("ROLLBACK")


def test_a_statement_that_fails_is_not_tried_again(monkeypatch):
    """Such as one that waits for too long; the session is there."""

    def wait_for_no_lock():
        is_locked = threading.Event()
        held = BacktestResult.objects.get()
        threading.Thread(target=hold_locked, args=(held, is_locked, 0.6)).start()
        is_locked.wait()
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")

    result = run_that(wait_for_no_lock, monkeypatch)
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith("Internal error: OperationalError")


def test_a_process_that_is_told_to_end_does_not_wait_long_for_the_database(monkeypatch):
    monkeypatch.setattr(runner, "STORE_AT_END_SECONDS", 0.2)
    database = connection.settings_dict["NAME"]
    is_back = threading.Timer(3, admit, [database, True])

    def end_without_a_database():
        admit(database, is_open=False)
        is_back.start()
        end_sessions(database=database)
        os.kill(os.getpid(), signal.SIGTERM)
        compute_in_silence()

    with pytest.raises(SystemExit):
        run_that(end_without_a_database, monkeypatch)
    is_back.join()
    assert BacktestResult.objects.get().status == BacktestStatus.RUNNING


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


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_who_presses_ctrl_c_has_cancelled_it(monkeypatch):
    def end():
        os.kill(os.getpid(), signal.SIGINT)
        compute_in_silence()

    with pytest.raises(KeyboardInterrupt):
        run_that(end, monkeypatch)
    assert BacktestResult.objects.get().status == BacktestStatus.CANCELLED


def end_this_process():
    os.kill(os.getpid(), signal.SIGTERM)


def test_one_that_is_cancelled_and_then_told_to_end_is_cancelled(monkeypatch):
    def end():
        request_cancel(BacktestResult.objects.get())
        end_this_process()
        compute_in_silence()

    with pytest.raises(SystemExit):
        run_that(end, monkeypatch)
    result = BacktestResult.objects.get()
    assert (result.status, result.error) == (BacktestStatus.CANCELLED, "")


def test_an_error_of_storing_is_not_blamed_on_a_signal_that_comes_meanwhile(monkeypatch):
    def exceed_the_column():
        monkeypatch.setattr(Does, "version", "x" * 60)

    with pytest.raises(SystemExit), on_statement("FOR UPDATE", end_this_process):
        run_that(exceed_the_column, monkeypatch)
    assert BacktestResult.objects.get().error.startswith("Internal error: DataError")


def test_a_process_that_is_told_to_end_claims_nothing(monkeypatch):
    class ToldSignals(RunSignals):
        def __enter__(self):
            signals = super().__enter__()
            end_this_process()
            return signals

    monkeypatch.setattr(runner, "RunSignals", ToldSignals)
    with pytest.raises(SystemExit):
        run_that(lambda: None, monkeypatch)
    assert BacktestResult.objects.get().status == BacktestStatus.QUEUED


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
    compiled, deaf = (
        queue_backtest(market, strategy=each.name) for each in (CompiledSignal, DeafSignal)
    )
    with a_worker(log) as worker:
        for result in (compiled, deaf):
            tasks.run_backtest.delay(result.pk)
        wait_for(compiled, BacktestStatus.RUNNING, log)
        request_cancel(compiled)
        wait_for(compiled, BacktestStatus.CANCELLED, log)
        wait_for(deaf, BacktestStatus.RUNNING, log)
        worker.terminate()
        assert worker.wait(60) == 0, log.read_text()
    assert again(deaf).status == BacktestStatus.FAILED, log.read_text()
    assert deaf.error.startswith("Its worker was told to end while it ran")
