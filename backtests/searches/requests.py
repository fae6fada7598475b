"""Requests for searches: their points, their validation, and the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from backtests import catalogue
from backtests.analysis import search
from backtests.analysis.folds import MOST_FOLDS
from backtests.analysis.search import Point
from backtests.models import Search
from backtests.requests import BacktestRequest, find_strategy
from backtests.strategies import UnknownStrategy
from backtests.strategies.parameters import BadParameter, Schema, Value
from kalshi_insights.bad_input import BadInput
from kalshi_insights.processes.broker import sender

# The task goes by name: its module imports the engines, which a web process does not need.
CHUNK_TASK = "backtests.tasks.run_search_chunk"
MAX_POINTS = 5_000
MAX_UNFINISHED = 2
MAX_SEED = 2**53
MAX_EMBARGO_HOURS = 8_760.0


class TooManySearches(Exception):
    """The owner of a search has to wait for other searches of theirs to finish."""

    def __init__(self, *, is_own: bool) -> None:
        whose = "You already have" if is_own else "Its owner already has"
        super().__init__(
            f"{whose} {MAX_UNFINISHED} unfinished searches. Wait for one to finish, or cancel one."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search to be made.

    `run` has the parameters that stay the same; `varied` has the values of the others, as a list or
    as text (`0.1,0.2` or `0.1:0.3:0.1`). With `runs`, so many combinations are chosen by the
    `seed`; else all of them run.
    """

    run: BacktestRequest
    varied: Mapping[str, Sequence[Any] | str]
    runs: int | None = None
    seed: int = 0
    folds: int = 0
    embargo_hours: float = 0
    most: int = field(default=MAX_POINTS)

    def validated(self, *, now: datetime) -> tuple[dict[str, Any], list[Point]]:
        """The columns of a `Search`, and its points. Raises BadInput, naming the field."""
        columns = self.run.validated(now=now)
        del columns["check_lookahead"]
        varied = self._varied(find_strategy(self.run.strategy).schema)
        columns["params"] = {n: v for n, v in columns["params"].items() if n not in varied}
        self._check_numbers()
        choice = {
            "varied": varied,
            "runs": self.runs,
            "seed": self.seed,
            "folds": self.folds,
            "embargo_hours": self.embargo_hours,
        }
        return columns | choice, self._points(varied)

    def _varied(self, schema: Schema) -> dict[str, list[Value]]:
        if not self.varied:
            raise BadInput("vary", "Name at least one parameter with the values to try.")
        for name in self.varied.keys() & self.run.params.keys():
            raise BadInput(f"vary.{name}", "It has a fixed value, too.")
        try:
            given = {
                name: search.parse_values(name, values) if isinstance(values, str) else values
                for name, values in self.varied.items()
            }
            return search.read_values(schema, given)
        except BadParameter as fault:
            raise BadInput(f"vary.{fault.name}", fault.message) from None

    def _points(self, varied: Mapping[str, Sequence[Value]]) -> list[Point]:
        if self.runs is not None:
            return search.sample(varied, self.runs, seed=self.seed)
        try:
            return search.grid(varied, most=self.most)
        except BadParameter as fault:
            raise BadInput(f"vary.{fault.name}", fault.message) from None

    def _check_numbers(self) -> None:
        if self.runs is not None and not 1 <= self.runs <= self.most:
            raise BadInput("runs", f"Must be between 1 and {self.most:,}.")
        if not 0 <= self.seed <= MAX_SEED:
            raise BadInput("seed", f"Must be between 0 and {MAX_SEED:,}.")
        if not 0 <= self.folds <= MOST_FOLDS:
            raise BadInput("folds", f"Must be between 0 and {MOST_FOLDS}.")
        if not (isfinite(self.embargo_hours) and 0 <= self.embargo_hours <= MAX_EMBARGO_HOURS):
            raise BadInput("embargo_hours", f"Must be between 0 and {MAX_EMBARGO_HOURS:,.0f}.")


def store(request: SearchRequest, *, user: User | None, now: datetime) -> Search:
    """Store a search without calling a worker. Raises BadInput."""
    columns, points = request.validated(now=now)
    try:
        file, files = catalogue.sources(request.run.strategy)
    except UnknownStrategy as fault:  # its file was changed or removed this moment
        raise BadInput("strategy", str(fault)) from None
    source = {"strategy_file": file, "strategy_files": files}
    return Search.objects.queue(columns | source, points, user=user, now=now)


def submit(request: SearchRequest, *, user: User, now: datetime) -> Search:
    """Queue a search and call a worker. Raises BadInput and TooManySearches."""
    request.validated(now=now)
    request.run.selection.check_quotes()
    with transaction.atomic():
        # One request of a user at a time, so that the count holds.
        User.objects.select_for_update().get(pk=user.pk)
        if _unfinished(user) >= MAX_UNFINISHED:
            raise TooManySearches(is_own=True)
        queued = store(request, user=user, now=now)
        # Without the broker, the search waits until maintenance finds that nobody takes it.
        transaction.on_commit(lambda: call_worker(queued.pk), robust=True)
    return queued


def resume(id: int, *, user: User) -> bool:
    """Queue the rest of a search that was cancelled or has failed, and call a worker.

    False where it was neither. Raises TooManySearches where its owner has too many others.
    """
    with transaction.atomic():
        owner = User.objects.select_for_update(of=("self",)).filter(searches=id).first()
        if not Search.objects.resume(id):
            return False
        if owner is not None and _unfinished(owner) > MAX_UNFINISHED:
            raise TooManySearches(is_own=owner == user)
        transaction.on_commit(lambda: call_worker(id), robust=True)
    return True


def _unfinished(user: User) -> int:
    return Search.objects.of_user(user).unfinished().count()


def call_worker(id: int) -> None:
    """Call one worker for a search. With its first chunk it calls the next one, as long as chunks
    wait, so that all that are idle take part."""
    sender.send_task(CHUNK_TASK, (id,))
