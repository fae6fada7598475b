"""Deflation: the Sharpe ratio of a result beside the number of trials that led to it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from backtests.metrics.overfitting import deflated_sharpe, expected_maximum_sharpe
from backtests.metrics.ratios import YEAR, for_a_year
from backtests.metrics.sharpe import CONFIDENCE, SharpeSample

# A trial's Sharpe ratio is compared with others from so many periods on: as many as a result needs.
LEAST_COMPARED = 30
# With fewer lost events, skewness is that of a strategy whose losses are still to come: of a
# hundred that buy favourites at fair prices, the best has lost none and looks certain.
LEAST_LOST = 5
HARDLY_LESS_THAN_SURE = 0.9995


class FamilyTrials(NamedTuple):
    """The trials of a strategy so far, in every version, with all parameters and markets.

    `spread` is the variance of the Sharpe ratios of those that differ, each times the root of its
    periods less one: about 1 where none has any skill and they are independent. So trials of
    different lengths can be compared, as an estimate of fewer periods strays further.
    """

    trials: int
    spread: float | None = None

    def variance(self, periods: int) -> float | None:
        """The variance to expect of Sharpe ratios over so many periods."""
        return None if self.spread is None else self.spread / (periods - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflation:
    """A result beside the `trials` of its strategy.

    `expected_maximum_sharpe`, for a year, is the best to expect of so many trials without skill;
    `deflated_sharpe` is the probability that the true ratio is above it, and after
    `least_track_record` days of such returns that would be 95 %. Where these are withheld, they are
    None and `withheld` gives the reason.
    """

    trials: int
    periods: int | None = None
    probabilistic_sharpe: float | None = None
    expected_maximum_sharpe: float | None = None
    deflated_sharpe: float | None = None
    least_track_record: float | None = None
    withheld: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"words": self.words()}

    def words(self) -> str:
        """State the result in words."""
        if self.trials > 1:
            counted = (
                f"{self.trials:,} trials of this strategy so far, in every version, with all"
                " parameters and markets, searches included."
            )
        else:
            counted = "The only trial of this strategy so far."
        if self.deflated_sharpe is None:
            return f"{counted} Its deflated Sharpe ratio is withheld ({self.withheld})."
        return " ".join(filter(None, (counted, self._judgement(), self._record())))

    def _judgement(self) -> str:
        deflated, best = self.deflated_sharpe or 0.0, self.expected_maximum_sharpe or 0.0
        share = "more than 99.9%" if deflated > HARDLY_LESS_THAN_SURE else f"{deflated:.1%}"
        if self.trials < 2:
            return f"Its true Sharpe ratio is above zero with a probability of {share}."
        is_certain = deflated > CONFIDENCE
        end = "more than the luck of many trials explains" if is_certain else "it may well be luck"
        return (
            f"Without any skill, the best of so many is expected to show an annual Sharpe ratio of"
            f" {best:.2f}. The true ratio is above that with a probability of {share}: {end}."
        )

    def _record(self) -> str:
        if (self.deflated_sharpe or 0) > CONFIDENCE:
            return ""
        if self.least_track_record is None:
            return "No record of such returns would be long enough to tell."
        return (
            f"It would take {math.ceil(self.least_track_record):,} days of such returns to be 95 %"
            f" certain; it has {self.periods:,}."
        )


def deflate(figures: Mapping[str, Any], family: FamilyTrials) -> Deflation:
    """Judge a result by its figures, as it stores them, and the trials of its family."""
    found, ratios = Deflation(trials=family.trials), figures.get("ratios", {})
    if withheld := _withheld(ratios, figures.get("events", {})):
        return replace(found, withheld=withheld)
    sample = SharpeSample(
        ratios["sharpe"] / math.sqrt(YEAR),
        ratios["periods"],
        ratios["skewness"],
        ratios["kurtosis"],
    )
    found = replace(found, periods=sample.periods, probabilistic_sharpe=sample.probability_above())
    variance = family.variance(sample.periods)
    if family.trials > 1 and not variance:
        words = f"no two of them differ and have {LEAST_COMPARED} days or more"
        return replace(found, withheld=words)
    return _judged(found, sample, variance or 0.0)


def _withheld(ratios: Mapping[str, Any], events: Mapping[str, Any]) -> str:
    """The reason for judging nothing, or an empty text."""
    if ratios.get("sharpe") is None:
        return ratios.get("withheld") or "it has no Sharpe ratio"
    if ratios.get("kurtosis") is None:
        return "the run did not keep the moments of its returns yet"
    lost = events.get("traded", 0) - events.get("won", 0)
    if lost < LEAST_LOST:
        return f"only {lost} of its events lost, so that nobody knows its losses yet"
    return ""


def _judged(found: Deflation, sample: SharpeSample, variance: float) -> Deflation:
    best = expected_maximum_sharpe(found.trials, variance)
    deflated = deflated_sharpe(sample, trials=found.trials, variance=variance)
    return replace(
        found,
        expected_maximum_sharpe=for_a_year(best),
        deflated_sharpe=deflated,
        least_track_record=sample.least_track_record(best),
        withheld="" if deflated is not None else "too few days, or returns without an error",
    )
