"""Parameter search: the values to try, and the points of a grid or a random choice of them."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import prod
from random import Random
from typing import Any

from backtests.strategies import parameters
from backtests.strategies.parameters import BadParameter, Schema, Value

MAX_COMBINATIONS = 100_000
MAX_STEPS = 10_000

# The values of one point by the names of the parameters.
Point = dict[str, Value]
Varied = Mapping[str, Sequence[Value]]


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
    try:
        steps = (last - first) / step
    except ArithmeticError:  # beyond what a Decimal can hold
        steps = Decimal("Infinity")
    if steps >= MAX_STEPS:
        raise BadParameter(name, f"A range can have at most {MAX_STEPS:,} steps.")
    return [str(first + n * step) for n in range(int(steps) + 1)]


def read_values(schema: Schema, varied: Mapping[str, Sequence[Any]]) -> dict[str, list[Value]]:
    """The values to try of each parameter, each of them once. Raises BadParameter."""
    for name, values in varied.items():
        if not values:
            raise BadParameter(name, "Name at least one value.")
        parameters.read(schema, {name: values[0]})  # which knows the names
    return {
        name: list(dict.fromkeys(schema[name].read(name, each) for each in values))
        for name, values in varied.items()
    }


def grid(varied: Varied, *, most: int = MAX_COMBINATIONS) -> list[Point]:
    """Every combination of the values; the last parameter changes first. Raises BadParameter."""
    runs = combinations(varied)
    if runs > most:
        raise BadParameter(
            next(iter(varied)),
            f"That makes {runs:,} runs; at most {most:,}. A random search tries some of them.",
        )
    return [_nth(varied, n) for n in range(runs)]


def sample(varied: Varied, runs: int, *, seed: int) -> list[Point]:
    """So many different combinations, chosen at random, in the order of the grid.

    The same seed makes the same choice; where there are no more combinations, it is the grid.
    """
    total, random = combinations(varied), Random(seed)
    if runs >= total:
        return grid(varied, most=total)
    chosen: set[int] = set()
    while len(chosen) < runs:
        chosen.add(random.randrange(total))
    return [_nth(varied, n) for n in sorted(chosen)]


def combinations(varied: Varied) -> int:
    return prod(len(values) for values in varied.values())


def _nth(varied: Varied, n: int) -> Point:
    return dict(reversed(list(_digits(varied, n))))


def _digits(varied: Varied, n: int) -> Iterator[tuple[str, Value]]:
    """The parameters of a combination, the last one first: the digits of its number."""
    for name, values in reversed(list(varied.items())):
        n, digit = divmod(n, len(values))
        yield name, values[digit]
