"""Walk-forward: what a search would have earned had each choice been made on the past only."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from backtests.data.universe import Ints


class FoldPnl(NamedTuple):
    """The P&L of a point in a fold, on the markets to train on and on those to test on."""

    train: int
    test: int


class FoldChoice(NamedTuple):
    """The point that a fold chose: the best on the markets to train on. `rank` is its place among
    all points on the markets to test on, from 1 on."""

    point: int
    pnl: FoldPnl
    rank: int


def best_point(pnl: Mapping[int, int]) -> int | None:
    """The number of the point with the highest P&L, of equal ones the first."""
    return min(pnl, key=lambda point: (-pnl[point], point), default=None)


def choices(folds: Mapping[int, Sequence[FoldPnl]], *, count: int) -> list[FoldChoice]:
    """The choice of each fold among points by their numbers. Raises ValueError without any."""
    made = []
    for fold in range(count):
        trained = {point: each[fold].train for point, each in folds.items()}
        chosen = best_point(trained)
        if chosen is None:
            raise ValueError("no point has run")
        pnl = folds[chosen][fold]
        better = sum(each[fold].test > pnl.test for each in folds.values())
        made.append(FoldChoice(chosen, pnl, better + 1))
    return made


def joined(changes: Sequence[Ints], *, cash: int) -> Ints:
    """The equity at the start and after each period of several tests, one after the other.

    Each of them began with the same cash, so their gains are added up and not compounded.
    """
    return cash + np.concatenate(([0], np.cumsum(np.sum(changes, axis=0))))
