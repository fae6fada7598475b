"""Parameter search: the values to try, and their combinations."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any

from backtests.strategies.base import Signal
from backtests.strategies.parameters import BadParameter

MAX_COMBINATIONS = 100_000
MAX_STEPS = 10_000


def parse_values(name: str, text: str) -> list[str]:
    """`0.1,0.2,0.3`, or `0.1:0.3:0.1` from the first to the last by a step. Raises BadParameter."""
    if ":" not in text:
        return [value.strip() for value in text.split(",")]
    try:
        first, last, step = map(Decimal, text.split(":"))
    except (ValueError, InvalidOperation):
        raise BadParameter(name, "Write a range as first:last:step.") from None
    if not all(number.is_finite() for number in (first, last, step)) or step <= 0 or last < first:
        raise BadParameter(name, "A range must go upwards, from its first to its last number.")
    if (last - first) / step >= MAX_STEPS:
        raise BadParameter(name, f"A range can have at most {MAX_STEPS:,} steps.")
    return [str(first + n * step) for n in range(int((last - first) / step) + 1)]


def combinations(
    strategy: type[Signal], fixed: Mapping[str, Any], varied: Mapping[str, Sequence[str]]
) -> Iterator[tuple[dict[str, str], Signal]]:
    """Every combination of the varied parameters, with its signal. Raises BadParameter."""
    runs = prod(len(each) for each in varied.values())
    if runs > MAX_COMBINATIONS:
        raise BadParameter(
            next(iter(varied)), f"That makes {runs:,} runs; at most {MAX_COMBINATIONS:,}."
        )
    for values in product(*varied.values()):
        combination = dict(zip(varied, values, strict=True))
        yield combination, strategy(**{**fixed, **combination})
