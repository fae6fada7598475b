"""Annual ratios of daily returns, with their confidence intervals.

A year has 365 days here, since the exchange has no weekends. Interest is compounded daily. A
ratio that cannot be computed is None.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from backtests.data.universe import Floats, Ints
from kalshi_insights.arrays import np

YEAR = 365
CONFIDENCE = 0.95
NORMAL = NormalDist()
# Floating point makes equal returns differ by less than this; a real change is larger.
NO_CHANGE = 1e-14


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Annual figures; where they are withheld, all are None and `withheld` gives the reason.

    `sharpe_low` and `sharpe_high` bound the Sharpe ratio with 95 % confidence;
    `probabilistic_sharpe` is the probability that the true ratio is above zero; after
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
    """Daily changes as shares of the equity before them; None where equity fell to nothing."""
    if not (daily[:-1] > 0).all():
        return None
    return daily[1:] / daily[:-1] - 1


def ratios(daily: Ints, *, days: float, rate: float) -> Ratios:
    """The ratios of daily equity over a run of `days`; `rate` is the riskless rate for a year."""
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
    """The Sharpe ratio with downside deviation; None if no day fell short of the riskless rate.

    Days that did not fall short count as zeros in the mean square. Sortino and Price (1994),
    "Performance measurement in a downside risk framework".
    """
    short = math.sqrt(np.mean(np.minimum(excess, 0) ** 2))
    return float(np.mean(excess)) / short * math.sqrt(YEAR) if short else None


def sharpe_interval(excess: Floats) -> tuple[float, float]:
    """The 95 % confidence interval of the Sharpe ratio, if days are independent of each other.

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
    """The days of such returns after which a Sharpe ratio above zero would be 95 % certain.

    None where the ratio is not above zero, so that no record is long enough. Bailey and Lopez de
    Prado (2012), "The Sharpe ratio efficient frontier".
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
    """The standard error of a Sharpe ratio per period.

    It is the root of (1 - skewness S + (kurtosis - 1) / 4 S^2) / (n - 1), where a normal
    distribution has a kurtosis of 3.
    """
    spread = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    # Rounding alone can make this negative, since kurtosis >= 1 + skewness^2.
    return math.sqrt(max(0.0, spread) / (count - 1))
