"""What a result rests on, told by hashes: so that it can be said what has changed since."""

import hashlib
import inspect
import platform
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import numpy as np

from backtests import strategies
from backtests.data.universe import Quotes, Universe

APP = Path(__file__).resolve().parent.parent
# The files that decide about a result; everything else of this app asks for runs or shows them.
RULES = (
    "loading.py",
    "models.py",
    "querysets.py",
    "choosing.py",
    "runner.py",
    "analysis/*.py",
    "data/*.py",
    "engine/**/*.py",
    "metrics/*.py",
    "rules/*.py",
    "strategies/base.py",
    "strategies/indicators.py",
    "strategies/parameters.py",
    "../markets/intervals.py",
    "../markets/fees.py",
    "../markets/models/revisions.py",
)
LIBRARIES = ("numpy", "numba", "backtrader")


def of_data(universe: Universe) -> dict[str, str]:
    """SHA-256 of each part of a universe."""
    quotes = hashlib.sha256()
    for field in fields(Quotes):
        quotes.update(np.ascontiguousarray(getattr(universe.quotes, field.name)))
    parts = ("listings", "settlements", "terms", "grids")
    return {"quotes": quotes.hexdigest()} | {
        part: hashlib.sha256(repr(list(getattr(universe, part))).encode()).hexdigest()
        for part in parts
    }


def of_code(kind: strategies.Kind) -> dict[str, str]:
    """SHA-256 of the rules and of the strategy, and the versions of what computes."""
    own = inspect.getsourcefile(kind)
    return {
        "rules": _of_files(rules()),
        "strategy": _of_files([Path(own)] if own else []),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def rules() -> list[Path]:
    """The files that decide about a result, apart from its strategy.

    Raises FileNotFoundError where an entry of `RULES` matches none: a moved file must not drop
    out of the fingerprint without a word.
    """
    found: set[Path] = set()
    for pattern in RULES:
        matching = {path.resolve() for path in APP.glob(pattern)}
        if not matching:
            raise FileNotFoundError(f"no file matches {pattern}")
        found |= matching
    return sorted(found)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Under which names two fingerprints differ; with both values where people can read them."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        was, is_now = before.get(name, "nothing"), now.get(name, "nothing")
        if was != is_now:
            is_hash = len(was) == len(is_now) == 64
            found.append(name if is_hash else f"{name} ({was}, now {is_now})")
    return found


def _of_files(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
