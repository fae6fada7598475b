"""Figures of daily returns, and how sure one can be of them.

A year has 365 days here: the exchange has no weekends. Interest is compounded daily. Nothing in
here guesses: what cannot be computed is None.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from backtests.data.universe import Floats, Ints

YEAR = 365
CONFIDENCE = 0.95
NORMAL = NormalDist()
# Equal returns differ by less than this in floating point; a real change is larger.
NO_CHANGE = 1e-14


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Figures for a year; all None, and `withheld` says why, where there is too little to tell.

    `sharpe_low` and `sharpe_high` bound the Sharpe ratio with 95 % confidence;
    `probabilistic_sharpe` is the probability that the true one is above zero; after
    `least_track_record` days of such returns it would be above 95 %.
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


def returns(daily: Ints) -> Floats | None:
    """The change of each day as a share of the equity before it; None where that was nothing."""
    if not (daily[:-1] > 0).all():
        return None
    return daily[1:] / daily[:-1] - 1


def ratios(daily: Ints, *, days: float, rate: float) -> Ratios:
    """Of daily equity over a run of so many days; `rate` is the riskless one, for a year."""
    change = returns(daily)
    if change is None:
        return Ratios(withheld="equity fell to nothing")
    if len(change) < 2 or np.ptp(change) < NO_CHANGE:
        return Ratios(withheld="daily equity did not vary")
    excess = change - ((1 + rate) ** (1 / YEAR) - 1)
    low, high = sharpe_interval(excess)
    return Ratios(
        annual_return=annual_return(int(daily[0]), int(daily[-1]), days=days),
        volatility=volatility(change),
        sharpe=sharpe(excess),
        sharpe_low=low,
        sharpe_high=high,
        sortino=sortino(excess),
        probabilistic_sharpe=probabilistic_sharpe(excess),
        least_track_record=least_track_record(excess),
    )


def annual_return(first: int, last: int, *, days: float) -> float:
    """(last / first) ^ (365 / days) - 1."""
    return float((last / first) ** (YEAR / days) - 1)


def volatility(change: Floats) -> float:
    """The standard deviation (n - 1) of daily returns, times the root of 365."""
    return float(np.std(change, ddof=1)) * math.sqrt(YEAR)


def sharpe(excess: Floats) -> float:
    """The mean of daily excess returns over their standard deviation, times the root of 365.

    Sharpe (1994), "The Sharpe ratio".
    """
    return _sharpe_of_a_day(excess) * math.sqrt(YEAR)


def sortino(excess: Floats) -> float | None:
    """Like Sharpe's, over the root of the mean square of what fell short; None if nothing did.

    Days that did not fall short count in that mean, as zeros. Sortino and Price (1994),
    "Performance measurement in a downside risk framework".
    """
    short = math.sqrt(np.mean(np.minimum(excess, 0) ** 2))
    return float(np.mean(excess)) / short * math.sqrt(YEAR) if short else None


def sharpe_interval(excess: Floats) -> tuple[float, float]:
    """Where the Sharpe ratio lies with 95 % confidence, if days are independent of each other.

    Lo (2002), "The statistics of Sharpe ratios", widened for skewness and fat tails as in
    Mertens (2002), "Comments on variance of the IID estimator in Lo (2002)".
    """
    ratio = _sharpe_of_a_day(excess)
    margin = NORMAL.inv_cdf((1 + CONFIDENCE) / 2) * _error(excess)
    return (ratio - margin) * math.sqrt(YEAR), (ratio + margin) * math.sqrt(YEAR)


def probabilistic_sharpe(excess: Floats) -> float | None:
    """The probability that the true Sharpe ratio is above zero, given skewness and fat tails.

    Bailey and Lopez de Prado (2012), "The Sharpe ratio efficient frontier".
    """
    error = _error(excess)
    return NORMAL.cdf(_sharpe_of_a_day(excess) / error) if error else None


def least_track_record(excess: Floats) -> float | None:
    """After how many days of such returns a Sharpe ratio above zero would be 95 % certain.

    None where it is not above zero, so that no record would do. Bailey and Lopez de Prado (2012),
    "The Sharpe ratio efficient frontier".
    """
    ratio = _sharpe_of_a_day(excess)
    if ratio <= 0:
        return None
    spread = _error(excess) ** 2 * (len(excess) - 1)
    return float(1 + spread * (NORMAL.inv_cdf(CONFIDENCE) / ratio) ** 2)


def _sharpe_of_a_day(excess: Floats) -> float:
    return float(np.mean(excess) / np.std(excess, ddof=1))


def _error(excess: Floats) -> float:
    normed = (excess - np.mean(excess)) / np.std(excess)
    return standard_error(
        _sharpe_of_a_day(excess),
        skewness=float(np.mean(normed**3)),
        kurtosis=float(np.mean(normed**4)),
        count=len(excess),
    )


def standard_error(ratio: float, *, skewness: float, kurtosis: float, count: int) -> float:
    """Of a Sharpe ratio per period: root of (1 - skewness S + (kurtosis - 1) / 4 S^2) / (n - 1).

    A normal distribution has a kurtosis of 3 here.
    """
    spread = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    # Below zero by the last digits at most, since kurtosis >= 1 + skewness^2.
    return math.sqrt(max(0.0, spread) / (count - 1))
