"""Who may import whom, read off the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kalshi_insights", "markets", "backtests")

PURE = (
    "markets/prices.py",
    "markets/fees.py",
    "markets/intervals.py",
    "markets/kalshi/",
    "markets/simulator/",
    "markets/storage/manifest.py",
    "backtests/data/universe.py",
    "backtests/rules/execution.py",
    "backtests/rules/ledger.py",
    "backtests/engine/kernel_arrays.py",
    "backtests/engine/kernel.py",
    "backtests/engine/",
    "backtests/strategies/",
    "backtests/strategies/indicators.py",
    "backtests/metrics/",
    "backtests/analysis/lookahead.py",
    "backtests/analysis/counterfactuals.py",
    "backtests/analysis/search.py",
    "backtests/analysis/evaluation.py",
    "backtests/data/timeline.py",
    "backtests/rules/journal.py",
)
DATA = (
    "markets/models/",
    "markets/coverage/coverage.py",
    "markets/coverage/",
    "markets/storage/partitions.py",
    "markets/api/candlesticks.py",
    "kalshi_insights/export/copy.py",
    "kalshi_insights/export/postgres.py",
    "backtests/models.py",
    "backtests/record.py",
    "backtests/requests.py",
    "backtests/loading.py",
)
WORKFLOWS = (
    "markets.recording",
    "markets.backfill",
    "markets.storage.retention",
    "markets.storage.archive",
    "markets.storage.restore",
    "backtests.runner",
    "markets.importing",
)
TOOLKIT = (
    "kalshi_insights/admin.py",
    "kalshi_insights/commands.py",
    "kalshi_insights/embedded/",
    "kalshi_insights/export/",
    "kalshi_insights/htmx.py",
    "kalshi_insights/middleware/",
    "kalshi_insights/rest/",
    "kalshi_insights/token_bucket.py",
)
OUTSIDE = (
    "markets.kalshi.client",
    "markets.kalshi.factory",
    "markets.kalshi.signing",
    "kalshi_insights.token_bucket",
)
FACES = (
    "markets/views.py",
    "markets/api/viewsets.py",
    "markets/api/serializers.py",
    "markets/filters.py",
    "markets/charts.py",
    "markets/api/timeseries.py",
    "markets/api/examples.py",
    "markets/api/timeseries_serializers.py",
    "markets/api/timeseries_filters.py",
    "markets/templatetags/",
    "backtests/views.py",
    "backtests/api/viewsets.py",
    "backtests/api/serializers.py",
    "backtests/filters.py",
    "backtests/forms.py",
    "backtests/api/examples.py",
    "backtests/report.py",
    "backtests/templatetags/",
)
# The only rooms of `markets` that backtests read; `backtests/record.py` lists the reads.
READ_BY_BACKTESTS = (
    "markets.models",
    "markets.coverage",
    "markets.prices",
    "markets.fees",
    "markets.intervals",
)
DOORS = ("markets.tasks", "markets.admin", "markets.urls", "kalshi_insights.urls")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not {"tests", "migrations"} & set(path.parts):
                yield path.relative_to(ROOT)


def imported(path: Path) -> set[str]:
    """Every module a file imports, `from x import y` as both x and x.y."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def within(names: set[str], rooms: tuple[str, ...]) -> set[str]:
    return {name for name in names if any(f"{name}.".startswith(f"{room}.") for room in rooms)}


def belongs(path: Path, rooms: tuple[str, ...]) -> bool:
    return path.as_posix().startswith(rooms)


FILES = list(sources())


def test_there_is_something_to_look_at():
    assert len(FILES) > 30
    assert all(any(belongs(path, (room,)) for path in FILES) for room in (*DATA, *FACES, *TOOLKIT))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_room_imports_nothing_above_it(path):
    names = imported(path)
    if belongs(path, PURE):
        assert not within(
            names, ("django", "rest_framework", "celery", "markets.models", "backtests.models")
        )
    if belongs(path, DATA):
        assert not within(
            names, (*WORKFLOWS, *OUTSIDE, *DOORS, "markets.views", "markets.api.viewsets")
        )
    if belongs(path, FACES):
        assert not within(names, (*WORKFLOWS, *OUTSIDE))
    if belongs(path, TOOLKIT):
        assert not within(names, ("markets", "backtests"))
    if belongs(path, ("markets/",)):
        assert not within(names, ("backtests",))
    if belongs(path, ("backtests/",)):
        assert within(names, ("markets",)) - {"markets"} == within(names, READ_BY_BACKTESTS)


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("httpx", ("markets/kalshi/client.py",)),
        ("tenacity", ("markets/kalshi/client.py",)),
        (
            "backtrader",
            (
                "backtests/engine/event_driven/",
                "backtests/engine/plotting.py",
                "backtests/strategies/",
            ),
        ),
        ("numba", ("backtests/engine/kernel.py",)),
        ("tqdm", ("kalshi_insights/commands.py",)),
        ("matplotlib", ("backtests/engine/plotting.py",)),
        (
            "pyarrow",
            ("kalshi_insights/export/",),
        ),
        (
            "markets.simulator",
            ("markets/simulator/", "markets/management/commands/simulatekalshi.py"),
        ),
    ],
)
def test_a_library_has_one_home(library, rooms):
    users = [path for path in FILES if within(imported(path), (library,))]
    assert [path for path in users if not belongs(path, rooms)] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_function_imports(path):
    tree = ast.parse((ROOT / path).read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    local = [
        node.lineno
        for function in functions
        if function.name != "ready"
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert local == []


def test_only_settings_and_what_runs_before_them_read_the_environment():
    before = ("settings.py", "embedded/", "demo.py")
    readers = {
        path.as_posix()
        for path in FILES
        if not path.as_posix().startswith(tuple(f"kalshi_insights/{name}" for name in before))
        and (
            "os.environ[" in (text := (ROOT / path).read_text())
            or "environ.get" in text
            or "getenv" in text
        )
    }
    assert readers == set()


def test_catch_alls_stand_in_two_places_only():
    found = [
        path.as_posix()
        for path in FILES
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in ("Exception", "BaseException"))
    ]
    assert set(found) <= {"markets/recording/recorder.py", "backtests/runner.py"}
    assert len(found) <= 2
