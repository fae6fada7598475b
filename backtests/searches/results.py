"""Storing the points of a chunk, and summing up a search whose points have all run."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import structlog
from django.db import InterfaceError, OperationalError, transaction

from backtests import runner
from backtests.analysis import fingerprints, walk_forward
from backtests.analysis.point_runs import PointResult
from backtests.analysis.walk_forward import FoldPnl
from backtests.data.origins import QUOTES
from backtests.data.universe import MONEY, Floats, Ints
from backtests.metrics.overfitting import probability_of_overfitting
from backtests.models import BacktestStatus, Search, SearchChunk, SearchPoint, Trial
from backtests.searches.universes import LoadedSearch

log = structlog.get_logger(__name__)

# 64-bit integers as they are stored, on whatever machine.
STORED = np.dtype("<i8")


class OtherWorker(ValueError):
    """A worker has other code or other data than the one that began the search."""


class FinishedPoint(NamedTuple):
    """A point that has run: its result, or the words of its error."""

    number: int
    result: PointResult | None
    error: str = ""


def store(
    chunk: SearchChunk,
    points: Sequence[FinishedPoint],
    loaded: LoadedSearch,
    code: Mapping[str, str],
) -> bool:
    """Store the points of a chunk, or nothing: False where another worker has it by now, or where
    its search has ended. Raises OtherWorker.
    """
    with transaction.atomic():
        searches = Search.objects.filter(pk=chunk.search_id, status=BacktestStatus.RUNNING)
        search = searches.select_for_update().first()
        if search is None or not SearchChunk.objects.mark_done(chunk):
            return False
        _check_same_worker(search, loaded, code)
        numbers = {each.number: each for each in points}
        stored = list(SearchPoint.objects.of_chunk(chunk).filter(number__in=numbers).narrow())
        for point in stored:
            fill(point, numbers[point.number])
        SearchPoint.objects.store(stored)
        record_trials(search, stored)
    return True


def record_trials(search: Search, points: Iterable[SearchPoint]) -> None:
    """Record each point that has run as a trial of its strategy."""
    Trial.objects.record_all(point.trial(search) for point in points if point.pnl is not None)


def _check_same_worker(search: Search, loaded: LoadedSearch, code: Mapping[str, str]) -> None:
    """Note the code and the data of the first chunk; refuse a chunk of others."""
    if not search.data_fingerprint:
        search.code_fingerprint, search.data_fingerprint = code, loaded.data_fingerprint
        search.plan = loaded.plan
        search.snapshots = loaded.searched.universe.origins.total(QUOTES)
        search.markets = len(loaded.searched.universe.listings)
        search.save()
        return
    changed = [
        *fingerprints.differences(search.code_fingerprint, code),
        *fingerprints.differences(search.data_fingerprint, loaded.data_fingerprint),
    ]
    if changed:
        raise OtherWorker(
            f"A worker differed from the one that began it: {', '.join(changed)}. Points of"
            " different code or data cannot be compared, so search again."
        )


def fill(point: SearchPoint, finished: FinishedPoint) -> None:
    """Put what came of a point into its columns."""
    point.error = finished.error
    result = finished.result
    if result is None:
        return
    point.pnl, point.fees, point.fills = result.pnl, result.fees, result.fills
    point.events, point.won, point.days = result.events, result.won, result.moments.periods
    point.sharpe = result.moments.sharpe
    point.skewness, point.kurtosis = result.moments.skewness, result.moments.kurtosis
    point.changes = _bytes(result.changes)
    if result.folds:
        point.test_pnl = sum(fold.test for fold in result.folds)
        point.folds = [{"train": fold.train, "test": fold.test} for fold in result.folds]
        point.fold_changes = _bytes(np.concatenate([fold.changes for fold in result.folds]))


def _bytes(changes: Ints) -> bytes:
    return changes.astype(STORED).tobytes()


def read(stored: bytes | memoryview) -> Ints:
    return np.frombuffer(stored, STORED).astype(np.int64)


# --- summing up ----------------------------------------------------------------------------------

# Reads the changes of equity of some points, by their numbers: a row for each fold.
ReadChanges = Callable[[Collection[int]], Mapping[int, Ints]]


def finish_if_complete(id: int, *, now: datetime) -> None:
    """Sum up a search whose points have all run, unless somebody has.

    Where that raises, the search has failed. Raises OperationalError and InterfaceError.
    """
    search = Search.objects.complete(id)
    if search is None:
        return
    try:
        _sum_up(search, now=now)
    except (OperationalError, InterfaceError):
        raise  # another worker sums it up once the database is back
    except Exception as error:
        words = runner.error_for_user(error, search.strategy)
        log.exception("search_not_summed_up", search=id)
    else:
        return
    # The error is gone by now, with all that its frames held: memory may be short.
    Search.objects.fail(id, words, now=now)


def _sum_up(search: Search, *, now: datetime) -> None:
    points = list(SearchPoint.objects.of_search(search.pk).narrow())
    if any(point.pnl is not None for point in points):
        figures = figures_of(search, points, partial(_stored_changes, search), _changes(search))
        Search.objects.finish(search, figures, now=now)
    else:
        words = f"None of its points could run. {points[0].error}"
        Search.objects.fail(search.pk, words, now=now)


def figures_of(
    search: Search, points: Sequence[SearchPoint], read_changes: ReadChanges, changes: Floats
) -> dict[str, Any]:
    """The figures of a search, as JSON; money in millionths of a dollar.

    Points that could not run are left out; at least one must have. `changes` are those of equity,
    with a row for each period and a column for each point.
    """
    pnl = {point.number: point.pnl for point in points if point.pnl is not None}
    best = walk_forward.best_point(pnl)
    if best is None:
        raise ValueError("no point has run")
    returns = changes / int(search.cash * MONEY)
    figures: dict[str, Any] = {
        "best": best,
        "ran": len(pnl),
        "probability_of_overfitting": probability_of_overfitting(returns),
    }
    if search.folds:
        figures["walk_forward"] = _walk_forward(search, points, best, read_changes)
    return figures


def _changes(search: Search) -> Floats:
    points = SearchPoint.objects.of_search(search.pk).run().only("changes")
    return changes_of(points.iterator())


def changes_of(points: Iterable[SearchPoint]) -> Floats:
    """The changes of equity of points: a row for each period, a column for each point."""
    columns = [read(point.changes) for point in points if point.changes is not None]
    return np.stack(columns, axis=1).astype(np.float64)


def _stored_changes(search: Search, numbers: Collection[int]) -> dict[int, Ints]:
    points = SearchPoint.objects.of_search(search.pk).filter(number__in=numbers)
    return changes_by_fold(search, points)


def changes_by_fold(search: Search, points: Iterable[SearchPoint]) -> dict[int, Ints]:
    return {
        point.number: read(point.fold_changes).reshape(search.folds, -1)
        for point in points
        if point.fold_changes is not None
    }


def _walk_forward(
    search: Search, points: Sequence[SearchPoint], best: int, read_changes: ReadChanges
) -> dict[str, Any]:
    """The joined tests of what each fold chose, beside those of the point that is best in
    hindsight."""
    cash = int(search.cash * MONEY)
    folds = {
        point.number: [FoldPnl(each["train"], each["test"]) for each in point.folds]
        for point in points
        if point.pnl is not None
    }
    chosen = walk_forward.choices(folds, count=search.folds)
    changes = read_changes({best, *(each.point for each in chosen)})
    tests = [changes[each.point][fold] for fold, each in enumerate(chosen)]
    out_of_sample = walk_forward.joined(tests, cash=cash)
    in_sample = walk_forward.joined(list(changes[best]), cash=cash)
    return {
        "pnl": int(out_of_sample[-1]) - cash,
        "in_sample_pnl": int(in_sample[-1]) - cash,
        "points": len(folds),
        "folds": [
            {"point": each.point, "train": each.pnl.train, "test": each.pnl.test, "rank": each.rank}
            for each in chosen
        ],
        "out_of_sample": out_of_sample.tolist(),
        "in_sample": in_sample.tolist(),
    }
