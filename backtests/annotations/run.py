"""All annotations of one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backtests.annotations.analyses import Analysis
from backtests.annotations.conditions import ConditionCount
from backtests.annotations.probabilities import StatedProbabilities
from backtests.annotations.series import KeptSeries


@dataclass(frozen=True, slots=True)
class Annotations:
    """The statements of a strategy beside its orders.

    `reasons` go by the orders' numbers, `analyses` by the names of its analyzers. Without
    `probabilities` it stated none.
    """

    probabilities: StatedProbabilities | None = None
    reasons: Mapping[int, str] = field(default_factory=dict)
    series: KeptSeries = field(default_factory=KeptSeries)
    conditions: Sequence[ConditionCount] = ()
    analyses: Mapping[str, Analysis] = field(default_factory=dict)
