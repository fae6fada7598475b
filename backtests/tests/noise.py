"""Families of trials on noise, and what is said of the best of each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from backtests.data.universe import Floats, Ints
from backtests.metrics.deflation import LEAST_LOST
from backtests.metrics.overfitting import deflated_sharpe
from backtests.metrics.sharpe import SharpeSample


class Drawn(NamedTuple):
    """Returns without any mean, of periods (rows) and trials (columns), and the number of events
    that each trial lost."""

    returns: Floats
    lost: Ints


DrawOf = Callable[[np.random.Generator, tuple[int, int]], Drawn]


def normal(rng: np.random.Generator, size: tuple[int, int]) -> Drawn:
    return _with_losses(rng.normal(size=size))


def fat_tailed(rng: np.random.Generator, size: tuple[int, int], *, freedom: int) -> Drawn:
    """Returns of a t distribution."""
    return _with_losses(rng.standard_t(freedom, size=size))


def favourites(rng: np.random.Generator, size: tuple[int, int], *, bets: int) -> Drawn:
    """The gain of about so many favourites a day that cost 97 cents and win so often."""
    bought = rng.poisson(bets, size=size)
    lost = rng.binomial(bought, 0.03)
    gained = (0.03 * bought - lost).astype(np.float64)
    return Drawn(gained, lost.sum(axis=0))


def best_of_noise(
    draw: DrawOf,
    families: int,
    trials: int,
    periods: int,
    *,
    seed: int,
    skill_of_one: float = 0.0,
) -> Floats:
    """The deflated Sharpe ratio of the best trial of each family; 0 where it is withheld.

    One trial of each family may have a mean of `skill_of_one`.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(families):
        returns, lost = draw(rng, (periods, trials))
        returns[:, 0] += skill_of_one
        ratios = _ratios(returns)
        best = int(np.argmax(ratios))
        variance = float(np.var(ratios, ddof=1)) if trials > 1 else None
        sample = SharpeSample.of(returns[:, best])
        deflated = deflated_sharpe(sample, trials=trials, variance=variance)
        assert deflated is not None
        found.append(deflated if lost[best] >= LEAST_LOST else 0.0)
    return np.array(found)


def undeflated_of_best(
    draw: DrawOf, families: int, trials: int, periods: int, *, seed: int
) -> Floats:
    """The probabilistic Sharpe ratio of the best trial of each family, as if it were the only."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(families):
        returns = draw(rng, (periods, trials)).returns
        sample = SharpeSample.of(returns[:, np.argmax(_ratios(returns))])
        found.append(sample.probability_above() if sample else None)
    return np.array(found, np.float64)


def _with_losses(returns: Floats) -> Drawn:
    return Drawn(returns, (returns < 0).sum(axis=0))


def _ratios(returns: Floats) -> Floats:
    ratios: Floats = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    return ratios
