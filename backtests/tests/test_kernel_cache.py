"""The kernel's compiled code goes by the rules as they are, wherever it is kept."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numba
import pytest

from backtests.engine import compiled
from backtests.engine.kernel_cache import ROOT

# Prints the most that ten contracts can cost at 45 cents, in millionths of a dollar. The function
# stands in `kernel_money.py` and has the rule of `fees.py` compiled into it.
COST = """
import numba
from backtests.engine import kernel_arrays, kernel_money, kernel_state
from backtests.rules.execution import ExecutionModel, FillModel
from backtests.tests.test_execution import NOW, USUAL, book, universe_of

universe, model = universe_of(book(42, 45), terms=USUAL), ExecutionModel()
run = kernel_state.KernelRun(
    kernel_arrays.tables_of(universe, model),
    kernel_arrays.rules(model, FillModel.EXPECTED),
    *kernel_state.initial_state(1, 10**9), kernel_state.empty_journal(1),
)
cost_bound, spot = kernel_money.cost_bound, kernel_state.Spot(NOW, 0, 0)

@numba.njit
def most_cost(run, spot):
    return cost_bound(run, spot, run.states[0], 1, 1_000, 4_500)

print(most_cost(run, spot))
"""
FLOW = """
import numba
from backtests.engine import compiled

flow = compiled.flow
print(numba.njit(lambda: flow(0, 1, 100, 5_000))())
"""
# Prints the files of the functions that numba compiles, then the files that the hash covers.
FILES = """
from pathlib import Path
import sys
from backtests.engine import kernel, kernel_cache

engine = [module for name, module in sys.modules.items() if name.startswith("backtests.engine.")]
named = [each for module in engine for each in vars(module).values()]
functions = [each.py_func for each in named if hasattr(each, "py_func")]
for paths in (
    {Path(each.__code__.co_filename) for each in functions},
    kernel_cache.compiled_in(Path(kernel.__file__)),
):
    print(*sorted(path.name for path in paths))
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the code, which a test may change."""
    for package in ("backtests", "markets", "kalshi_insights"):
        shutil.copytree(
            ROOT / package,
            tmp_path / "code" / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return tmp_path / "code"


def output(tree: Path, code: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-B", "-c", code],
        cwd=tree,
        env={**os.environ, "NUMBA_CACHE_DIR": "", "NUMBA_DISABLE_JIT": "0", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def compiled_files(folder: Path) -> set[Path]:
    return set(folder.rglob("*.nbc"))


def test_a_changed_rule_counts_although_the_kernel_was_compiled_before(tree, tmp_path):
    kept = tmp_path / "kept"
    assert output(tree, COST, NUMBA_CACHE_DIR=str(kept)) == str(4_500_000 + 173_250 + 200)
    fees = tree / "markets" / "fees.py"
    rules = fees.read_text()
    doubled = rules.replace("exact = -(-numerator", "exact = -(-2 * numerator")
    assert doubled != rules
    fees.write_text(doubled)
    assert output(tree, COST, NUMBA_CACHE_DIR=str(kept)) == str(4_500_000 + 346_500 + 200)
    assert len(list(kept.iterdir())) == 1  # what was compiled from the old rules is gone


def test_unchanged_rules_are_not_compiled_again(tree, tmp_path):
    kept = tmp_path / "kept"
    assert output(tree, FLOW, NUMBA_CACHE_DIR=str(kept)) == "-500000"
    written = {path: path.stat().st_mtime_ns for path in compiled_files(kept)}
    assert written
    assert output(tree, FLOW, NUMBA_CACHE_DIR=str(kept)) == "-500000"
    assert {path: path.stat().st_mtime_ns for path in compiled_files(kept)} == written


def test_two_installations_share_a_folder_without_removing_each_others_code(tree, tmp_path):
    kept, other = tmp_path / "kept", tmp_path / "other"
    shutil.copytree(tree, other)
    fees = other / "markets" / "fees.py"
    fees.write_text(fees.read_text() + "# another version\n")
    output(tree, FLOW, NUMBA_CACHE_DIR=str(kept))
    compiled = compiled_files(kept)
    output(other, FLOW, NUMBA_CACHE_DIR=str(kept))
    assert compiled < compiled_files(kept)


def test_compiled_code_lies_beside_the_kernel_where_nobody_chose_a_folder(tree, tmp_path):
    output(tree, FLOW, HOME=str(tmp_path / "home"))
    assert compiled_files(tree / "backtests" / "engine" / "__pycache__")
    assert not compiled_files(tmp_path / "home")


def read_only(tree: Path) -> None:
    """Leave no place for compiled code beside the kernel, for the superuser neither."""
    (tree / "backtests" / "engine" / "__pycache__").write_text("not a folder")


def test_code_that_cannot_be_written_to_has_its_compiled_code_in_the_home(tree, tmp_path):
    read_only(tree)
    assert output(tree, FLOW, HOME=str(tmp_path / "home")) == "-500000"
    assert compiled_files(tmp_path / "home")


def test_where_nothing_can_be_written_the_kernel_runs_all_the_same(tree, tmp_path):
    read_only(tree)
    (tmp_path / "home").write_text("not a folder")
    nowhere = str(tmp_path / "home")
    assert output(tree, FLOW, HOME=nowhere, NUMBA_CACHE_DIR=nowhere) == "-500000"


def test_every_function_that_is_compiled_comes_from_a_file_that_counts(tree):
    compiled, counted = output(tree, FILES).splitlines()
    assert compiled.split() == [
        "arrays.py", "candles.py", "execution.py", "fees.py", "gaps.py", "kernel.py",
        "kernel_arrivals.py", "kernel_books.py", "kernel_money.py", "kernel_orders.py",
        "kernel_resting.py", "kernel_state.py", "ledger.py", "observed.py", "queue.py", "tape.py",
        "untaped.py",
    ]  # fmt: skip
    assert {*compiled.split(), "kernel_arrays.py", "universe.py"} <= set(counted.split())


def test_a_function_is_compiled_once_whatever_constants_it_is_called_with():
    flow = cast(Any, compiled.flow)
    assert numba.njit(lambda: flow(0, 1, 100, 5_000) + flow(0, -1, 200, 5_000))() == -1_500_000
    assert len(flow.signatures) == 1
