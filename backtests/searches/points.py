"""Running the points of a search, of which some may fail by their parameters."""

from functools import partial

import structlog

from backtests import runner
from backtests.analysis.evaluation import OnProgress
from backtests.analysis.point_runs import OnShare, SearchedUniverse
from backtests.models import Engine, Search, SearchChunk, SearchPoint
from backtests.searches.results import FinishedPoint
from backtests.strategies import StrategyClass

log = structlog.get_logger(__name__)


def run(
    chunk: SearchChunk,
    strategy: StrategyClass,
    searched: SearchedUniverse,
    *,
    on_progress: OnProgress,
) -> list[FinishedPoint]:
    """Run every point without a result; one that raises has the words of its error, and the others
    go on."""
    finished = []
    points = list(SearchPoint.objects.of_chunk(chunk).without_result().narrow())
    for n, point in enumerate(points):
        on_share = partial(_report, on_progress, n, len(points))
        on_share(0)
        finished.append(run_point(chunk.search, point, strategy, searched, on_share))
    return finished


def _report(on_progress: OnProgress, n: int, size: int, share: float) -> None:
    on_progress((n + share) / size, "running points")


def run_point(
    search: Search,
    point: SearchPoint,
    strategy: StrategyClass,
    searched: SearchedUniverse,
    on_share: OnShare,
) -> FinishedPoint:
    """Run one point; where it raises, it has the words of its error."""
    try:
        result = searched.run(
            strategy,
            search.params_of(point.params),
            in_kernel=search.engine == Engine.KERNEL,
            on=on_share,
        )
    except Exception as error:
        words = runner.error_for_user(error, search.strategy)
        log.exception("search_point_failed", search=search.pk, point=point.number)
        return FinishedPoint(point.number, None, words[: runner.LONGEST_WORDS])
    return FinishedPoint(point.number, result)
