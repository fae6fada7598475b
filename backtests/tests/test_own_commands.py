"""Commands on strategies of one's own: installed ones, and files that are not."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from backtests import catalogue
from backtests.models import BacktestResult
from backtests.models.results import LOST_AFTER
from backtests.tests.own_strategies import write, write_signal
from backtests.tests.record_builders import queue_backtest
from backtests.tests.test_runner import a_market
from kalshi_insights.embedded import BASE_DIR

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("folder")]
TICKER = "KXRAIN-26OCT02"
CHOSEN = ("--ticker", TICKER, "--start", "2026-10-01", "--end", "2026-10-03")
# The quotes are hours apart.
WAITING = ("--across-gaps", "wait")


@pytest.fixture(autouse=True)
def market():
    return a_market(TICKER)


def said(*words, err=None):
    out = StringIO()
    call_command(*map(str, words), stdout=out, stderr=err)
    return out.getvalue()


def run(*words, err=None):
    return said("runbacktest", *words, *CHOSEN, *WAITING, err=err)


def refused(*words):
    with pytest.raises(CommandError) as caught:
        said(*words, *CHOSEN)
    assert caught.value.returncode == 2
    assert not BacktestResult.objects.exists()
    return str(caught.value)


# --- runbacktest ----------------------------------------------------------------------------------


def test_an_installed_one_runs_by_its_name(folder):
    path = write_signal(folder)
    output = run("cheap-side")
    result = BacktestResult.objects.get()
    assert f"Backtest {result.pk}: cheap-side 1, Kernel" in output
    assert "Earned $4.03" in output
    assert result.strategy_files == {"cheap_side.py": path.read_text()}


def test_a_file_runs_without_being_installed(tmp_path):
    path = write_signal(tmp_path / "elsewhere")
    output = json.loads(run("--file", path, "--json", "--no-save", "--param", "contracts=5"))
    assert (output["strategy"], output["params"]) == ("cheap-side", {"contracts": 5})
    assert output["strategy_files"] == {"cheap_side.py": path.read_text()}
    assert "Earned $4.03" in run("--file", path)
    assert catalogue.listed("cheap-side") is None


def test_a_file_takes_the_place_of_an_installed_one(folder, tmp_path):
    write_signal(folder)
    other = write_signal(tmp_path / "elsewhere", version="2")
    assert "cheap-side 2, Kernel" in run("--file", other)
    assert "cheap-side 1, Kernel" in run("cheap-side")


@pytest.mark.parametrize("path", ["ladder", "ladder/__init__.py"])
def test_a_package_runs_without_being_installed(tmp_path, path):
    write(tmp_path, "elsewhere/ladder/__init__.py", "from .buying import CheapSide\n")
    write_signal(tmp_path, "elsewhere/ladder/buying.py")
    output = json.loads(run("--file", tmp_path / "elsewhere" / path, "--json", "--no-save"))
    assert set(output["strategy_files"]) == {"ladder/__init__.py", "ladder/buying.py"}


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    words = f"file: {tmp_path} is no package: it has no __init__.py."
    assert refused("runbacktest", "--file", tmp_path) == words


def test_a_run_of_a_file_that_fails_has_its_source(tmp_path):
    path = write_signal(tmp_path / "elsewhere")
    path.write_text(path.read_text().replace("return", "return 1 / 0 or"))
    with pytest.raises(CommandError, match="ZeroDivisionError"):
        run("--file", path)
    assert BacktestResult.objects.get().strategy_files == {"cheap_side.py": path.read_text()}


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_run_of_a_file_whose_command_is_gone_is_run_by_no_other(folder, market, is_claimed):
    write_signal(folder)  # of the same name
    result = queue_backtest(market, strategy="cheap-side")
    files = {"cheap_side.py": "another one"}
    BacktestResult.objects.filter(pk=result.pk).update(strategy_files=files)
    if is_claimed:
        BacktestResult.objects.claim(result.pk, now=result.created_at)
    later = result.created_at + 2 * LOST_AFTER
    assert BacktestResult.objects.requeue_lost(now=later) == []
    result.refresh_from_db()
    assert (result.status, result.finished_at) == ("failed", later)
    assert "no other process has the file of its strategy. Run it again." in result.error


def test_of_a_file_with_several_the_one_is_named(tmp_path):
    path = write_signal(tmp_path / "elsewhere")
    other = write_signal(tmp_path, "other.py", name="dear-side", class_name="DearSide").read_text()
    path.write_text(path.read_text() + other)
    words = "file: cheap_side.py has several strategies; name one of them: cheap-side, dear-side."
    assert refused("runbacktest", "--file", path) == words
    words = "file: cheap_side.py has no strategy 'no-side', but cheap-side, dear-side."
    assert refused("runbacktest", "no-side", "--file", path) == words
    assert "dear-side 1, Kernel" in run("dear-side", "--file", path)


def test_a_file_that_cannot_be_used_is_refused_with_its_error(tmp_path):
    assert refused("runbacktest", "--file", tmp_path / "none.py").startswith("file: There is no")
    path = write_signal(tmp_path / "elsewhere", more="x = 1 / 0\n")
    assert refused("runbacktest", "--file", path).startswith("file: cheap_side.py, line 1: ZeroDi")
    path = write_signal(tmp_path / "elsewhere", name="momentum")
    words = "file: cheap_side.py: A shipped strategy is called momentum, too."
    assert refused("runbacktest", "--file", path) == words
    words = refused("runbacktest", "--file", BASE_DIR / "manage.py")
    assert words.startswith("file: manage.py: Its folder holds the program, too.")
    assert refused("runbacktest") == "strategy: Name one, or a --file that has one."


def test_a_broken_one_that_is_installed_is_refused_with_its_error(folder):
    write_signal(folder, more="x = 1 / 0\n")
    words = "strategy: cheap-side cannot be run. cheap_side.py, line 1: ZeroDivisionError"
    assert refused("runbacktest", "cheap-side").startswith(words)


def test_a_file_that_others_may_write_to_is_warned_of(folder):
    path = write_signal(folder)
    path.chmod(0o666)
    for words in (["cheap-side"], ["--file", path]):
        err = StringIO()
        run(*words, err=err)
        assert "Warning: Other users of this machine may write to cheap_side.py" in err.getvalue()


def test_so_is_a_file_that_it_imports(tmp_path):
    write(tmp_path, "elsewhere/_helpers.py", "").chmod(0o666)
    path = write_signal(tmp_path / "elsewhere", more="import _helpers\n")
    err = StringIO()
    run("--file", path, err=err)
    assert "Warning: Other users of this machine may write to _helpers.py" in err.getvalue()


def test_the_list_has_ones_own_with_their_errors(folder):
    write_signal(folder)
    write_signal(folder, "broken.py", name="dear-side", more="x = 1 / 0\n")
    output = " ".join(said("runbacktest", "--list").split())
    assert "cheap-side 1 (cheap_side.py) Buys NO everywhere. contracts=10" in output
    assert "dear-side (broken.py) Cannot be run. broken.py, line 1: ZeroDivisionError" in output


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", ["--save", "--no-save"])
def test_a_run_is_drawn(tmp_path, saved):
    run("always-no", "--plot", tmp_path / "run.svg", saved)
    assert TICKER[:6] in (tmp_path / "run.svg").read_text()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("run.gif", "must end in .png, .svg, .pdf."),
        ("none/run.png", "cannot be written: there is no such folder."),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_before_the_run(tmp_path, path, words):
    path = tmp_path / path
    assert refused("runbacktest", "always-no", "--plot", path) == f"plot: {path} {words}"


# --- other commands -------------------------------------------------------------------------------


def test_ones_own_are_checked_for_look_ahead_too(folder, tmp_path):
    write_signal(folder)
    path = write_signal(tmp_path / "elsewhere", version="2")
    assert "Clean: " in said("checklookahead", "cheap-side", *CHOSEN)
    assert "cheap-side 2 on 3 quotes" in said("checklookahead", "--file", path, *CHOSEN)


def test_a_check_follows_the_execution_model():
    output = said("checklookahead", "always-no", *CHOSEN, "--latency-seconds", "30")
    assert "with orders that take 30 seconds, and" in output
    assert "with 300 seconds." in output
    words = refused("checklookahead", "always-no", "--latency-seconds", "-1")
    assert words.startswith("latency_seconds: Must be between")
    words = refused("checklookahead", "exclusive-arbitrage", "--make")
    assert words.startswith("make: exclusive-arbitrage decides itself")


def test_the_parameters_of_ones_own_are_searched(tmp_path):
    path = write_signal(tmp_path / "elsewhere")
    vary = ("--vary", "contracts=5,10")
    with pytest.raises(CommandError, match=r"confirm-from: No market was settled by"):
        said("sweepbacktest", "--file", path, *vary, *CHOSEN)


def test_a_result_of_ones_own_is_reproduced_while_its_file_is_the_same(folder, tmp_path):
    path = write_signal(folder)
    run("cheap-side")
    number = BacktestResult.objects.get().pk
    assert "Identical to the millionth of a dollar" in said("reproduce", number)
    path.write_text(path.read_text() + "# more\n")
    output = said("reproduce", number)
    assert "changed since: strategy\n" in output
    assert "changed since: strategy/cheap_side.py\n" in output
    other = path.rename(tmp_path / "cheap_side.py")
    with pytest.raises(CommandError, match=r"can no longer be run\. No strategy is called"):
        said("reproduce", number)
    assert "Identical to the millionth" in said("reproduce", number, "--file", other)
    other = write_signal(tmp_path, "other.py", name="dear-side")
    with pytest.raises(CommandError, match=r"file: other\.py has no strategy 'cheap-side'"):
        said("reproduce", number, "--file", other)
