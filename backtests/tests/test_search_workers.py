"""Searches on real sessions: one's own strategies from their stored source, and several workers."""

import os
import signal
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection

from backtests import catalogue, tasks
from backtests.models import BacktestStatus, ChunkStatus, Search, SearchChunk
from backtests.models.results import LOST_AFTER
from backtests.models.searches import CHUNK_SIZES
from backtests.own.folder import StrategyFile
from backtests.searches import chunk_watch, requests, runner
from backtests.tests.own_strategies import is_gone, write, write_signal
from backtests.tests.search_builders import a_search, pnls, record_days, run_all
from backtests.tests.test_run_endings import a_worker
from backtests.tests.test_runner import now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _days(folder):
    record_days()


def an_own_search(folder, more=""):
    write(folder, "_helpers.py", "SIDE = -1\n")
    write_signal(folder, more=f"from _helpers import SIDE\n{more}")
    return a_search({"contracts": [1, 10]}, strategy="cheap-side")


def test_a_strategy_of_ones_own_runs_from_its_stored_source(folder, settings):
    search = an_own_search(folder)
    assert search.strategy_file == "cheap_side.py"
    assert set(search.strategy_files) == {"cheap_side.py", "_helpers.py"}
    # As on another machine, which has no such folder.
    settings.STRATEGIES_PATH = folder.parent / "elsewhere"
    shipped = run_all(a_search({"contracts": [1, 10]}, strategy="always-no"))
    assert run_all(search).status == BacktestStatus.DONE, search.error
    assert pnls(search) == pnls(shipped)
    assert "strategy/_helpers.py" in search.code_fingerprint


def test_an_installed_file_is_stored_as_well(folder, tmp_path):
    path = write_signal(tmp_path / "other", name="elsewhere", file="elsewhere.py")
    with catalogue.installed(StrategyFile(path.name, path.parent)):
        search = a_search({"contracts": [1, 10]}, strategy="elsewhere")
    assert search.strategy_files == {"elsewhere.py": path.read_text()}
    assert run_all(search).status == BacktestStatus.DONE, search.error


def test_a_file_that_ends_its_process_costs_a_chunk_and_then_the_search(folder):
    search = an_own_search(folder)
    path = "cheap_side.py"
    text = search.strategy_files[path].replace("return", "import os; os._exit(7)\n        return")
    search.strategy_files[path] = text
    search.save()
    assert runner.run_chunk(search.pk)
    search.refresh_from_db()
    assert search.status == BacktestStatus.RUNNING
    assert run_all(search).status == BacktestStatus.FAILED
    assert search.error.startswith("Its process ended with code 7")


def when_there_is(path, act):
    """Act once a file has its text, from another thread."""

    def wait():
        until = time.monotonic() + 60
        while not (path.exists() and path.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        act()
        connection.close()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def a_search_that_computes(folder, marker, what):
    """A search of one's own strategy that starts a process, notes it in a file and computes."""
    more = "import pathlib, subprocess, time\nfrom contextlib import suppress\n"
    path = write_signal(folder, more=more)
    begun = f"""child = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(marker)!r}).write_text(str(child.pid))
        {what}
        return"""
    path.write_text(path.read_text().replace("return", begun))
    return a_search({"contracts": [1]}, strategy="cheap-side")


def test_one_that_does_not_hear_is_killed_with_all_that_it_has_started(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(chunk_watch, "TOLD_SECONDS", 0)
    monkeypatch.setattr(chunk_watch, "SILENT_AFTER", timedelta(seconds=0.2))
    marker = tmp_path / "begun"
    # One call that keeps Python's lock.
    search = a_search_that_computes(folder, marker, "sum(range(10**11))")
    other = when_there_is(marker, lambda: Search.objects.cancel(search.pk, now=now()))
    assert not runner.run_chunk(search.pk)
    other.join()
    assert is_gone(int(marker.read_text()))
    search.refresh_from_db()
    assert (search.status, search.error) == (BacktestStatus.CANCELLED, "")
    assert search.chunks.get().status == ChunkStatus.QUEUED


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_the_process_of_ones_own_strategy_hears_ctrl_c(folder, tmp_path):
    marker = tmp_path / "begun"
    search = a_search_that_computes(folder, marker, "time.sleep(600)")
    other = when_there_is(marker, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        runner.run_chunk(search.pk)
    other.join()
    chunk = search.chunks.get()
    assert (chunk.status, chunk.attempts) == (ChunkStatus.QUEUED, 0)
    assert is_gone(int(marker.read_text()))


def wait_until(condition, log, *, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


@pytest.mark.system
def test_a_worker_that_is_killed_costs_its_chunk_and_nothing_else(tmp_path, monkeypatch, folder):
    monkeypatch.setitem(CHUNK_SIZES, "kernel", 1)
    marker = tmp_path / "begun"
    more = f"import os, pathlib, time\nMARKER = pathlib.Path({str(marker)!r})\n"
    path = write_signal(folder, more=more)
    # The first process that comes here waits, in the middle of its chunk.
    waiting = (
        "MARKER.exists() or (MARKER.write_text(str(os.getppid())), time.sleep(600))\n        return"
    )
    path.write_text(path.read_text().replace("return", waiting))
    search = a_search({"contracts": [1, 2, 3, 4]}, strategy="cheap-side")
    log, other = tmp_path / "one.log", tmp_path / "two.log"
    with a_worker(log) as worker:
        requests.call_worker(search.pk)
        wait_until(lambda: marker.exists() and marker.read_text(), log)
        for process in (worker.pid, int(marker.read_text())):
            os.kill(process, signal.SIGKILL)
        with a_worker(other):
            wait_until(lambda: search.progress().done == 3, other)
            # Some minutes pass.
            before = now() - LOST_AFTER - timedelta(seconds=1)
            SearchChunk.objects.update(claimed_at=before, heartbeat_at=before)
            tasks.pick_up_backtests.delay()
            wait_until(SearchChunk.objects.filter(status=ChunkStatus.QUEUED).exists, other)
            tasks.run_search_chunk.delay(search.pk)
            wait_until(lambda: search.progress().done == 4, other)
            wait_until(lambda: is_done(search), other)
    assert search.chunks.filter(status=ChunkStatus.DONE, attempts=2).count() == 1
    assert search.chunks.filter(status=ChunkStatus.DONE, attempts=1).count() == 3


def is_done(search):
    search.refresh_from_db()
    return search.status == BacktestStatus.DONE
