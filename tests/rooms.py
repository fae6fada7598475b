"""The rooms of the code, and which room may import which.

`docs/architecture/README.md` draws them, `tests/test_rooms.py` holds the code to them, and
`make rooms` prints the files and lines of each. A module belongs to the room with the longest
matching path, so that a new file is in a room from birth.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kalshi_insights", "accounts", "markets", "backtests")

ROOMS = {
    "doors": (
        "kalshi_insights/__init__.py",
        "kalshi_insights/api.py",
        "kalshi_insights/asgi.py",
        "kalshi_insights/demo.py",
        "kalshi_insights/health.py",
        "kalshi_insights/settings.py",
        "kalshi_insights/urls.py",
        "kalshi_insights/wsgi.py",
        "accounts/__init__.py",
        "accounts/admin.py",
        "accounts/apps.py",
        "accounts/management/",
        "accounts/tasks.py",
        "accounts/urls.py",
        "markets/__init__.py",
        "markets/admin.py",
        "markets/apps.py",
        "markets/management/",
        "markets/tasks.py",
        "markets/urls.py",
        "backtests/__init__.py",
        "backtests/admin.py",
        "backtests/apps.py",
        "backtests/management/",
        "backtests/tasks.py",
        "backtests/urls.py",
    ),
    "faces": (
        "accounts/api/",
        "accounts/forms.py",
        "accounts/sign_in.py",
        "accounts/views.py",
        "markets/api/",
        "markets/charts.py",
        "markets/event_views.py",
        "markets/filters.py",
        "markets/forms.py",
        "markets/overview.py",
        "markets/templatetags/",
        "markets/views.py",
        "backtests/api/",
        "backtests/filters.py",
        "backtests/forms.py",
        "backtests/report.py",
        "backtests/report_figures.py",
        "backtests/search_forms.py",
        "backtests/search_report.py",
        "backtests/search_views.py",
        "backtests/templatetags/",
        "backtests/views.py",
    ),
    "workflows": (
        "markets/backfill/",
        "markets/importing/",
        "markets/recording/",
        "markets/storage/",
        "backtests/hung_runs.py",
        "backtests/processes.py",
        "backtests/runner.py",
        "backtests/searches/",
        "backtests/signs_of_life.py",
    ),
    "data": (
        "accounts/models.py",
        "markets/calibration/breakdown.py",
        "markets/calibration/charges.py",
        "markets/calibration/markets.py",
        "markets/calibration/observations.py",
        "markets/calibration/reading.py",
        "markets/calibration/report.py",
        "markets/coverage/",
        "markets/models/",
        "markets/storage/__init__.py",
        "markets/storage/partitions.py",
        "backtests/catalogue.py",
        "backtests/charted_series.py",
        "backtests/definitions.py",
        "backtests/further.py",
        "backtests/loading.py",
        "backtests/models/",
        "backtests/observing.py",
        "backtests/own/kept.py",
        "backtests/traded.py",
        "backtests/record.py",
        "backtests/requests.py",
        "backtests/searches/__init__.py",
        "backtests/searches/requests.py",
    ),
    "outside": (
        "markets/kalshi/client.py",
        "markets/kalshi/factory.py",
        "markets/kalshi/signing.py",
    ),
    "pure": (
        "markets/calibration/",
        "markets/fees.py",
        "markets/intervals.py",
        "markets/kalshi/",
        "markets/observed.py",
        "markets/outcomes.py",
        "markets/pages/",
        "markets/prices.py",
        "markets/simulator/",
        "backtests/analysis/",
        "backtests/annotations/",
        "backtests/data/",
        "backtests/engine/",
        "backtests/metrics/",
        "backtests/own/",
        "backtests/rules/",
        "backtests/strategies/",
    ),
    "toolkit": (
        "kalshi_insights/admin.py",
        "kalshi_insights/arrays.py",
        "kalshi_insights/bad_input.py",
        "kalshi_insights/celery.py",
        "kalshi_insights/commands.py",
        "kalshi_insights/embedded/",
        "kalshi_insights/export/",
        "kalshi_insights/htmx.py",
        "kalshi_insights/lazy.py",
        "kalshi_insights/middleware/",
        "kalshi_insights/processes/",
        "kalshi_insights/rest/",
        "kalshi_insights/serving/",
        "kalshi_insights/token_bucket.py",
    ),
}
# The rooms below each room: those that its modules may import besides their own.
BELOW = {
    "doors": {"faces", "workflows", "data", "outside", "pure", "toolkit"},
    "faces": {"data", "pure", "toolkit"},
    "workflows": {"data", "outside", "pure", "toolkit"},
    "data": {"pure", "toolkit"},
    "outside": {"pure", "toolkit"},
    "pure": {"toolkit"},
    "toolkit": set(),
}
# Libraries that some rooms do without, and libraries that have one home.
NOT_IN = {"pure": ("django", "rest_framework", "celery", "httpx"), "outside": ("django",)}
HOMES = {
    "httpx": ("markets/kalshi/client.py",),
    "tenacity": ("markets/kalshi/client.py",),
    "backtrader": ("backtests/engine/event_driven/", "backtests/strategies/"),
    "numba": ("backtests/engine/compiled.py",),
    "matplotlib": ("backtests/engine/plotting.py",),
    "numpy": (
        "kalshi_insights/arrays.py",
        "backtests/analysis/",
        "backtests/data/universe.py",
        "backtests/engine/",
        "backtests/loading.py",
        "backtests/searches/results.py",
        "markets/simulator/",
    ),
    "pandas": ("markets/importing/",),
    "pyarrow": ("kalshi_insights/export/", "markets/importing/"),
    "allauth": ("accounts/forms.py", "accounts/urls.py", "accounts/views.py"),
    "knox": ("accounts/models.py", "kalshi_insights/rest/authentication.py"),
    "tqdm": ("kalshi_insights/commands.py",),
    "markets.simulator": ("markets/simulator/", "markets/management/commands/simulatekalshi.py"),
}
# The edges where any failure is caught, because each of them records it and goes on.
EDGES = (
    "markets/recording/recorder.py",
    "backtests/hung_runs.py",
    "backtests/own/imports.py",
    "backtests/runner.py",
    "backtests/searches/points.py",
    "backtests/searches/results.py",
    "backtests/searches/runner.py",
)
READS_ENVIRONMENT = (
    "kalshi_insights/processes/checkhealth.py",
    "kalshi_insights/demo.py",
    "kalshi_insights/embedded/",
    "kalshi_insights/settings.py",
    "kalshi_insights/processes/supervisor.py",
)


def sources() -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not {"tests", "migrations"} & set(path.parts):
                yield path.relative_to(ROOT).as_posix()


FILES = list(sources())
TREES = {path: ast.parse((ROOT / path).read_text()) for path in FILES}


def file_of(module: str) -> str | None:
    base = module.replace(".", "/")
    return next((p for p in (f"{base}.py", f"{base}/__init__.py") if p in TREES), None)


def imports(path: str) -> set[str]:
    """Every module that a file names: `from x import y` as both x and x.y."""
    names = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def own_imports(path: str) -> set[str]:
    """The files of ours that a file imports; of `from package import module`, the module's."""
    files = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            files |= {file_of(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = file_of(node.module)
            files |= {file_of(f"{node.module}.{alias.name}") or whole for alias in node.names}
    return {file for file in files if file and file != path}


def room_of(path: str) -> str | None:
    matches = [
        (len(prefix), room)
        for room, prefixes in ROOMS.items()
        for prefix in prefixes
        if path.startswith(prefix)
    ]
    return max(matches)[1] if matches else None


def within(names: set[str], libraries: tuple[str, ...]) -> set[str]:
    return {name for name in names if any(f"{name}.".startswith(f"{each}.") for each in libraries)}


def main() -> None:
    """Print the files and lines of every room as a Markdown table."""
    table = ["| room | files | lines |", "|---|---|---|"]
    for room, prefixes in ROOMS.items():
        files = [path for path in FILES if room_of(path) == room]
        lines = sum((ROOT / path).read_text().count("\n") for path in files)
        names = ", ".join(f"`{prefix}`" for prefix in prefixes if "__init__" not in prefix)
        table.append(f"| {room}: {names} | {len(files)} | {lines:,} |")
    sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
