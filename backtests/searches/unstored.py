"""A search in this process, of which nothing is stored but that it was tried."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from backtests import catalogue, loading
from backtests.analysis import fingerprints
from backtests.analysis.evaluation import OnProgress, part_of_progress
from backtests.analysis.point_runs import PointResult
from backtests.data.origins import QUOTES
from backtests.data.universe import Ints
from backtests.models import Engine, Search, SearchPoint
from backtests.requests import stored_selection
from backtests.searches import results, universes
from backtests.searches.requests import SearchRequest
from backtests.searches.results import FinishedPoint

LOADED = 0.3


def run(
    request: SearchRequest, *, now: datetime, on_progress: OnProgress
) -> tuple[Search, list[SearchPoint]]:
    """Run all points, on all cores where the kernel runs them, and sum them up.

    The search and its points are as they would be stored; that they were trials is stored. Raises
    BadInput, and whatever the strategy raises.
    """
    columns, values = request.validated(now=now)
    search = Search(**columns, points_count=len(values), created_at=now)
    points = [SearchPoint(number=n, params=params) for n, params in enumerate(values, start=1)]
    on_share = part_of_progress(on_progress, "reading quotes", begun=0, ended=LOADED)
    universe = loading.load(stored_selection(search), known_by=now, on_progress=on_share)
    loaded = universes.prepared(search, universe)
    search.plan = loaded.plan
    search.snapshots = universe.origins.total(QUOTES)
    search.markets = len(universe.listings)
    strategy, in_kernel = catalogue.load(search.strategy), search.engine == Engine.KERNEL

    def one(point: SearchPoint) -> PointResult:
        return loaded.searched.run(
            strategy, search.params_of(point.params), in_kernel=in_kernel, on=lambda share: None
        )

    with ThreadPoolExecutor(None if in_kernel else 1) as pool:
        for n, (point, result) in enumerate(zip(points, pool.map(one, points), strict=True)):
            results.fill(point, FinishedPoint(point.number, result))
            on_progress(LOADED + (1 - LOADED) * (n + 1) / len(points), "running points")
    search.data_fingerprint = loaded.data_fingerprint
    search.code_fingerprint = fingerprints.code_fingerprint(strategy)
    results.record_trials(search, points)
    changes = results.changes_of(points)
    search.figures = results.figures_of(search, points, _changes_of(search, points), changes)
    return search, points


def _changes_of(
    search: Search, points: list[SearchPoint]
) -> Callable[[Collection[int]], dict[int, Ints]]:
    return lambda numbers: results.changes_by_fold(
        search, (point for point in points if point.number in numbers)
    )
