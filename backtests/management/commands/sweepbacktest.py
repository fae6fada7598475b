"""The command that searches parameters: on earlier markets with a look at later ones, or by a
walk-forward; here and for nobody else, stored, or on the workers."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import catalogue, loading
from backtests.analysis import fingerprints
from backtests.analysis.search import MAX_COMBINATIONS, Point
from backtests.data.universe import MONEY, Universe, microseconds
from backtests.engine import kernel
from backtests.engine.kernel import RunSummary
from backtests.management.commands.runbacktest import (
    FAILED,
    MISUSED,
    add_execution_arguments,
    add_selection_arguments,
    add_strategy_arguments,
    choose_strategy,
    parse_pairs,
    request_from,
)
from backtests.metrics import dollars
from backtests.models import BacktestStatus, Search, SearchChunk, SearchPoint, Trial, TrialRow
from backtests.models.trials import hash_of
from backtests.requests import BacktestRequest
from backtests.rules.execution import FillModel
from backtests.search_report import summary
from backtests.searches import runner, unstored
from backtests.searches.requests import SearchRequest, call_worker, store
from backtests.strategies import UnknownStrategy
from backtests.strategies.base import Signal
from backtests.strategies.parameters import Value
from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import ProgressBar, parse_instant

BATCH = 32  # runs between two updates of the progress bar
WATCH_SECONDS = 0.5
INTERRUPTED = 130
# The flags of fields that have another name in requests.
FLAGS = {"runs": "random", "folds": "walk-forward", "params": "param", "imports": "import"}
OF_NEW_SEARCHES = (
    "strategy", "file", "param", "vary", "random", "seed", "walk_forward", "embargo_hours",
    "confirm_from", "save", "series", "event", "ticker", "start", "end", "imports",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Run a strategy with many parameter combinations on the markets that were settled by an"
        " instant, and show what the best combinations would have earned on the markets that began"
        " after it. The best of many always looks good where it was found: only the later column"
        " counts. With --walk-forward, choose again and again on the past and test on what came"
        " next; with --save, store every combination as a search, and with --queue let the workers"
        " run it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add_strategy_arguments(parser)
        add("--vary", action="append", metavar="NAME=VALUES", default=[],
            help="values of a parameter, as 0.1,0.2 or 0.05:0.2:0.05; may be repeated")  # fmt: skip
        add("--random", type=int, metavar="N",
            help="try so many combinations, chosen at random (all of them)")  # fmt: skip
        add("--seed", type=int, default=0, help="seed of the random choice (0)")
        add("--confirm-from", default="",
            help="day or instant that parts earlier and later markets (the middle of the window)",
        )  # fmt: skip
        add("--walk-forward", type=int, default=0, metavar="FOLDS",
            help="test choices on later markets so many times")  # fmt: skip
        add("--embargo-hours", type=float, default=0,
            help="leave out of each choice what was over less than so many hours before its test"
            " (0)",
        )  # fmt: skip
        add("--best", type=int, default=10, help="combinations to show (10)")
        add("--save", action="store_true", help="store the search, and run it here")
        add("--queue", action="store_true", help="store the search, and let the workers run it")
        add("--resume", type=int, metavar="ID",
            help="go on with a stored search, here or with --queue on the workers")  # fmt: skip
        add_selection_arguments(parser)
        add_execution_arguments(parser)

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            with ExitStack() as stack, ProgressBar(sys.stderr) as bar:
                lines = self.lines(options, stack, bar, now=now)
        except BadInput as fault:
            words = f"{flag_of(fault.field)}: {fault.message}"
            raise CommandError(words, returncode=MISUSED) from None
        except UnknownStrategy as fault:  # its file was changed or removed this moment
            raise CommandError(f"strategy: {fault}", returncode=MISUSED) from None
        self.stdout.write("\n".join(lines))

    def lines(
        self, options: dict[str, Any], stack: ExitStack, bar: ProgressBar, *, now: datetime
    ) -> Sequence[str]:
        """The lines to print. Raises BadInput."""
        check_combination(options)
        if options["resume"] is not None:
            return run_stored(resumed(options["resume"]), bar, options)
        choose_strategy(options, stack, warn=self.stderr.write)
        request = search_request(options, now=now)
        if options["save"] or options["queue"]:
            request.run.selection.check_quotes()
            return run_stored(store(request, user=None, now=now), bar, options)
        if options["walk_forward"]:
            search, points = unstored.run(request, now=now, on_progress=bar.update)
            return list(summary(search, points, best=options["best"]))
        return confirmed(request, options, bar, now=now)


def flag_of(field: str) -> str:
    """The flag by which a field of a request was given."""
    name, _, rest = field.partition(".")
    return ".".join(filter(None, (FLAGS.get(name, name.replace("_", "-")), rest)))


def check_combination(options: dict[str, Any]) -> None:
    """Refuse options that would have no effect beside the others. Raises BadInput."""
    if options["best"] < 1:
        raise BadInput("best", "Must be at least 1.")
    if options["resume"] is not None:
        for name in OF_NEW_SEARCHES:
            if options[name]:
                raise BadInput(name, "A search is resumed as it was requested.")
    if options["save"] and options["queue"]:
        raise BadInput("save", "Of --save and --queue, choose where to run the search.")
    if options["confirm_from"] and (options["save"] or options["queue"]):
        raise BadInput("confirm-from", "A stored search has a --walk-forward for that.")
    if options["confirm_from"] and options["walk_forward"]:
        raise BadInput("confirm-from", "A walk-forward has boundaries of its own.")
    if options["embargo_hours"] and not options["walk_forward"]:
        raise BadInput("embargo-hours", "It has an effect with --walk-forward alone.")
    if options["seed"] and options["random"] is None:
        raise BadInput("seed", "It has an effect with --random alone.")


def search_request(options: dict[str, Any], *, now: datetime) -> SearchRequest:
    """Read the request from the command's options, and check it. Raises BadInput."""
    is_stored = options["save"] or options["queue"]
    request = SearchRequest(
        run=request_from({"engine": "", **options}, now=now),
        varied=parse_pairs(options["vary"], "vary"),
        runs=options["random"],
        seed=options["seed"],
        folds=options["walk_forward"],
        embargo_hours=options["embargo_hours"],
        **({} if is_stored else {"most": MAX_COMBINATIONS}),
    )
    request.validated(now=now)
    return request


