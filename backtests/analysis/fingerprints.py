"""Fingerprints of the code and the data behind a result: hashes that show what has changed."""

import hashlib
import inspect
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from backtests import strategies
from backtests.data.universe import QUOTE_COLUMNS, Universe
from kalshi_insights.arrays import Array

APP = Path(__file__).resolve().parent.parent
# The files that decide results; the rest of this app requests runs and shows them.
RULES = (
    "definitions.py",
    "loading.py",
    "models/*.py",
    "observing.py",
    "record.py",
    "requests.py",
    "runner.py",
    "signs_of_life.py",
    "traded.py",
    "analysis/*.py",
    "data/*.py",
    "engine/**/*.py",
    "metrics/*.py",
    "rules/*.py",
    "strategies/base.py",
    "strategies/indicators.py",
    "strategies/parameters.py",
    "../kalshi_insights/arrays.py",
    "../markets/intervals.py",
    "../markets/fees.py",
    "../markets/models/candlesticks.py",
    "../markets/models/definitions.py",
    "../markets/models/imported_periods.py",
    "../markets/models/markets.py",
    "../markets/coverage/*.py",
    "../markets/models/observations.py",
    "../markets/models/recording.py",
    "../markets/models/revisions.py",
    "../markets/models/snapshots.py",
    "../markets/models/scope.py",
    "../markets/models/storage.py",
    "../markets/models/tape.py",
    "../markets/models/tape_scope.py",
    "../markets/models/trades.py",
    "../markets/models/sweeps.py",
    "../markets/observed.py",
    "../markets/pages/*.py",
)
LIBRARIES = ("numpy", "numba", "backtrader")


def data_fingerprint(universe: Universe) -> dict[str, str]:
    """SHA-256 of each part of a universe."""
    return {
        "quotes": _of_arrays(getattr(universe.quotes, name) for name in QUOTE_COLUMNS),
        "observed": _of_arrays(universe.observed or ()),
        "gaps": _of_arrays(universe.gaps or ()),
        "tape": _of_arrays(universe.tape or ()),
        "candles": _of_arrays(universe.candles or ()),
    } | {
        part: hashlib.sha256(repr(list(getattr(universe, part))).encode()).hexdigest()
        for part in ("listings", "settlements", "terms", "grids")
    }


def _of_arrays(columns: Iterable[Array]) -> str:
    content = hashlib.sha256()
    for column in columns:
        content.update(np.ascontiguousarray(column))
    return content.hexdigest()


def code_fingerprint(strategy: strategies.StrategyClass) -> dict[str, str]:
    """SHA-256 of the rules and of the strategy, and the versions of the libraries.

    The files count as they were when this process loaded them, which is how it computes.
    """
    return {
        "rules": RULES_LOADED,
        "strategy": STRATEGIES_LOADED.get(strategy) or _of_strategy(strategy),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def rule_files() -> list[Path]:
    """The files that decide results, apart from the strategies.

    Raises FileNotFoundError where an entry of `RULES` matches nothing: a moved file must not drop
    out of the fingerprint unnoticed.
    """
    found: set[Path] = set()
    for pattern in RULES:
        matching = {path.resolve() for path in APP.glob(pattern)}
        if not matching:
            raise FileNotFoundError(f"no file matches {pattern}")
        found |= matching
    return sorted(found)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names under which two fingerprints differ, with both values where they are readable."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        was, is_now = before.get(name, "nothing"), now.get(name, "nothing")
        if was != is_now:
            is_hash = len(was) == len(is_now) == 64
            found.append(name if is_hash else f"{name} ({was}, now {is_now})")
    return found


def _of_strategy(strategy: strategies.StrategyClass) -> str:
    source = inspect.getsourcefile(strategy)
    return _of_files([Path(source)] if source else [])


def _of_files(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


RULES_LOADED = _of_files(rule_files())
STRATEGIES_LOADED = {each: _of_strategy(each) for each in strategies.STRATEGIES.values()}
