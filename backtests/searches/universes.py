"""The universe of a search, which a worker keeps from one chunk to the next."""

from dataclasses import dataclass
from typing import Any

from backtests import loading
from backtests.analysis import fingerprints
from backtests.analysis.evaluation import OnProgress, part_of_progress
from backtests.analysis.folds import Folds, lives_of, walk
from backtests.analysis.point_runs import SearchedUniverse
from backtests.data.universe import MONEY, SECOND, Universe, microseconds
from backtests.models import Search
from backtests.requests import stored_execution, stored_selection

MILLISECOND = 1_000
HOUR = 3_600 * SECOND
LOADED = 0.5  # the progress of a worker's first chunk when its universe is loaded


@dataclass(frozen=True)
class LoadedSearch:
    """The universe of a search as one worker has it, and what the search stores of it."""

    id: int
    searched: SearchedUniverse
    plan: dict[str, Any]
    data_fingerprint: dict[str, str]


# The search that this process has loaded; one at a time, since a universe can be large.
_kept: dict[int, LoadedSearch] = {}


def loaded(search: Search, on_progress: OnProgress) -> LoadedSearch:
    """The universe of a search, read from the record at the first call. Raises BadInput."""
    if search.pk not in _kept:
        forget()
        _kept[search.pk] = _load(search, on_progress)
    return _kept[search.pk]


def forget() -> None:
    """Let go of the universe that is kept, such as before something else needs the memory."""
    _kept.clear()


def _load(search: Search, on_progress: OnProgress) -> LoadedSearch:
    selection = stored_selection(search)
    selection.check_imports()
    universe = loading.load(
        selection,
        known_by=search.created_at,
        on_progress=part_of_progress(on_progress, "reading quotes", begun=0, ended=LOADED),
    )
    return prepared(search, universe)


def prepared(search: Search, universe: Universe) -> LoadedSearch:
    """A search on a universe that is there. Raises BadInput where its folds lack markets."""
    folds = folds_of(universe, folds=search.folds, embargo_hours=search.embargo_hours)
    searched = SearchedUniverse(
        universe=universe,
        execution=stored_execution(search.execution),
        cash=int(search.cash * MONEY),
        start=microseconds(search.start),
        end=microseconds(search.end),
        folds=folds.folds,
    )
    hashes = fingerprints.data_fingerprint(universe)
    return LoadedSearch(search.pk, searched, plan_of(searched, folds), hashes)


def folds_of(universe: Universe, *, folds: int, embargo_hours: float) -> Folds:
    """The folds of a universe; none where none are asked for. Raises BadInput."""
    if not folds:
        return Folds((), 0, 0)
    return walk(lives_of(universe), folds=folds, embargo=round(embargo_hours * HOUR))


def plan_of(searched: SearchedUniverse, folds: Folds) -> dict[str, Any]:
    """The ends of the periods and the folds, as JSON; instants in milliseconds since 1970."""
    instants = searched.instants
    return {
        "t": (instants.at[instants.periods] // MILLISECOND).tolist(),
        "folds": [
            {
                "begins": fold.begins // MILLISECOND,
                "ends": fold.ends // MILLISECOND,
                "train": len(fold.train),
                "test": len(fold.test),
            }
            for fold in folds.folds
        ],
        "untested": folds.untested,
        "unresolved": folds.unresolved,
    }