# --- stored searches -----------------------------------------------------------------------------


def resumed(id: int) -> Search:
    search = Search.objects.filter(pk=id).first()
    if search is None:
        raise BadInput("resume", f"There is no search {id}.")
    if search.status == BacktestStatus.DONE:
        raise BadInput("resume", f"Search {id} is done.")
    SearchChunk.objects.requeue_lost(now=datetime.now(UTC))
    Search.objects.resume(id)
    search.refresh_from_db()
    return search


def run_stored(search: Search, bar: ProgressBar, options: dict[str, Any]) -> Sequence[str]:
    """Run a stored search here or watch the workers run it. Raises CommandError if it fails."""
    if options["queue"]:
        watch_workers(search, bar)
    else:
        run_here(search, bar)
    search.refresh_from_db()
    if search.status != BacktestStatus.DONE:
        words = f"Search {search.pk} {search.status}: {search.error}"
        raise CommandError(words, returncode=FAILED)
    points = list(SearchPoint.objects.of_search(search.pk).narrow())
    return list(summary(search, points, best=options["best"]))


def watch_workers(search: Search, bar: ProgressBar) -> None:
    call_worker(search.pk)
    try:
        watch(search, bar)
    except KeyboardInterrupt:
        words = f"The workers go on with search {search.pk}."
        raise CommandError(words, returncode=INTERRUPTED) from None


def run_here(search: Search, bar: ProgressBar) -> None:
    """Run a stored search in this process; whoever ends that has cancelled it."""
    try:
        while runner.run_chunk(search.pk):
            update(search, bar)
        # Workers may have taken some of it.
        search.refresh_from_db()
        watch(search, bar)
    except (KeyboardInterrupt, SystemExit):
        Search.objects.cancel(search.pk, now=datetime.now(UTC))
        words = f"Search {search.pk} is cancelled; --resume {search.pk} goes on with it."
        raise CommandError(words, returncode=INTERRUPTED) from None


