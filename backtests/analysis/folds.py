"""Walk-forward folds: markets to choose parameters on, and later ones to test the choice on.

Folds go by the time at which markets were resolved. At the boundary of a fold, training has the
markets that were over by then, and the test those that began after it: a market that was open
across the boundary is in neither, since its outcome would leak from one to the other. An embargo
keeps what was over shortly before the boundary out of training. Lopez de Prado (2018), "Advances
in Financial Machine Learning", chapter 7, on purging and embargo.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from backtests.data.universe import MISSING, Bools, Ints, Universe
from kalshi_insights.arrays import np
from kalshi_insights.bad_input import BadInput

MOST_FOLDS = 20


class MarketLives(NamedTuple):
    """The first quote of each market, and its end: it was paid, and is quoted no more. `event`
    numbers the events; a market without a result has no end (`MISSING`)."""

    first: Ints
    over: Ints
    event: Ints


class Fold(NamedTuple):
    """A part of the walk: markets by their index, and the time from one boundary to the next."""

    begins: int
    ends: int
    train: Ints
    test: Ints


class Folds(NamedTuple):
    """All folds. `untested` markets were resolved in the time of some fold and tested in none;
    `unresolved` ones have no result."""

    folds: Sequence[Fold]
    untested: int
    unresolved: int


def lives_of(universe: Universe) -> MarketLives:
    quotes, count = universe.quotes, len(universe.listings)
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, quotes.market, quotes.at)
    last = np.full(count, MISSING)
    np.maximum.at(last, quotes.market, quotes.at)
    paid = np.array([s.paid_at if s else MISSING for s in universe.settlements], np.int64)
    # A market without an event is one of its own.
    names = [listing.event or listing.ticker for listing in universe.listings]
    _, event = np.unique(names, return_inverse=True)
    over = np.where(paid == MISSING, MISSING, np.maximum(paid, last))
    return MarketLives(first, over, event.astype(np.int64))


def walk(lives: MarketLives, *, folds: int, embargo: int = 0) -> Folds:
    """Make folds of about equal numbers of resolved markets; the first part is training alone.

    `embargo` is in microseconds. Raises BadInput, naming the field.
    """
    resolved = lives.over != MISSING
    ends = np.sort(lives.over[resolved])
    if len(ends) <= folds:
        raise BadInput(
            "folds", f"{len(ends):,} of the markets have a result: too few for {folds} folds."
        )
    cuts = ends[np.arange(1, folds + 1) * len(ends) // (folds + 1) - 1]
    bounds = np.append(cuts, ends[-1] + 1).tolist()
    made = [_fold(lives, begins, ends, embargo) for begins, ends in pairwise(bounds)]
    for number, fold in enumerate(made, start=1):
        _check(number, fold)
    tested = sum(len(fold.test) for fold in made)
    within = int(np.count_nonzero(lives.over[resolved] > bounds[0]))
    return Folds(made, within - tested, int(np.count_nonzero(~resolved)))


def _fold(lives: MarketLives, begins: int, ends: int, embargo: int) -> Fold:
    test = (lives.first >= begins) & (lives.over > begins) & (lives.over <= ends)
    train = (lives.over != MISSING) & (lives.over <= begins - embargo)
    # Markets of one event share their outcome.
    train &= ~np.isin(lives.event, lives.event[test])
    return Fold(begins, ends, np.flatnonzero(train), np.flatnonzero(test))


def _check(number: int, fold: Fold) -> None:
    if not len(fold.train):
        raise BadInput(
            "folds",
            f"Fold {number} has no market to choose parameters on: none was over before it, and"
            " before its embargo. Choose fewer folds, a shorter embargo or a longer time.",
        )
    if not len(fold.test):
        raise BadInput(
            "folds",
            f"Fold {number} has no market to test on: none began after the end of the fold before"
            " and was resolved by its own. Choose fewer folds or a longer time.",
        )


def mask_of(markets: Ints, count: int) -> Bools:
    """Return which of so many markets are among these."""
    mask = np.zeros(count, np.bool_)
    mask[markets] = True
    return mask
