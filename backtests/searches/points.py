"""Running the points of a chunk, of which some may fail by their parameters."""

from functools import partial

import structlog

from backtests import runner
from backtests.analysis.evaluation import OnProgress
from backtests.analysis.point_runs import SearchedUniverse
from backtests.models import Engine, SearchChunk, SearchPoint
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
    """Run every point; one that raises has the words of its error, and the others go on."""
    finished = []
    for n, point in enumerate(SearchPoint.objects.of_chunk(chunk).narrow()):
        on_share = partial(_report, on_progress, n, chunk.size)
        on_share(0)
        finished.append(_run_point(chunk, point, strategy, searched, on_share))
    return finished


def _report(on_progress: OnProgress, n: int, size: int, share: float) -> None:
    on_progress((n + share) / size, "running points")


def _run_point(
    chunk: SearchChunk,
    point: SearchPoint,
    strategy: StrategyClass,
    searched: SearchedUniverse,
    on_share: "partial[None]",
) -> FinishedPoint:
    search = chunk.search
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
