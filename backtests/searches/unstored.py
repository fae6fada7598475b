"""A search in this process, of which nothing is stored but that it was tried."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from backtests import catalogue, loading
from backtests.analysis import fingerprints
from backtests.analysis.evaluation import OnProgress, part_of_progress
from backtests.data.origins import QUOTES
from backtests.data.universe import Ints
from backtests.models import Engine, Search, SearchPoint
from backtests.requests import stored_selection
from backtests.searches import points, results, universes
from backtests.searches.requests import SearchRequest
from backtests.searches.results import FinishedPoint
from backtests.searches.universes import LoadedSearch
from backtests.strategies import StrategyClass
from backtests.strategies.base import Signal
from kalshi_insights.bad_input import BadInput

LOADED = 0.3


def run(
    request: SearchRequest, *, now: datetime, on_progress: OnProgress
) -> tuple[Search, list[SearchPoint]]:
    """Run all points, on all cores where the kernel runs them, and sum them up.

    The search and its points are as they would be stored; that they were trials is stored. Raises
    BadInput, and UnknownStrategy where a file was changed this moment.
    """
    columns, values = request.validated(now=now)
    search = Search(**columns, points_count=len(values), created_at=now)
    tried = [SearchPoint(number=n, params=params) for n, params in enumerate(values, start=1)]
    on_share = part_of_progress(on_progress, "reading quotes", begun=0, ended=LOADED)
    universe = loading.load(stored_selection(search), known_by=now, on_progress=on_share)
    loaded = universes.prepared(search, universe)
    search.plan = loaded.plan
    search.snapshots = universe.origins.total(QUOTES)
    search.markets = len(universe.listings)
    strategy = catalogue.load(search.strategy)
    for n, finished in enumerate(_run_points(search, tried, strategy, loaded), start=1):
        results.fill(tried[finished.number - 1], finished)
        on_progress(LOADED + (1 - LOADED) * n / len(tried), "running points")
    search.data_fingerprint = loaded.data_fingerprint
    search.code_fingerprint = fingerprints.code_fingerprint(strategy)
    _sum_up(search, tried)
    return search, tried


def _run_points(
    search: Search, tried: list[SearchPoint], strategy: StrategyClass, loaded: LoadedSearch
) -> Iterator[FinishedPoint]:
    def one(point: SearchPoint) -> FinishedPoint:
        return points.run_point(search, point, strategy, loaded.searched, lambda share: None)

    in_kernel = search.engine == Engine.KERNEL
    with ThreadPoolExecutor(None if in_kernel else 1) as pool:
        yield from pool.map(one, _alike_together(search, tried, strategy))


def _alike_together(
    search: Search, tried: list[SearchPoint], strategy: StrategyClass
) -> list[SearchPoint]:
    """Order points by how often they decide: those that do so alike share the rows they run on."""
    if not issubclass(strategy, Signal):
        return tried

    def seconds(point: SearchPoint) -> float:
        return strategy(**search.params_of(point.params)).decide_every or 0

    return sorted(tried, key=seconds)


def _sum_up(search: Search, tried: list[SearchPoint]) -> None:
    if all(point.pnl is None for point in tried):
        raise BadInput("vary", f"None of its points could run. {tried[0].error}")
    results.record_trials(search, tried)
    search.figures = results.figures_of(
        search, tried, _changes_of(search, tried), results.changes_of(tried)
    )


def _changes_of(
    search: Search, tried: list[SearchPoint]
) -> Callable[[Collection[int]], dict[int, Ints]]:
    return lambda numbers: results.changes_by_fold(
        search, (point for point in tried if point.number in numbers)
    )
