"""Sharpe ratios for a period, with the moments of the returns that decide how sure they are."""

import math
from statistics import NormalDist
from typing import NamedTuple, Self

from backtests.data.universe import Floats
from kalshi_insights.arrays import np

CONFIDENCE = 0.95
NORMAL = NormalDist()
# Floating point makes equal returns differ by less than this; a real change is larger.
NO_CHANGE = 1e-14


class SharpeSample(NamedTuple):
    """The Sharpe ratio of one period, as estimated from the excess returns of `periods`.

    A normal distribution has a skewness of 0 and a kurtosis of 3.
    """

    sharpe: float
    periods: int
    skewness: float = 0.0
    kurtosis: float = 3.0

    @classmethod
    def of(cls, excess: Floats) -> Self | None:
        """Estimate it from excess returns; None where they did not vary."""
        if len(excess) < 2 or np.ptp(excess) < NO_CHANGE:
            return None
        normed = (excess - np.mean(excess)) / np.std(excess)
        return cls(
            float(np.mean(excess) / np.std(excess, ddof=1)),
            len(excess),
            float(np.mean(normed**3)),
            float(np.mean(normed**4)),
        )

    @property
    def error(self) -> float:
        """The standard error, if the periods are independent of each other.

        It is the root of (1 - skewness S + (kurtosis - 1) / 4 S^2) / (n - 1). Lo (2002), "The
        statistics of Sharpe ratios", widened for skewness and fat tails as in Mertens (2002),
        "Comments on variance of the IID estimator in Lo (2002)".
        """
        spread = 1 - self.skewness * self.sharpe + (self.kurtosis - 1) / 4 * self.sharpe**2
        # Rounding alone can make this negative, since kurtosis >= 1 + skewness^2.
        return math.sqrt(max(0.0, spread) / (self.periods - 1))

    def interval(self) -> tuple[float, float]:
        """The bounds of the ratio with 95 % confidence."""
        margin = NORMAL.inv_cdf((1 + CONFIDENCE) / 2) * self.error
        return self.sharpe - margin, self.sharpe + margin

    def probability_above(self, benchmark: float = 0.0) -> float | None:
        """The probabilistic Sharpe ratio: the probability that the true ratio is above another.

        Bailey and Lopez de Prado (2012), "The Sharpe ratio efficient frontier".
        """
        error = self.error
        return NORMAL.cdf((self.sharpe - benchmark) / error) if error else None

    def least_track_record(self, benchmark: float = 0.0) -> float | None:
        """The periods of such returns after which a ratio above another would be 95 % certain.

        None where the ratio is not above it, so that no record is long enough. Bailey and Lopez de
        Prado (2012), "The Sharpe ratio efficient frontier".
        """
        if self.sharpe <= benchmark:
            return None
        spread = self.error**2 * (self.periods - 1)
        return float(1 + spread * (NORMAL.inv_cdf(CONFIDENCE) / (self.sharpe - benchmark)) ** 2)