def watch(search: Search, bar: ProgressBar) -> None:
    while not search.is_finished:
        update(search, bar)
        time.sleep(WATCH_SECONDS)
        search.refresh_from_db(fields=["status"])


def update(search: Search, bar: ProgressBar) -> None:
    progress = search.progress()
    bar.update(progress.share, f"{progress.done:,} of {search.points_count:,} points")


# --- earlier and later markets -------------------------------------------------------------------


def confirmed(
    request: SearchRequest, options: dict[str, Any], bar: ProgressBar, *, now: datetime
) -> list[str]:
    strategy = catalogue.load(request.run.strategy)
    if not issubclass(strategy, Signal):
        raise BadInput(
            "strategy",
            f"{strategy.name} sends its own orders; search it with --walk-forward or --save.",
        )
    columns, points = request.validated(now=now)
    signals = [strategy(**{**columns["params"], **point}) for point in points]
    parts = split(request.run, options["confirm_from"], bar, now=now)
    found = [run_all(request.run, part, signals, bar) for part in parts]
    record_trials(strategy, columns["params"], points, parts[0])
    earlier, later = (len(part.listings) for part in parts)
    counts = (
        f"{len(points):,} combinations, searched on {earlier:,} markets, confirmed on"
        f" {later:,} later ones."
    )
    lines = table(points, *found, cash=int(request.run.cash * MONEY), best=options["best"])
    return [counts, "", *lines]


def record_trials(
    strategy: type[Signal], params: Mapping[str, Value], points: Sequence[Point], universe: Universe
) -> None:
    """Record each combination as a trial; without a journal, nobody knows its daily returns."""
    data = hash_of(fingerprints.data_fingerprint(universe))
    code = hash_of(fingerprints.code_fingerprint(strategy))
    Trial.objects.record_all(
        TrialRow(strategy.name, {**params, **point}, data, code, 0, None, None, None)
        for point in points
    )


def split(
    request: BacktestRequest, confirm_from: str, bar: ProgressBar, *, now: datetime
) -> tuple[Universe, Universe]:
    """The universe of earlier markets, and that of later ones.

    Raises BadInput where one of them is empty.
    """
    selection = request.selection
    middle = selection.start + (selection.end - selection.start) / 2
    at = parse_instant("confirm-from", confirm_from) if confirm_from else middle
    universe = loading.load(
        selection, known_by=now, on_progress=lambda share: bar.update(share, "reading quotes")
    )
    parts = universe.split_at(microseconds(at))
    for part, words in zip(parts, ("was settled by", "began after"), strict=True):
        if not part.listings:
            raise BadInput("confirm-from", f"No market {words} {at:%Y-%m-%d %H:%M} UTC.")
    return parts


def run_all(
    request: BacktestRequest, universe: Universe, signals: Sequence[Signal], bar: ProgressBar
) -> list[RunSummary]:
    found: list[RunSummary] = []
    for first in range(0, len(signals), BATCH):
        bar.update(first / len(signals), f"trying {len(signals):,} combinations")
        found += kernel.run_many(
            universe,
            signals[first : first + BATCH],
            request.execution,
            FillModel.EXPECTED,
            cash=int(request.cash * MONEY),
        )
    return found


def table(
    points: Sequence[Point],
    earlier: Sequence[RunSummary],
    later: Sequence[RunSummary],
    *,
    cash: int,
    best: int,
) -> Iterator[str]:
    """The best combinations on the earlier markets, with their P&L on the later ones."""
    ranked = sorted(range(len(points)), key=lambda n: (-earlier[n].equity, n))
    yield f"{'earlier P&L':>14}  {'later P&L':>14}  {'fills':>6}  parameters"
    for n in ranked[:best]:
        params = " ".join(f"{name}={value}" for name, value in points[n].items())
        pnls = (dollars(each[n].equity - cash) for each in (earlier, later))
        yield "  ".join((*(f"{pnl:>14}" for pnl in pnls), f"{later[n].fills:>6,}", params))
