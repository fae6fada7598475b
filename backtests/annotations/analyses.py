"""The analyses of backtrader's analyzers, as JSON that a result can keep."""

import json
import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from itertools import count
from pathlib import Path
from typing import Any

from backtests.own.machine_paths import words_of
from kalshi_insights.arrays import np
from kalshi_insights.bad_input import writable

MOST_CHARACTERS = 50_000
MOST_VALUES = MOST_CHARACTERS // 2  # a value and a comma
MOST_ANALYZERS = 12
MOST_DEPTH = 12
MOST_WORDS = 300
# Raised by an analyzer that cannot make sense of a run, such as of one that lost everything.
ANALYZER_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
LARGEST_WHOLE = 2**63

Analysis = Mapping[str, Any]


class Unstorable(ValueError):
    """An analysis that no result can keep; the message says why."""


def stored(read: Callable[[], Any]) -> Analysis:
    """Return an analysis under `analysis`, or under `refused` the words why it is not kept."""
    try:
        value = read()
    except ANALYZER_ERRORS as error:
        return failed(error)
    try:
        analysis = JsonAnalysis().value(value)
    except Unstorable as fault:
        return {"refused": writable(str(fault))}
    characters = len(json.dumps(analysis))
    if characters > MOST_CHARACTERS:
        words = f"it has {characters:,} characters as JSON, and may have {MOST_CHARACTERS:,}"
        return {"refused": words}
    return {"analysis": analysis}


def failed(error: Exception) -> Analysis:
    """Say in words for the result why there is no analysis: the analyzer raised an error."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {words_of(error)}"[:MOST_WORDS]
    words = f"it raised {said} ({Path(place.filename).name}, line {place.lineno})"
    return {"refused": writable(words)}


class JsonAnalysis:
    """One analysis on its way to JSON, which counts its values."""

    def __init__(self) -> None:
        self._counted = count(1)

    def value(self, value: Any, *, path: str = "", depth: int = 0) -> Any:
        """Return a value as JSON. Raises Unstorable for what is not finite, or is no value."""
        if next(self._counted) > MOST_VALUES:
            raise Unstorable(f"it has more than {MOST_VALUES:,} values")
        if depth > MOST_DEPTH:
            raise Unstorable(f"{path} is nested more than {MOST_DEPTH} times")
        if isinstance(value, np.ndarray) and not value.ndim:
            value = value[()]
        if isinstance(value, Mapping):
            return self._named(value.items(), path=path, depth=depth)
        if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
            return [
                self.value(each, path=_below(path, str(n)), depth=depth + 1)
                for n, each in enumerate(value)
            ]
        return _scalar(value, path or "it")

    def _named(self, items: Iterable[tuple[Any, Any]], *, path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            name = _name(key, path or "it")
            if name in found:
                raise Unstorable(f"{_below(path, name)} is there twice as JSON")
            found[name] = self.value(value, path=_below(path, name), depth=depth + 1)
        return found


def _scalar(value: Any, path: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        return _scalar(value.value, path)
    if isinstance(value, int):
        return _whole(value, path)
    if isinstance(value, (float, Decimal)):
        if (isinstance(value, Decimal) and value.is_nan()) or not math.isfinite(value):
            raise Unstorable(f"{path} is {value}, which is not finite")
        return float(value)
    if value is None:
        return value
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, date):
        return value.isoformat()
    raise Unstorable(f"{path} is of the type {type(value).__name__}, which JSON does not have")


def _whole(value: int, path: str) -> int:
    """Return a whole number, or true or false. Raises Unstorable for one of too many digits."""
    if abs(value) >= LARGEST_WHOLE:
        raise Unstorable(f"{path} is a whole number of more than 63 bits")
    return value


def _name(key: Any, path: str) -> str:
    if isinstance(key, int):
        _whole(key, f"a name in {path}")
    return writable(key.isoformat() if isinstance(key, date) else str(key))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
