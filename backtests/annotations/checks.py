"""Names, numbers and columns that a strategy states, checked where it states them."""

import inspect
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from kalshi_insights.arrays import np
from kalshi_insights.bad_input import writable

MOST_NAME_CHARACTERS = 60


class BadAnnotation(ValueError):
    """A strategy stated what cannot be kept; the message names the argument."""


def name_of(argument: str, value: Any) -> str:
    """Return a name as it is stored. Raises BadAnnotation."""
    if not isinstance(value, str) or not value.strip():
        raise BadAnnotation(f"{argument} must be a name, not {value!r}")
    if len(value) > MOST_NAME_CHARACTERS:
        raise BadAnnotation(
            f"{argument} must have at most {MOST_NAME_CHARACTERS} characters, not {len(value):,}"
        )
    return writable(value)


def names_of(argument: str, values: Iterable[Any]) -> list[str]:
    """Return names as they are stored. Raises BadAnnotation for two that are stored as one."""
    names = [name_of(argument, value) for value in values]
    for name in names:
        if names.count(name) > 1:
            raise BadAnnotation(f"{argument}: {name!r} is there twice")
    return names


def number_or_nan(argument: str, value: Any) -> float:
    """Return a finite number, or NaN for none. Raises BadAnnotation."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise BadAnnotation(f"{argument} must be a number, not {value!r}") from None
    if math.isinf(number):
        raise BadAnnotation(f"{argument} must be finite, or NaN for none, not {value}")
    return number


def probability(value: Any) -> float:
    """Return a probability, or NaN for none. Raises BadAnnotation."""
    number = number_or_nan("probability", value)
    if number < 0 or number > 1:
        raise BadAnnotation(f"probability must be from 0 to 1, or NaN for none, not {value}")
    return number


def column(stated_by: Callable[..., Any], values: Any, *, rows: int, what: str = "") -> Any:
    """Return one value for each row. Raises BadAnnotation, which names the method."""
    array = np.asarray(values)
    if array.shape != (rows,):
        shape = f"{len(array):,} values" if array.ndim == 1 else f"the shape {array.shape}"
        of = f" for {what!r}" if what else ""
        raise BadAnnotation(f"{named(stated_by)} must return {rows:,} values{of}, not {shape}")
    return array


def named(stated_by: Callable[..., Any]) -> str:
    """Name a method, its file and its line."""
    code = inspect.unwrap(getattr(stated_by, "__func__", stated_by)).__code__
    return f"{stated_by.__name__}() ({Path(code.co_filename).name}, line {code.co_firstlineno})"
