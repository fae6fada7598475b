"""Runs of one's own strategies, each in a process of its own, and what is stored with them."""

import os
import sys
import time
from uuid import uuid4

import pytest
from django.db import connection, connections

from backtests import processes, tasks
from backtests.models import BacktestResult, BacktestStatus
from backtests.own.machine_paths import ROOT
from backtests.tests.factories import a_backtest
from backtests.tests.own_strategies import is_gone, write, write_signal
from backtests.tests.record_builders import END, START, queue_backtest
from backtests.tests.test_run_endings import a_worker, wait_for
from backtests.tests.test_runner import a_market
from markets.models import Market

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folder")]


def queued(strategy="cheap-side"):
    return queue_backtest(a_market(), strategy=strategy)


def ran(result):
    processes.run(result.pk)
    result.refresh_from_db()
    return result


def test_a_run_is_a_process_of_its_own_and_stores_every_file_that_it_imported(folder):
    write(folder, "_helpers.py", "CONTRACTS = 10\n")
    path = write_signal(folder, more="from _helpers import CONTRACTS\nprint('hello')\n")
    result = ran(queued())
    assert (result.status, result.error) == (BacktestStatus.DONE, "")
    assert str(result.final_cash) == "10004.029400"
    assert result.strategy_files == {
        "_helpers.py": "CONTRACTS = 10\n",
        "cheap_side.py": path.read_text(),
    }
    assert {"strategy/_helpers.py", "strategy/cheap_side.py"} < set(result.code_fingerprint)
    assert "cheap_side" not in sys.modules


def test_the_files_of_a_result_are_on_its_page_and_in_the_api(client):
    done = a_backtest(strategy="cheap-side", strategy_files={"a.py": "x = 1 < 2 and '</pre>'\n"})
    html = client.get(f"/backtests/{done.pk}/").content.decode()
    assert "x = 1 &lt; 2 and &#x27;&lt;/pre&gt;&#x27;" in html
    reply = client.get(f"/api/v1/backtests/{done.pk}/").json()
    assert reply["strategy_files"] == {"a.py": "x = 1 < 2 and '</pre>'\n"}
    assert 'id="source"' not in client.get(f"/backtests/{a_backtest().pk}/").content.decode()


def test_a_run_computes_with_the_file_as_it_is_now_without_a_restart(folder):
    write_signal(folder)
    result = queued()
    write_signal(folder, version="2")
    assert ran(result).strategy_version == "2"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("import os\n\ndef end():\n    os._exit(7)\n", "Its process ended with code 7 before"),
        (
            "import os\n\ndef end():\n    os.kill(os.getpid(), 9)\n",
            "Its process was ended by SIGKILL before the result was stored. It may need more",
        ),
    ],
)
def test_a_process_that_is_lost_fails_its_run_at_once(folder, more, words):
    path = write_signal(folder, more=more)
    path.write_text(path.read_text().replace("return", "return end() or"))
    result = ran(queued())
    assert (result.status, result.error[: len(words)]) == (BacktestStatus.FAILED, words)


def test_a_worker_that_is_told_to_end_ends_the_run_with_true_words(folder):
    more = "import os, time\n\ndef end():\n    os.kill(os.getppid(), 15)\n    time.sleep(60)\n"
    path = write_signal(folder, more=more)
    path.write_text(path.read_text().replace("return", "return end() or"))
    result = ran(queued())
    assert result.status == BacktestStatus.FAILED
    assert (
        result.error == "Its worker was told to end while it ran, as for a restart. Run it again."
    )


def test_an_error_names_the_file_and_the_line_of_ones_own(folder):
    write(folder, "_helpers.py", "def divide():\n    return 1 / 0\n")
    path = write_signal(folder, more="from _helpers import divide\n")
    path.write_text(path.read_text().replace("return", "return divide() or"))
    words = "The strategy raised ZeroDivisionError: division by zero (_helpers.py, line 2)"
    assert ran(queued()).error == words


def test_a_file_that_was_broken_meanwhile_fails_the_run_with_its_error(folder):
    write_signal(folder)
    result = queued()
    write_signal(folder, more="x = 1 / 0\n")
    result = ran(result)
    assert result.status == BacktestStatus.FAILED
    assert result.error.startswith("cheap-side cannot be run. cheap_side.py, line 1: ZeroDiv")


