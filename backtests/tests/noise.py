"""Families of trials on noise, and what is said of the best of each."""

from collections.abc import Callable

import numpy as np

from backtests.data.universe import Floats
from backtests.metrics.overfitting import deflated_sharpe
from backtests.metrics.sharpe import SharpeSample

# Returns without any mean, of periods (rows) and trials (columns).
ReturnsOf = Callable[[np.random.Generator, tuple[int, int]], Floats]


def normal(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    return rng.normal(size=size)


def fat_tailed(rng: np.random.Generator, size: tuple[int, int], *, freedom: int) -> Floats:
    """Returns of a t distribution."""
    return rng.standard_t(freedom, size=size)


def favourites(rng: np.random.Generator, size: tuple[int, int], *, bets: int) -> Floats:
    """The gain of about so many favourites a day that cost 97 cents and win so often."""
    bought = rng.poisson(bets, size=size)
    gained: Floats = 0.03 * bought - rng.binomial(bought, 0.03)
    return gained


def best_of_noise(
    returns: ReturnsOf,
    families: int,
    trials: int,
    periods: int,
    *,
    seed: int,
    counted: int | None = None,
    skill_of_one: float = 0.0,
) -> Floats:
    """The deflated Sharpe ratio of the best trial of each family.

    `counted` replaces the number of trials to deflate by. One trial of each family may have a mean
    of `skill_of_one`.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(families):
        drawn = returns(rng, (periods, trials))
        drawn[:, 0] += skill_of_one
        ratios = drawn.mean(axis=0) / drawn.std(axis=0, ddof=1)
        best = SharpeSample.of(drawn[:, np.argmax(ratios)])
        variance = float(np.var(ratios, ddof=1)) if trials > 1 else None
        deflated = deflated_sharpe(best, trials=counted or trials, variance=variance)
        assert deflated is not None
        found.append(deflated)
    return np.array(found)
