"""Fingerprints of the code and the data behind a result: hashes that show what has changed."""

import hashlib
import inspect
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from backtests import strategies
from backtests.data.by_market import ByMarket
from backtests.data.open_interest import OpenInterest
from backtests.data.recorded_books import RecordedBooks
from backtests.data.universe import QUOTE_COLUMNS, Universe
from backtests.own.imports import contents_of
from kalshi_insights.arrays import Array

APP = Path(__file__).resolve().parent.parent
# The files that decide results; the rest of this app requests runs and shows them.
RULES = (
    "definitions.py",
    "further.py",
    "loading.py",
    "catalogue.py",
    "charted_series.py",
    "models/*.py",
    "observing.py",
    "record.py",
    "requests.py",
    "runner.py",
    "signs_of_life.py",
    "traded.py",
    "analysis/*.py",
    "annotations/*.py",
    "data/*.py",
    "engine/**/*.py",
    "metrics/*.py",
    "own/*.py",
    "rules/*.py",
    "strategies/base.py",
    "strategies/indicators.py",
    "strategies/parameters.py",
    "strategies/record_view.py",
    "strategies/statements.py",
    "../kalshi_insights/arrays.py",
    "../markets/intervals.py",
    "../markets/fees.py",
    "../markets/models/candlesticks.py",
    "../markets/models/definitions.py",
    "../markets/models/imported_periods.py",
    "../markets/models/imports.py",
    "../markets/models/markets.py",
    "../markets/coverage/*.py",
    "../markets/models/observations.py",
    "../markets/models/open_interest.py",
    "../markets/models/order_books.py",
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


def fingerprint_of_asked(universe: Universe) -> dict[str, str]:
    """SHA-256 of what strategies have asked for so far beside the quotes, as far as they have."""
    kinds: dict[str, ByMarket[OpenInterest] | ByMarket[RecordedBooks] | None] = {
        "open interest": universe.interest,
        "order books": universe.books,
    }
    read: dict[str, list[tuple[int, OpenInterest | RecordedBooks]]] = {
        name: list(values.read_already()) for name, values in kinds.items() if values
    }
    return {
        name: _of_arrays(
            column for market, value in values for column in (np.array(market), *value.columns())
        )
        for name, values in read.items()
        if values
    }


def _of_arrays(columns: Iterable[Array]) -> str:
    content = hashlib.sha256()
    for column in columns:
        content.update(np.ascontiguousarray(column))
    return content.hexdigest()


def code_fingerprint(strategy: strategies.StrategyClass) -> dict[str, str]:
    """SHA-256 of the rules and of the strategy, and the versions of the libraries.

    The files count as they were when this process loaded them, which is how it computes. Of a
    strategy of one's own, each file that was imported along with it has a hash of its own.
    """
    own = contents_of(strategy)
    return {
        "rules": RULES_LOADED,
        "strategy": STRATEGIES_LOADED.get(strategy) or _of_contents(own) or _of_strategy(strategy),
        **{f"strategy/{name}": _of_contents({name: each}) for name, each in own.items()},
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
    return _of_named((path.name, path.read_bytes()) for path in paths)


def _of_contents(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of files by their names; empty where there are none."""
    return _of_named(contents.items()) if contents else ""


def _of_named(contents: Iterable[tuple[str, bytes]]) -> str:
    found = hashlib.sha256()
    for name, content in contents:
        found.update(name.encode() + b"\0" + content + b"\0")
    return found.hexdigest()


RULES_LOADED = _of_files(rule_files())
STRATEGIES_LOADED = {each: _of_strategy(each) for each in strategies.STRATEGIES.values()}
