"""The conditions of a strategy, and how often each of them held."""

from dataclasses import dataclass, field
from typing import Any

from backtests.annotations.checks import BadAnnotation, name_of
from backtests.data.universe import Bools
from kalshi_insights.arrays import np

MOST_CONDITIONS = 50


@dataclass(slots=True)
class ConditionCount:
    """How often a condition was asked, how often it held, and how often of these all conditions
    that were named before it held as well; None where they are not of the same rows."""

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

    def count_rows(self, name: str, held: Any) -> None:
        """Count a condition in each of some rows. Raises BadAnnotation for what has no rows."""
        counted, rows = self._of(name), np.asarray(held)
        if rows.ndim != 1 or rows.dtype.kind != "b":
            raise BadAnnotation(f"the condition {name!r} must be one true or false for each row")
        if self._left is None:
            self._left = np.ones(len(rows), np.bool_)
        elif len(self._left) != len(rows):
            raise BadAnnotation(
                f"the condition {name!r} has {len(rows):,} rows, not {len(self._left):,}"
            )
        self._left = self._left & rows
        counted.asked += len(rows)
        counted.held += int(rows.sum())
        counted.held_with_earlier = (counted.held_with_earlier or 0) + int(self._left.sum())

    def _of(self, name: str) -> ConditionCount:
        found = self.counts.get(name)
        if found is None:
            if len(self.counts) == MOST_CONDITIONS:
                raise BadAnnotation(f"a strategy can name {MOST_CONDITIONS} conditions: {name!r}")
            found = self.counts[name] = ConditionCount(name_of("condition", name))
        return found