def test_a_run_that_another_worker_has_by_now_is_left_alone():
    result = queued("always-no")
    held = BacktestResult.objects.claim(result.pk, now=START)
    assert held is not None
    assert held.token is not None
    assert not BacktestResult.objects.fail_lost(result.pk, uuid4(), "Lost.", now=END)
    assert BacktestResult.objects.get(pk=result.pk).token == held.token
    assert BacktestResult.objects.fail_lost(result.pk, held.token, "Lost.", now=END)
    assert BacktestResult.objects.get(pk=result.pk).error == "Lost."


def test_a_process_that_is_lost_after_a_cancellation_ends_as_cancelled():
    result = queued("always-no")
    held = BacktestResult.objects.claim(result.pk, now=START)
    assert held is not None
    assert held.token is not None
    BacktestResult.objects.request_cancel(result.pk, now=START)
    assert BacktestResult.objects.fail_lost(result.pk, held.token, "Lost.", now=END)
    result.refresh_from_db()
    assert (result.status, result.error) == (BacktestStatus.CANCELLED, "")


def test_a_process_that_is_lost_before_it_has_the_run_leaves_it_to_the_next(folder, monkeypatch):
    write_signal(folder)
    result = queued()
    with monkeypatch.context() as patched:
        # The copy makes a session of its own, and finds no database.
        patched.setitem(connection.settings_dict, "HOST", "/nowhere")
        processes.run(result.pk)
    assert ran(result).status == BacktestStatus.DONE
    assert result.attempts == 1


def test_a_run_sees_nothing_of_the_environment_of_the_site(folder, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "a secret")
    monkeypatch.setenv("PGPASSWORD", "a secret")
    more = "import os\n\ndef tell():\n    raise ValueError(*os.environ)\n"
    path = write_signal(folder, more=more)
    path.write_text(path.read_text().replace("return", "return tell() or"))
    words = ran(queued()).error
    assert "'PATH'" in words
    assert "SECRET_KEY" not in words
    assert "PGPASSWORD" not in words
    assert "DATABASE_URL" not in words
    assert os.environ["SECRET_KEY"] == "a secret"


def test_a_password_of_the_environment_still_opens_the_database_for_a_run(monkeypatch):
    monkeypatch.setattr(os, "environ", {"PGPASSWORD": "a secret", "PGHOST": "here"})
    monkeypatch.setitem(connections.settings["default"], "PASSWORD", "")
    processes._forget_environment()
    assert os.environ == {"PGHOST": "here"}
    assert connections.settings["default"]["PASSWORD"] == "a secret"


def test_an_error_has_no_paths_of_this_machine(folder):
    more = "def late():\n    from backtests.strategies.base import Nothing\n"
    path = write_signal(folder, more=more)
    path.write_text(path.read_text().replace("return", "return late() or"))
    words = ran(queued()).error
    assert "(backtests/strategies/base.py)" in words
    assert str(ROOT) not in words


def test_a_shipped_strategy_runs_in_the_process_of_its_worker(monkeypatch):
    monkeypatch.setattr(processes, "_run_apart", None)
    assert ran(queued("always-no")).status == BacktestStatus.DONE


# A call that lets no other thread run; the worker that hears nothing kills the process.
DEAF = """\
import os, pathlib
        pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
        sum(range(10**11))
        """


def started_process(path, log):
    """Wait until a process has written its number, and return that."""
    until = time.monotonic() + 90
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    return int(path.read_text())


@pytest.mark.system
def test_a_worker_runs_a_file_that_came_later_and_ends_one_that_hears_nothing(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("STRATEGIES_PATH", str(folder))
    log = tmp_path / "worker.log"
    shipped = queued("always-no")
    with a_worker(log) as worker:
        tasks.run_backtest.delay(shipped.pk)
        wait_for(shipped, BacktestStatus.DONE, log)
        write_signal(folder)
        own = queue_backtest(Market.objects.get(), strategy="cheap-side")
        tasks.run_backtest.delay(own.pk)
        wait_for(own, BacktestStatus.DONE, log)
        deaf = queue_backtest(Market.objects.get(), strategy="cheap-side")
        path = write_signal(folder)
        path.write_text(path.read_text().replace("return", f"{DEAF}return"))
        tasks.run_backtest.delay(deaf.pk)
        process = started_process(folder / "pid", log)
        BacktestResult.objects.request_cancel(deaf.pk, now=END)
        wait_for(deaf, BacktestStatus.CANCELLED, log)
        assert is_gone(process)
        worker.terminate()
        assert worker.wait(60) == 0, log.read_text()
    assert own.final_cash == shipped.final_cash
    assert set(own.strategy_files) == {"cheap_side.py"}
