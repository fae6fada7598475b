"""Beginnings: a strategy of either kind as one starts from it, with a test that passes."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template

from backtests.own.folder import BadFolder, is_candidate, stated_names, strategy_files
from backtests.strategies import STRATEGIES
from kalshi_insights.bad_input import BadInput

KINDS = ("signal", "strategy")
HERE = Path(__file__).parent
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 60
# Names that the beginnings import.
IMPORTED = {"Signal", "Strategy", "Parameter", "Schema", "Ints"}
# With a configuration of its own, pytest needs none of the site's services.
PYTEST_INI = "[pytest]\n"


def write(name: str, kind: str, folder: Path) -> list[Path]:
    """Write a strategy and its test; return their paths. Raises BadInput, and then writes nothing.

    The folder is made where there is none.
    """
    module = _check_name(name)
    strategy, test = folder / f"{module}.py", folder / f"test_{module}.py"
    for path in (strategy, test, folder / module):
        if path.exists():
            raise BadInput("name", f"{path} is there already.")
    words = {"name": name, "module": module, "class_name": _class_name(name)}
    texts = {strategy: _text(f"{kind}.py.txt", words), test: _text(f"test_{kind}.py.txt", words)}
    if not (folder / "pytest.ini").exists():
        texts[folder / "pytest.ini"] = PYTEST_INI
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check_own(name, folder)
        _write_all(texts)
    except OSError as fault:
        raise BadInput("name", f"{folder} cannot be written to: {fault.strerror}.") from None
    return [strategy, test]


def _text(beginning: str, words: dict[str, str]) -> str:
    return Template((HERE / beginning).read_text()).substitute(words)


def _check_own(name: str, folder: Path) -> None:
    """Raise BadInput where a file of the folder states this name."""
    try:
        files = strategy_files(folder)
    except BadFolder as fault:
        raise BadInput("name", str(fault)) from None
    for file in files:
        if name in stated_names(file):
            raise BadInput("name", f"{file.name} has a strategy that is called {name}.")


def _write_all(texts: dict[Path, str]) -> None:
    """Write new files, or none of them. Raises OSError."""
    written = []
    try:
        for path, text in texts.items():
            with path.open("x") as file:
                written.append(path)
                file.write(text)
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _check_name(name: str) -> str:
    """Return the module of a new strategy. Raises BadInput."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise BadInput(
            "name",
            f"{name!r} is no name: lower-case letters, digits and single hyphens, at most"
            f" {LONGEST}, of which the first is a letter, such as cheap-side.",
        )
    if name in STRATEGIES:
        raise BadInput("name", f"A shipped strategy is called {name}.")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or not is_candidate(f"{module}.py"):
        raise BadInput("name", f"No strategy can be in a file called {module}.py.")
    if module in sys.stdlib_module_names or importlib.util.find_spec(module):
        raise BadInput("name", f"Another module is called {module}.")
    return module


def _class_name(name: str) -> str:
    camel = "".join(part.capitalize() for part in name.split("-"))
    return f"My{camel}" if camel in IMPORTED else camel
