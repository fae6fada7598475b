"""The conditions of a strategy, and how often each of them held."""

from dataclasses import dataclass, field
from typing import Any

from backtests.annotations.checks import BadAnnotation, name_of
from backtests.data.universe import Bools
from kalshi_insights.arrays import np

MOST_CONDITIONS = 50
OTHERS = "others"  # those beyond, counted as one


@dataclass(slots=True)
class ConditionCount:
    """The numbers of times that a condition was asked, that it held, and that all conditions named
    before it held as well; None where they are not of the same rows."""

    name: str
    asked: int = 0
    held: int = 0
    held_with_earlier: int | None = None


@dataclass(slots=True)
class ConditionCounts:
    """Counts of a strategy's conditions, in the order in which it names them."""

    counts: dict[str, ConditionCount] = field(default_factory=dict)
    _left: Bools | None = None  # the rows in which all conditions so far held

    def begin_rows(self) -> None:
        """Begin with other rows: the next condition is the first one of them."""
        self._left = None

    def count(self, name: str, held: object) -> bool:
        """Count a condition that is asked once."""
        counted = self._of(name)
        is_held = bool(held)
        counted.asked += 1
        counted.held += is_held
        return is_held

    def count_rows(self, name: str, held: Bools) -> None:
        """Count a condition in each of some rows, which are those of the conditions before it."""
        counted = self._of(name)
        self._left = held if self._left is None else self._left & held
        counted.asked += len(held)
        counted.held += int(held.sum())
        counted.held_with_earlier = (counted.held_with_earlier or 0) + int(self._left.sum())

    def _of(self, given: str) -> ConditionCount:
        name = name_of("condition", given)
        if name not in self.counts and len(self.counts) >= MOST_CONDITIONS:
            name = OTHERS
        if name not in self.counts:
            self.counts[name] = ConditionCount(name)
        return self.counts[name]


def check_rows(name: str, held: Any, rows: int | None) -> None:
    """Raise BadAnnotation for what is not a condition of each row; None are any number of them."""
    name_of("condition", name)
    if not isinstance(held, np.ndarray) or held.ndim != 1 or held.dtype.kind != "b":
        raise BadAnnotation(f"the condition {name!r} must be an array: true or false for each row")
    if rows not in (None, len(held)):
        raise BadAnnotation(f"the condition {name!r} has {len(held):,} rows, not {rows:,}")
