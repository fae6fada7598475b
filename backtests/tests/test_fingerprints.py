"""Fingerprints of the code and the data behind a result."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backtests import runner
from backtests.analysis import fingerprints
from backtests.tests.random_universes import random_universe, watched

ROOT = fingerprints.APP.parent


def computing_modules() -> set[str]:
    """Our modules that a run computes with: those that `runner` uses, and those that they use."""
    covered: set[str] = set()
    waiting = {runner.__name__}
    while waiting:
        covered.add(name := waiting.pop())
        waiting |= used(name) - covered
    return covered


def used(name: str) -> set[str]:
    values = vars(sys.modules[name]).values()
    names = {str(getattr(value, "__module__", getattr(value, "__name__", ""))) for value in values}
    return {each for each in names if each.startswith("backtests.")}


def test_whatever_a_run_computes_with_is_part_of_its_rules_but_for_other_strategies():
    rules = set(fingerprints.rule_files())
    missing = {
        each
        for each in computing_modules()
        if Path(str(sys.modules[each].__file__)).resolve() not in rules
        and not each.startswith("backtests.strategies")
    }
    assert not missing


@pytest.mark.parametrize(
    "path",
    [
        "backtests/engine/kernel_arrays.py",
        "backtests/analysis/evaluation.py",
        "backtests/rules/journal.py",
        "backtests/requests.py",
        "backtests/strategies/base.py",
        "kalshi_insights/arrays.py",
        "markets/fees.py",
        "markets/coverage/silences.py",
        "markets/intervals.py",
        "markets/models/imported_periods.py",
        "markets/models/revisions.py",
        "markets/models/storage.py",
    ],
)
def test_the_rules_are_in_these_too(path):
    assert ROOT / path in fingerprints.rule_files()


def test_an_entry_that_matches_no_file_is_an_error(monkeypatch):
    monkeypatch.setattr(fingerprints, "RULES", (*fingerprints.RULES, "moved/*.py"))
    with pytest.raises(FileNotFoundError, match="moved"):
        fingerprints.rule_files()


def test_what_only_shows_a_run_is_no_rule_of_it():
    shown = {"backtests/views.py", "backtests/report.py", "backtests/strategies/momentum.py"}
    assert not {ROOT / each for each in shown} & set(fingerprints.rule_files())


# Prints the fingerprints of a process in which a file is changed after it was loaded.
FINGERPRINT = """
import json, sys
from pathlib import Path
from backtests.analysis.fingerprints import code_fingerprint
from backtests.strategies.momentum import Momentum

for path in map(Path, sys.argv[1:]):
    path.write_text(path.read_text() + "# changed")
print(json.dumps(code_fingerprint(Momentum)))
"""


def test_a_fingerprint_is_that_of_the_code_which_the_process_has_loaded(tmp_path):
    for package in ("backtests", "markets", "kalshi_insights"):
        shutil.copytree(ROOT / package, tmp_path / package)

    def fingerprint(*changed):
        command = [sys.executable, "-W", "ignore", "-c", FINGERPRINT, *changed]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        return json.loads(ran.stdout)

    before = fingerprint()
    assert fingerprint("markets/fees.py", "backtests/strategies/momentum.py") == before
    after = fingerprint()
    assert after["rules"] != before["rules"]
    assert after["strategy"] != before["strategy"]


def test_observations_and_gaps_are_part_of_the_data():
    universe = random_universe(1, markets=3, rows=30)
    seen = watched(universe, 1)
    assert seen.observed is not None
    assert seen.gaps is not None
    fewer = seen.observed._replace(until=seen.observed.until - 1)
    shorter = seen.gaps._replace(until=seen.gaps.until - 1)
    whole = fingerprints.data_fingerprint(seen)
    for other, part in (({"observed": fewer}, "observed"), ({"gaps": shorter}, "gaps")):
        changed = fingerprints.data_fingerprint(replace(seen, **other))
        assert fingerprints.differences(whole, changed) == [part]
