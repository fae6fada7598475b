"""The command `newstrategy`: beginnings that work as they are written."""

import subprocess
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from backtests import catalogue
from backtests.analysis.evaluation import Evaluation
from backtests.data.universe import MONEY
from backtests.own import imports
from backtests.own.beginnings import KINDS
from backtests.own.folder import StrategyFile
from backtests.own.rehearsal import BEGIN, MINUTE, quotes
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.own_strategies import write_signal
from kalshi_insights.embedded import BASE_DIR


@pytest.fixture(autouse=True)
def folder(tmp_path, settings):
    settings.STRATEGIES_PATH = tmp_path / "mine" / "strategies"
    return settings.STRATEGIES_PATH


def said(*words):
    out = StringIO()
    call_command("newstrategy", *words, stdout=out)
    return out.getvalue()


def refused(*words):
    with pytest.raises(CommandError) as caught:
        said(*words)
    assert caught.value.returncode == 2
    return str(caught.value)


def test_both_kinds_are_in_the_catalogue_at_once(folder):
    said("cheap-side")
    said("patient-side", "--kind", "strategy")
    cheap, patient = catalogue.own()
    assert (cheap.name, cheap.kind, cheap.error) == ("cheap-side", "signal", "")
    assert (patient.name, patient.kind, patient.error) == ("patient-side", "event-driven", "")


def test_their_tests_pass_without_the_services_of_the_site(folder):
    for kind in KINDS:
        said(f"a-{kind}", "--kind", kind)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=BASE_DIR, env={"PATH": "", "HOME": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "6 passed" in ran.stdout, ran.stdout


def test_both_count_what_stood_in_the_way_of_an_order(folder):
    said("cheap-side")
    said("patient-side", "--kind", "strategy")
    dear = quotes([0.49] * 6, [0.51] * 6)
    counts = {}
    for name in ("cheap_side", "patient_side"):
        (strategy,) = imports.load(StrategyFile(f"{name}.py", folder))
        evaluation = Evaluation(
            dear, strategy, {}, ExecutionModel(), cash=MONEY, start=BEGIN, end=BEGIN + MINUTE,
            in_kernel=False,
        )  # fmt: skip
        outcome = evaluation.annotated(evaluation.run(FillModel.EXPECTED, lambda share: None))
        counts[name] = [(c.name, c.asked, c.held) for c in outcome.annotations.conditions]
    assert counts["cheap_side"] == [("a usual midpoint", 6, 2), ("cheaper than usual", 6, 0)]
    assert counts["patient_side"] == [("cheap", 6, 0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["strategy", "parameter", "ints", "x", "fade-2-sides"])
def test_any_name_that_is_taken_makes_a_class(folder, name, kind):
    said(name, "--kind", kind)
    (found,) = imports.load(StrategyFile(f"{name.replace('-', '_')}.py", folder))
    assert found.name == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Cheap-Side", "name: 'Cheap-Side' is no name: lower-case letters"),
        ("../cheap", "name: '../cheap' is no name"),
        ("cheap_side", "name: 'cheap_side' is no name"),
        ("cheap--side", "name: 'cheap--side' is no name"),
        ("2-sided", "name: '2-sided' is no name"),
        ("x" * 61, "is no name"),
        ("momentum", "name: A shipped strategy is called momentum."),
        ("class", "name: No strategy can be in a file called class.py."),
        ("test-it", "name: No strategy can be in a file called test_it.py."),
        ("signal", "name: Another module is called signal."),
        ("numpy", "name: Another module is called numpy."),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(folder, name, words):
    assert words in refused(name)
    assert not folder.exists()


def test_nothing_is_overwritten(folder):
    said("cheap-side")
    (folder / "cheap_side.py").write_text("mine")
    assert refused("cheap-side") == f"name: {folder}/cheap_side.py is there already."
    assert (folder / "cheap_side.py").read_text() == "mine"
    (folder / "test_dear_side.py").write_text("mine")
    assert "test_dear_side.py is there already" in refused("dear-side")
    assert not (folder / "dear_side.py").exists()


def test_a_name_that_a_file_of_the_folder_has_is_refused_too(folder):
    write_signal(folder, "mine.py")
    words = "name: mine.py has a strategy that is called cheap-side."
    assert refused("cheap-side") == words
    assert [path.name for path in folder.iterdir()] == ["mine.py"]


def test_where_not_all_can_be_written_nothing_is(folder):
    folder.mkdir(parents=True)
    (folder / "test_cheap_side.py").symlink_to(folder / "nowhere.py")
    assert "cannot be written to: File exists." in refused("cheap-side")
    assert [path.name for path in folder.iterdir()] == ["test_cheap_side.py"]


def test_a_configuration_of_ones_own_stays(folder):
    folder.mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -x\n")
    said("cheap-side")
    assert "addopts" in (folder / "pytest.ini").read_text()


def test_a_folder_that_cannot_be_made_is_told_of(settings, tmp_path):
    (tmp_path / "file").write_text("")
    settings.STRATEGIES_PATH = tmp_path / "file" / "strategies"
    assert "cannot be written to: Not a directory." in refused("cheap-side")
