"""Many settings of one strategy: what to vary, and over what."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any

from backtests.strategies.base import Signal
from backtests.strategies.parameters import BadParameter

MOST_RUNS = 100_000
MOST_STEPS = 10_000


def values(name: str, text: str) -> list[str]:
    """`0.1,0.2,0.3`, or `0.1:0.3:0.1` from the first to the last by a step. Raises BadParameter."""
    if ":" not in text:
        return [value.strip() for value in text.split(",")]
    try:
        first, last, step = map(Decimal, text.split(":"))
    except (ValueError, InvalidOperation):
        raise BadParameter(name, "Write a range as first:last:step.") from None
    if not all(number.is_finite() for number in (first, last, step)) or step <= 0 or last < first:
        raise BadParameter(name, "A range goes upwards, from its first to its last number.")
    if (last - first) / step >= MOST_STEPS:
        raise BadParameter(name, f"A range has at most {MOST_STEPS:,} steps.")
    return [str(first + n * step) for n in range(int((last - first) / step) + 1)]


def signals(
    kind: type[Signal], fixed: Mapping[str, Any], varied: Mapping[str, Sequence[str]]
) -> Iterator[tuple[dict[str, str], Signal]]:
    """Every combination, with what is varied in it. Raises BadParameter."""
    runs = prod(len(each) for each in varied.values())
    if runs > MOST_RUNS:
        raise BadParameter(next(iter(varied)), f"These are {runs:,} runs; at most {MOST_RUNS:,}.")
    for combination in product(*varied.values()):
        chosen = dict(zip(varied, combination, strict=True))
        yield chosen, kind(**{**fixed, **chosen})
