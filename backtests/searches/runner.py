"""Running a chunk of a search: claim it, load its universe, run its points, store them.

Whatever ends the worker, the chunk is another worker's once it is found to be lost; a worker that
is told to end gives it back at once.
"""

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from django.db import connection

from backtests import catalogue, processes, runner
from backtests.analysis import fingerprints
from backtests.analysis.evaluation import OnProgress
from backtests.models import Search, SearchChunk
from backtests.runner import ignore_progress
from backtests.searches import points, results, universes
from backtests.searches.chunk_watch import ChunkWatch
from backtests.searches.results import FinishedPoint, OtherWorker
from backtests.searches.universes import LoadedSearch
from backtests.signs_of_life import EndedBy, RunSignals, SignsOfLife, out_of_time
from backtests.strategies import STRATEGIES, StrategyClass

T = TypeVar("T")

log = structlog.get_logger(__name__)


def ignore_claimed(claimed: SearchChunk) -> None:
    """The callback of a caller who need not know when a chunk begins."""


def run_chunk(
    id: int,
    *,
    on_claimed: Callable[[SearchChunk], None] = ignore_claimed,
    on_progress: OnProgress = ignore_progress,
) -> bool:
    """Run the next chunk of a search, and sum the search up if that was the last one.

    Returns whether more chunks wait. Raises KeyboardInterrupt and SystemExit where the process was
    told to end meanwhile.
    """
    with RunSignals() as signals:
        if signals.ended_by is None:
            chunk = SearchChunk.objects.claim_next(id, now=datetime.now(UTC))
            if chunk is not None:
                on_claimed(chunk)
                _run_claimed(chunk, signals, on_progress)
            results.finish_if_complete(id, now=datetime.now(UTC))
    waits = SearchChunk.objects.waiting(id).exists()
    if not waits:
        universes.forget()
    return waits


def _run_claimed(chunk: SearchChunk, signals: RunSignals, on_progress: OnProgress) -> None:
    search: Search = chunk.search
    loaded = _attempt(
        chunk,
        signals,
        # Only the share of its points is a chunk's progress.
        lambda signs: universes.loaded(search, lambda _, doing: signs.report(0, doing)),
        on_progress,
    )
    if loaded is None:
        return
    if search.strategy in STRATEGIES:
        _run_points(chunk, loaded, lambda: STRATEGIES[search.strategy], signals, on_progress)
        return
    with catalogue.written(search.strategy_files) as place:

        def load() -> StrategyClass:
            return catalogue.load_from(place, search.strategy_file, search.strategy)

        watch = ChunkWatch(chunk, signals)
        problem = processes.run_apart(
            lambda: _run_here(chunk, loaded, load), on_signal=signals.note, must_end=watch.must_end
        )
        if watch.has_ended_it:
            _store_end(chunk, watch.words)
        elif problem:
            SearchChunk.objects.lose(chunk, problem, now=datetime.now(UTC))


def _run_here(chunk: SearchChunk, loaded: LoadedSearch, load: Callable[[], StrategyClass]) -> None:
    """Run the points in the process that is theirs alone."""
    with RunSignals() as signals:
        _run_points(chunk, loaded, load, signals, ignore_progress)


def _run_points(
    chunk: SearchChunk,
    loaded: LoadedSearch,
    load: Callable[[], StrategyClass],
    signals: RunSignals,
    on_progress: OnProgress,
) -> None:
    def compute(signs: SignsOfLife) -> tuple[list[FinishedPoint], dict[str, str]]:
        strategy = load()
        loaded.searched.stop = signs.stop
        finished = points.run(chunk, strategy, loaded.searched, on_progress=signs.report)
        return finished, fingerprints.code_fingerprint(strategy)

    computed = _attempt(chunk, signals, compute, on_progress)
    if computed is None:
        return
    finished, code = computed
    try:
        is_stored = results.store(chunk, finished, loaded, code)
    except OtherWorker as fault:
        _store_end(chunk, str(fault))
    else:
        if not is_stored:
            SearchChunk.objects.release(chunk)


# --- the end of a chunk --------------------------------------------------------------------------


def _attempt(
    chunk: SearchChunk,
    signals: RunSignals,
    work: Callable[[SignsOfLife], T],
    on_progress: OnProgress,
) -> T | None:
    """Do a part of the work with signs of life; None where something ended it, which is stored."""
    is_callers_transaction = connection.in_atomic_block
    signs = SignsOfLife(chunk, signals, on_progress)
    try:
        with signs, signals.interrupting():
            return work(signs)
    except BaseException as error:  # noqa: BLE001 (it is recorded)
        words = _words_of_end(error, chunk.search.strategy, signs.cut_off_by)
        is_expected = signs.cut_off_by is not None or isinstance(error, runner.USER_ERRORS)
        trace = "" if is_expected else traceback.format_exc()
    if not is_callers_transaction:
        runner.renew_connection()
    _store_end(chunk, words)
    if trace:
        log.error("search_failed", search=chunk.search_id, exception=trace)
    return None


def _words_of_end(error: BaseException, strategy: str, cut_off_by: EndedBy | None) -> str:
    """The reason for which a search has failed; empty where it has not."""
    if cut_off_by is EndedBy.DEADLINE:
        return out_of_time()
    return "" if cut_off_by else runner.error_for_user(error, strategy)


def _store_end(chunk: SearchChunk, words: str) -> None:
    """Fail the search if there are words for it, and give the chunk back."""
    if words:
        SearchChunk.objects.fail_search(chunk, words, now=datetime.now(UTC))
    SearchChunk.objects.release(chunk)
