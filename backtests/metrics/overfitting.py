"""Overfitting: how good the best of many trials looks although none of them has any skill."""

import math
from collections.abc import Iterator
from itertools import combinations

from backtests.data.universe import Bools, Floats, Ints
from backtests.metrics.sharpe import NO_CHANGE, NORMAL, SharpeSample
from kalshi_insights.arrays import np

EULER_MASCHERONI = 0.5772156649015329
# With fewer periods than this, moments and ratios say nothing.
LEAST_PERIODS = 5
# Numbers that are computed at once, so that memory has a bound.
CELLS_AT_ONCE = 1_000_000


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """The greatest Sharpe ratio to expect of so many independent trials without skill, whose
    ratios have this variance.

    With N trials it is the root of the variance, times (1 - g) Z(1 - 1/N) + g Z(1 - 1/(N e)),
    where Z is the inverse of the normal distribution and g the Euler-Mascheroni constant. One
    trial alone has no greatest one, and is expected at 0. Bailey and Lopez de Prado (2014), "The
    deflated Sharpe ratio: correcting for selection bias, backtest overfitting and non-normality".
    """
    if trials < 2:
        return 0.0
    first = NORMAL.inv_cdf(1 - 1 / trials)
    second = NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * ((1 - EULER_MASCHERONI) * first + EULER_MASCHERONI * second)


def deflated_sharpe(
    sample: SharpeSample | None, *, trials: int, variance: float | None
) -> float | None:
    """The probability that a Sharpe ratio is above the best that luck alone is expected to bring.

    `variance` is that of the Sharpe ratios of the `trials`, for the sample's own period. It is the
    probabilistic ratio above `expected_maximum_sharpe`, so that of a single trial the one above
    zero. None with fewer than five periods, and where several trials have no variance or an
    unknown one. Bailey and Lopez de Prado (2014), as above.
    """
    if sample is None or sample.periods < LEAST_PERIODS:
        return None
    if trials > 1 and not variance:
        return None
    return sample.probability_above(expected_maximum_sharpe(trials, variance or 0.0))


def probability_of_overfitting(returns: Floats, *, blocks: int = 16) -> float | None:
    """The share of ways to halve the time in which the trial that gained most in one half gained no
    more than the median of all trials in the other half.

    `returns` has a row for each period and a column for each trial, such as every point of a
    search. The time is cut into an even number of `blocks` of equal length (what is left over at
    the beginning is not used), and each half of the blocks is chosen once. None with a single
    trial, with fewer than five periods in a half, and where all trials are the same. Raises
    ValueError for an odd number of blocks, and for returns that are not finite.

    Combinatorially symmetric cross-validation: Bailey, Borwein, Lopez de Prado and Zhu (2017), "The
    probability of backtest overfitting". They rank trials by the measure that chooses among them,
    which for a search is the gain.
    """
    if blocks < 2 or blocks % 2:
        raise ValueError(f"blocks: must be even, not {blocks}")
    if not np.isfinite(returns).all():
        raise ValueError("returns: must be finite")
    periods, trials = returns.shape
    length = periods // blocks
    if trials < 2 or length * blocks < 2 * LEAST_PERIODS or not length:
        return None
    if np.ptp(returns, axis=1).max() < NO_CHANGE:
        return None
    used = returns[periods - length * blocks :]
    gains = used.reshape(blocks, length, trials).sum(axis=1)
    choices = list(_halves(blocks, at_once=max(1, CELLS_AT_ONCE // trials)))
    worse = sum(int(np.count_nonzero(_is_overfit(gains, inside))) for inside in choices)
    return worse / math.comb(blocks, blocks // 2)


def _halves(blocks: int, *, at_once: int) -> Iterator[Floats]:
    """Yield every choice of half of the blocks, as rows of ones and zeros, some at a time."""
    chosen: Ints = np.array(list(combinations(range(blocks), blocks // 2)))
    for first in range(0, len(chosen), at_once):
        some = chosen[first : first + at_once]
        rows = np.zeros((len(some), blocks))
        np.put_along_axis(rows, some, 1.0, axis=1)
        yield rows


def _is_overfit(gains: Floats, inside: Floats) -> Bools:
    """For each choice, whether its best trial ranks no higher than the median in the other half.

    `gains` has a row for each block.
    """
    best = np.argmax(inside @ gains, axis=1)
    outside = (1 - inside) @ gains
    own = np.take_along_axis(outside, best[:, None], axis=1)
    # The mean rank of equal ones; a rank above half of (trials + 1) is above the median.
    rank = (outside < own).sum(axis=1) + ((outside == own).sum(axis=1) + 1) / 2
    overfit: Bools = rank <= (outside.shape[1] + 1) / 2
    return overfit
