"""Annual ratios of daily returns, with their confidence intervals.

A year has 365 days here, since the exchange has no weekends. Interest is compounded daily. A
ratio that cannot be computed is None.
"""

import math
from dataclasses import dataclass

from backtests.data.universe import Floats, Ints
from backtests.metrics.sharpe import SharpeSample
from kalshi_insights.arrays import np

YEAR = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Annual figures; where they are withheld, all are None and `withheld` gives the reason.

    `sharpe_low` and `sharpe_high` bound the Sharpe ratio with 95 % confidence;
    `probabilistic_sharpe` is the probability that the true ratio is above zero; after
    `least_track_record` days of such returns it would be above 95 %. `periods` counts the daily
    returns, whose excess has this `skewness` and `kurtosis`.
    """

    withheld: str = ""
    annual_return: float | None = None
    volatility: float | None = None
    sharpe: float | None = None
    sharpe_low: float | None = None
    sharpe_high: float | None = None
    sortino: float | None = None
    probabilistic_sharpe: float | None = None
    least_track_record: float | None = None
    periods: int | None = None
    skewness: float | None = None
    kurtosis: float | None = None


def returns(daily: Ints) -> Floats | None:
    """Daily changes as shares of the equity before them; None where equity fell to nothing."""
    if not (daily[:-1] > 0).all():
        return None
    return daily[1:] / daily[:-1] - 1


def excess_returns(daily: Ints, *, rate: float) -> Floats | None:
    """Daily returns above the riskless `rate` for a year; None where equity fell to nothing."""
    change = returns(daily)
    return None if change is None else change - ((1 + rate) ** (1 / YEAR) - 1)


def ratios(daily: Ints, *, days: float, rate: float) -> Ratios:
    """The ratios of daily equity over a run of `days`; `rate` is the riskless rate for a year."""
    excess = excess_returns(daily, rate=rate)
    if excess is None:
        return Ratios(withheld="equity fell to nothing")
    sample = SharpeSample.of(excess)
    if sample is None:
        return Ratios(withheld="daily equity did not vary")
    low, high = sample.interval()
    return Ratios(
        annual_return=annual_return(int(daily[0]), int(daily[-1]), days=days),
        volatility=volatility(excess),
        sharpe=for_a_year(sample.sharpe),
        sharpe_low=for_a_year(low),
        sharpe_high=for_a_year(high),
        sortino=sortino(excess),
        probabilistic_sharpe=sample.probability_above(),
        least_track_record=sample.least_track_record(),
        periods=sample.periods,
        skewness=sample.skewness,
        kurtosis=sample.kurtosis,
    )


def annual_return(first: int, last: int, *, days: float) -> float:
    """(last / first) ^ (365 / days) - 1."""
    return float((last / first) ** (YEAR / days) - 1)


def volatility(change: Floats) -> float:
    """The standard deviation (n - 1) of daily returns, times the root of 365."""
    return float(np.std(change, ddof=1)) * math.sqrt(YEAR)


def for_a_year(sharpe: float) -> float:
    """The Sharpe ratio of a day, times the root of 365. Sharpe (1994), "The Sharpe ratio"."""
    return sharpe * math.sqrt(YEAR)


def sortino(excess: Floats) -> float | None:
    """The Sharpe ratio with downside deviation; None if no day fell short of the riskless rate.

    Days that did not fall short count as zeros in the mean square. Sortino and Price (1994),
    "Performance measurement in a downside risk framework".
    """
    short = math.sqrt(np.mean(np.minimum(excess, 0) ** 2))
    return float(np.mean(excess)) / short * math.sqrt(YEAR) if short else None
