"""Silent runs are kept alive by their worker, and ended where they do not hear that they must."""

import signal
import subprocess
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models import F

from backtests import hung_runs
from backtests.models import BacktestResult, BacktestStatus
from backtests.tests.record_builders import queue_backtest
from backtests.tests.test_runner import a_market, again, claimed, now

pytestmark = pytest.mark.django_db


@pytest.fixture
def process():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def a_run(*, silent_for, began_before=0, **columns):
    result = claimed(queue_backtest(a_market()))
    since = timedelta(seconds=began_before)
    BacktestResult.objects.update(
        heartbeat_at=now() - timedelta(seconds=silent_for),
        claimed_at=F("claimed_at") - since,
        **columns,
    )
    return again(result)


def watch_over(result, process, *, request="a"):
    under_way = [hung_runs.RunProcess(request, result.pk, process.pid)]
    return hung_runs.HungRunWatch(lambda: under_way), under_way


def looked_after(result, process):
    watch, _ = watch_over(result, process)
    watch.look()
    return again(result)


def test_one_that_gives_signs_of_life_is_left_alone(process):
    result = a_run(silent_for=1, cancel_requested=True)
    heard = result.heartbeat_at
    assert looked_after(result, process).heartbeat_at == heard
    assert process.poll() is None


def test_the_heartbeat_of_a_silent_one_is_sent_for_it(process):
    result = a_run(silent_for=10, progress=0.4, doing="running the strategy")
    assert now() - looked_after(result, process).heartbeat_at < timedelta(seconds=10)
    assert (result.progress, result.doing) == (0.4, "running the strategy")
    assert process.poll() is None


def test_a_silent_one_that_is_cancelled_is_ended(process):
    result = looked_after(a_run(silent_for=10, cancel_requested=True), process)
    assert result.status == BacktestStatus.CANCELLED
    assert process.wait(60) == -signal.SIGKILL


def test_a_silent_one_that_takes_too_long_is_ended(process):
    result = looked_after(a_run(silent_for=10, began_before=2_000), process)
    assert (result.status, result.error[:18]) == (BacktestStatus.FAILED, "It took longer tha")
    assert process.wait(60) == -signal.SIGKILL


def test_the_process_of_one_that_has_ended_is_left_alone(process):
    result = a_run(silent_for=10, cancel_requested=True)
    BacktestResult.objects.mark_cancelled(result, now=now())
    looked_after(result, process)
    assert process.poll() is None


def test_one_that_does_not_end_when_its_worker_ends_is_ended(process, monkeypatch):
    monkeypatch.setattr(hung_runs, "TOLD_SECONDS", 0)
    result = a_run(silent_for=0)
    watch, _ = watch_over(result, process)
    watch.end()
    watch.look()
    assert again(result).status == BacktestStatus.FAILED
    assert result.error.startswith("Its worker was told to end while it ran")
    assert process.wait(60) < 0


def test_one_that_ends_in_time_when_its_worker_ends_is_told_once(process):
    result = a_run(silent_for=0)
    watch, _ = watch_over(result, process)
    watch.end()
    watch.look()
    assert again(result).status == BacktestStatus.RUNNING
    assert process.wait(60) == -signal.SIGTERM


def test_one_that_begins_while_its_worker_ends_is_told_too(process):
    result = a_run(silent_for=0)
    watch, under_way = watch_over(result, process)
    begun = under_way.pop()
    watch.end()
    under_way.append(begun)
    watch.look()
    assert process.wait(60) == -signal.SIGTERM


def test_one_that_another_worker_has_by_now_is_left_alone(process):
    result = a_run(silent_for=10)
    watch, _ = watch_over(result, process)
    watch.look()
    BacktestResult.objects.update(
        token=uuid4(), heartbeat_at=now() - timedelta(seconds=10), cancel_requested=True
    )
    heard = again(result).heartbeat_at
    watch.look()
    assert (again(result).status, result.heartbeat_at) == (BacktestStatus.RUNNING, heard)
    assert process.poll() is None


def test_a_process_that_has_gone_on_to_its_next_run_is_not_killed(process):
    result = a_run(silent_for=10, cancel_requested=True)
    looks = [[hung_runs.RunProcess("a", result.pk, process.pid)], []]
    hung_runs.HungRunWatch(lambda: looks.pop(0)).look()
    assert again(result).status == BacktestStatus.CANCELLED
    assert process.poll() is None


def test_a_look_that_fails_is_not_the_last(process):
    result = a_run(silent_for=10)
    found = [hung_runs.RunProcess("a", result.pk, process.pid)]
    watch = hung_runs.HungRunWatch(lambda: [found[0]])
    is_there = found.pop()
    watch.look()
    found.append(is_there)
    watch.look()
    assert now() - again(result).heartbeat_at < timedelta(seconds=10)
