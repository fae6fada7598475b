"""The rooms of the code keep to their walls, as the syntax trees show."""

import ast
import tomllib
from collections import defaultdict

import pytest

from tests.rooms import (
    BELOW,
    EDGES,
    FILES,
    HOMES,
    NOT_IN,
    PACKAGES,
    READS_ENVIRONMENT,
    ROOMS,
    ROOT,
    TREES,
    imports,
    own_imports,
    room_of,
    within,
)


@pytest.mark.parametrize("path", FILES)
def test_every_module_is_in_a_room_and_imports_nothing_above_it(path):
    room = room_of(path)
    assert room is not None
    above = {file for file in own_imports(path) if room_of(file) not in {room, *BELOW[room]}}
    assert above == set()
    assert within(imports(path), NOT_IN.get(room, ())) == set()


@pytest.mark.parametrize("prefix", [prefix for prefixes in ROOMS.values() for prefix in prefixes])
def test_every_path_of_a_room_matches_a_file(prefix):
    assert any(path.startswith(prefix) for path in FILES)


def test_markets_never_imports_backtests():
    assert [
        p for p in FILES if p.startswith("markets/") and within(imports(p), ("backtests",))
    ] == []


def test_no_other_app_imports_accounts():
    importers = [path for path in FILES if within(imports(path), ("accounts",))]
    assert [p for p in importers if p.startswith(("markets/", "backtests/"))] == []


def test_backtests_reads_markets_through_its_data_and_pure_rooms_only():
    elsewhere = {
        (path, file)
        for path in FILES
        if path.startswith("backtests/")
        for file in own_imports(path)
        if file.startswith("markets/") and room_of(file) not in ("data", "pure")
    }
    assert elsewhere == set()


def test_the_toolkit_imports_no_app():
    toolkit = [path for path in FILES if room_of(path) == "toolkit"]
    assert [path for path in toolkit if within(imports(path), PACKAGES[1:])] == []


def test_no_circle_of_files():
    """Tarjan's strongly connected components would name the circles; peeling leaves finds them."""
    arrows = {path: own_imports(path) for path in FILES}
    while leaves := {path for path, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {path: targets for path, targets in arrows.items() if path not in leaves}
    in_or_behind = set(arrows)
    while roots := in_or_behind - {f for p in in_or_behind for f in arrows[p]}:
        in_or_behind -= roots
    assert in_or_behind == set()


def test_a_class_name_stands_in_one_module():
    homes = defaultdict(set)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name not in ("Meta", "Command"):
                homes[node.name].add(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(("library", "home"), HOMES.items())
def test_a_library_has_one_home(library, home):
    users = [path for path in FILES if within(imports(path), (library,))]
    assert [path for path in users if not path.startswith(home)] == []
    assert all(any(path.startswith(entry) for path in users) for entry in home)


@pytest.mark.parametrize("path", FILES)
def test_no_function_imports(path):
    functions = [
        node
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name != "ready"
    ]
    local = [
        node.lineno
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert local == []


def test_only_settings_and_what_runs_before_them_read_the_environment():
    readers = {
        path
        for path in FILES
        if any(
            word in (ROOT / path).read_text() for word in ("os.environ[", "environ.get", "getenv")
        )
    }
    assert {path for path in readers if not path.startswith(READS_ENVIRONMENT)} == set()


def test_only_the_edges_catch_any_failure():
    catchers = [
        path
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    ]
    assert sorted(catchers) == sorted(EDGES)


def test_every_exception_of_lint_and_types_matches_a_file():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    patterns = [
        expanded
        for pattern in config["ruff"]["lint"]["per-file-ignores"]
        for expanded in alternatives(pattern)
    ]
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []
    modules = [
        module
        for override in config["mypy"]["overrides"]
        for module in override["module"]
        if module.split(".")[0] in (*PACKAGES, "*", "tests")
    ]
    files = [f"{module.replace('.', '/').replace('*', '**')}" for module in modules]
    unmatched = [
        file
        for file in files
        if not (any(ROOT.glob(f"{file}.py")) or any(ROOT.glob(f"{file}/*.py")))
    ]
    assert unmatched == []


def alternatives(pattern: str) -> list[str]:
    """Expand `a/{b,c}.py` into `a/b.py` and `a/c.py`, which glob does not."""
    head, brace, rest = pattern.partition("{")
    if not brace:
        return [pattern]
    inner, _, tail = rest.partition("}")
    return [f"{head}{each}{tail}" for each in inner.split(",")]
