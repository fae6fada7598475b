"""The analyses of backtrader's analyzers, as JSON that a result can keep."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from kalshi_insights.arrays import np
from kalshi_insights.bad_input import writable

MOST_CHARACTERS = 50_000
MOST_ANALYZERS = 12
MOST_DEPTH = 12

Analysis = Mapping[str, Any]


class Unstorable(ValueError):
    """An analysis that no result can keep; the message says why."""


def stored(read: Callable[[], Any]) -> Analysis:
    """Return an analysis under `analysis`, or under `refused` the words why it is not kept."""
    try:
        analysis = as_json(read())
    except Unstorable as fault:
        return {"refused": writable(str(fault))}
    characters = len(json.dumps(analysis))
    if characters > MOST_CHARACTERS:
        words = f"it has {characters:,} characters as JSON, and may have {MOST_CHARACTERS:,}"
        return {"refused": words}
    return {"analysis": analysis}


def as_json(value: Any, *, path: str = "", depth: int = 0) -> Any:
    """Return a value as JSON. Raises Unstorable for what is not finite, or is no value."""
    if depth > MOST_DEPTH:
        raise Unstorable(f"{path} is nested more than {MOST_DEPTH} times")
    if isinstance(value, Mapping):
        return {
            (name := _name(key)): as_json(each, path=_below(path, name), depth=depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)) or _is_array(value):
        return [
            as_json(each, path=_below(path, str(n)), depth=depth + 1)
            for n, each in enumerate(value)
        ]
    return _scalar(value, path or "it")


def _scalar(value: Any, path: str) -> Any:
    if _is_numpy(value):
        value = value.item()
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (float, Decimal)):
        if not math.isfinite(value):
            raise Unstorable(f"{path} is {value}, which is not finite")
        return float(value)
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return _scalar(value.value, path)
    raise Unstorable(f"{path} is of the type {type(value).__name__}, which JSON does not have")


def _name(key: Any) -> str:
    return writable(key.isoformat() if isinstance(key, date) else str(key))


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _is_numpy(value: Any) -> bool:
    return isinstance(value, np.generic)
