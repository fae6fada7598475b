"""Searches of parameters: the request, and every point with its result."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from backtests.analysis.search import Point
from backtests.metrics.figures import too_few
from backtests.metrics.ratios import for_a_year
from backtests.models.requested import Engine, RequestedRun
from backtests.models.results import RUN_BACKTESTS, UNFINISHED, BacktestStatus
from backtests.models.search_chunks import ChunkStatus, SearchChunk
from backtests.models.trials import TrialRow, hash_of
from backtests.record import record
from kalshi_insights.bad_input import writable

# Points that a worker takes at a time. A run of backtrader takes as long as many of the kernel.
CHUNK_SIZES: Mapping[str, int] = {Engine.KERNEL: 16, Engine.BACKTRADER: 1}
LONGEST_ERROR = 1_000
# No chunk was claimed for so long, so the messages to the workers may be lost.
IDLE_AFTER = timedelta(minutes=2)
# The keys by which points are ordered; one without a result comes last both ways.
POINT_ORDERS = ("number", "pnl", "test_pnl", "fees", "fills", "events", "sharpe")
WIDE_COLUMNS = ("code_fingerprint", "data_fingerprint", "strategy_files", "figures", "plan")


class Progress(NamedTuple):
    """The progress of a search: points with a result, share of all work, and chunks under way."""

    done: int
    share: float
    running: int


class SearchQuerySet(models.QuerySet["Search"]):
    # --- the life of a search --------------------------------------------------------------------

    def queue(
        self,
        columns: Mapping[str, Any],
        points: Sequence[Point],
        *,
        user: User | None,
        now: datetime,
    ) -> "Search":
        """Store a search with its points, which workers take in chunks; `columns` come from a
        validated request."""
        with transaction.atomic():
            search = self.create(**columns, points_count=len(points), user=user, created_at=now)
            SearchPoint.objects.bulk_create(
                SearchPoint(search=search, number=number, params=params)
                for number, params in enumerate(points, start=1)
            )
            SearchChunk.objects.bulk_create(search.new_chunks())
            if search.imports:
                record.imports.note_use(search.imports, f"search {search.pk}")
        return search

    def fail(self, id: int, error: str, *, now: datetime) -> bool:
        """Store a failure with its reason in words; False where the search has ended before."""
        words = writable(error[:LONGEST_ERROR])[:LONGEST_ERROR]
        return bool(
            self.filter(pk=id)
            .unfinished()
            .update(status=BacktestStatus.FAILED, error=words, finished_at=now)
        )

    def cancel(self, id: int, *, now: datetime) -> bool:
        """Cancel a search; its workers hear of it with their next heartbeat.

        False where it has ended. Points that are done keep their results.
        """
        return bool(
            self.filter(pk=id).unfinished().update(status=BacktestStatus.CANCELLED, finished_at=now)
        )

    def resume(self, id: int) -> bool:
        """Queue the rest of a search that was cancelled or has failed; False of any other.

        The rest are the points without a result, also those that have an error.
        """
        stopped = Q(status__in=(BacktestStatus.CANCELLED, BacktestStatus.FAILED))
        with transaction.atomic():
            resumed = self.filter(stopped, pk=id).update(
                status=BacktestStatus.QUEUED, error="", finished_at=None, claimed_at=None
            )
            if resumed:
                SearchChunk.objects.requeue(id, SearchPoint.objects.of_search(id).without_result())
        return bool(resumed)

    def complete(self, id: int) -> "Search | None":
        """The search if all its points have run and nobody has summed it up yet."""
        return (
            self.filter(pk=id)
            .unfinished()
            .exclude(chunks__status__in=(ChunkStatus.QUEUED, ChunkStatus.RUNNING))
            .first()
        )

    def finish(self, search: "Search", figures: Mapping[str, Any], *, now: datetime) -> bool:
        """Store the figures of a complete search; False where it has ended meanwhile."""
        return bool(
            self.filter(pk=search.pk)
            .unfinished()
            .update(status=BacktestStatus.DONE, figures=figures, finished_at=now)
        )

    def uncalled(self, *, now: datetime) -> list[int]:
        """The searches for which a worker should be called.

        They have waiting chunks, or are complete and not summed up, and nobody has begun anything
        of them for a while. Calling once too often does no harm.
        """
        recently = Q(claimed_at__gt=now - IDLE_AFTER, claimed_at__lte=now)
        busy = SearchChunk.objects.filter(recently | Q(status=ChunkStatus.RUNNING))
        idle = self.unfinished().exclude(chunks__in=busy)
        idle = idle.exclude(created_at__gt=now - IDLE_AFTER, created_at__lte=now)
        return list(idle.order_by("pk").values_list("pk", flat=True))

    # --- reads -----------------------------------------------------------------------------------

    def for_list(self) -> Self:
        """Searches with their users, the newest first, without the wide columns."""
        newest = self.order_by("-created_at", "-id")
        return newest.select_related("user").defer(*WIDE_COLUMNS).with_progress()

    def of_user(self, user: User) -> Self:
        return self.filter(user=user)

    def unfinished(self) -> Self:
        return self.filter(status__in=UNFINISHED)

    def with_progress(self) -> Self:
        """Searches with `work`, the points that have run or are under way, each by its share."""
        share = Sum(F("size") * F("progress"), output_field=models.FloatField())
        chunks = SearchChunk.objects.filter(search=models.OuterRef("pk")).order_by()
        work = chunks.values("search").annotate(work=share).values("work")
        return self.annotate(work=Coalesce(models.Subquery(work), 0.0))


class Search(RequestedRun):
    """One search: a strategy with values to try for some of its parameters.

    `params` are the parameters that stay the same, `varied` the values of the others.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="searches",
        null=True,
        blank=True,
    )
    varied = models.JSONField(help_text="The values to try of each parameter, by its name.")
    runs = models.IntegerField(
        null=True,
        blank=True,
        help_text="So many combinations were chosen at random; without it, all of them.",
    )
    seed = models.BigIntegerField(default=0, help_text="The seed of the random choice.")
    folds = models.IntegerField(default=0, help_text="The folds of a walk-forward; 0 for none.")
    embargo_hours = models.FloatField(
        default=0, help_text="Markets that were over so shortly before a fold train nothing for it."
    )
    points_count = models.IntegerField(help_text="The number of points.")
    strategy_file = models.CharField(max_length=200, blank=True)
    strategy_files = models.JSONField(
        default=dict,
        blank=True,
        help_text="The text of every file of a strategy of one's own, by name. It is what runs.",
    )

    status = models.CharField(max_length=10, choices=BacktestStatus, default=BacktestStatus.QUEUED)
    claimed_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(
        blank=True, help_text="The reason for a failure, in words for the user."
    )

    code_fingerprint = models.JSONField(default=dict, blank=True)
    data_fingerprint = models.JSONField(default=dict, blank=True)
    snapshots = models.IntegerField(null=True, blank=True)
    markets = models.IntegerField(null=True, blank=True)
    plan = models.JSONField(
        default=dict, blank=True, help_text="The instants of the periods, and the folds."
    )
    figures = models.JSONField(
        default=dict, blank=True, help_text="The best point, and the walk-forward."
    )

    objects = SearchQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "searches"
        indexes = [
            models.Index(F("created_at").desc(), F("id").desc(), name="search_newest"),
            models.Index(
                fields=["status"],
                condition=Q(status__in=["queued", "running"]),
                name="search_unfinished",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(cash__gt=0), name="search_has_cash"),
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="search_has_a_window"),
            models.CheckConstraint(
                condition=Q(status__in=BacktestStatus.values), name="search_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"]) ^ Q(finished_at__isnull=False),
                name="search_finished_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(status=BacktestStatus.FAILED) ^ Q(error=""),
                name="search_failed_says_why",
            ),
        ]

    def __str__(self) -> str:
        return f"search {self.pk} of {self.strategy}"

    @property
    def is_finished(self) -> bool:
        return self.status not in UNFINISHED

    @property
    def may_resume(self) -> bool:
        return self.status in (BacktestStatus.CANCELLED, BacktestStatus.FAILED)

    def new_chunks(self) -> list[SearchChunk]:
        """The chunks of all points, none of them stored yet."""
        size = CHUNK_SIZES[self.engine]
        firsts = range(1, self.points_count + 1, size)
        return [
            SearchChunk(
                search=self,
                number=number,
                first=first,
                size=min(size, self.points_count + 1 - first),
            )
            for number, first in enumerate(firsts, start=1)
        ]

    def progress(self) -> Progress:
        done, running, work = self.chunks.work()
        return Progress(done, work / self.points_count, running)

    def params_of(self, point: Point) -> Point:
        """All parameters of one of its points."""
        return {**self.params, **point}

    def can_be_changed_by(self, user: User | AnonymousUser) -> bool:
        """Users who may run backtests may cancel and resume their own searches, and staff all."""
        if not user.has_perm(RUN_BACKTESTS):
            return False
        return user.is_staff or self.user_id == user.pk


class SearchPointQuerySet(models.QuerySet["SearchPoint"]):
    def of_search(self, search_id: int) -> Self:
        return self.filter(search=search_id).order_by("number")

    def of_chunk(self, chunk: SearchChunk) -> Self:
        numbers = range(chunk.first, chunk.first + chunk.size)
        return self.of_search(chunk.search_id).filter(number__in=numbers)

    def run(self) -> Self:
        """The points that have a result."""
        return self.filter(pnl__isnull=False)

    def without_result(self) -> Self:
        return self.filter(pnl__isnull=True)

    def ordered_by(self, *keys: str) -> Self:
        """Order points by keys of `POINT_ORDERS`, or by `params__` and the name of a parameter."""
        expressions = [
            F(key[1:]).desc(nulls_last=True) if key.startswith("-") else F(key).asc(nulls_last=True)
            for key in keys
        ]
        return self.order_by(*expressions, "number")

    def narrow(self) -> Self:
        return self.defer("changes", "fold_changes")

    def store(self, points: Sequence["SearchPoint"]) -> None:
        """Store the results of points."""
        self.bulk_update(points, RESULT_COLUMNS)


class SearchPoint(models.Model):
    """One point of a search: a value for each varied parameter, and what came of them.

    Money is in millionths of a dollar. A point without a `pnl` has not run, or ended with an
    `error`.
    """

    search = models.ForeignKey(
        Search,
        on_delete=models.CASCADE,
        related_name="points",
        db_index=False,  # `search_point_once` begins with the search
    )
    number = models.IntegerField(help_text="The place in the search, from 1 on.")
    params = models.JSONField(help_text="The values of the varied parameters.")
    error = models.TextField(blank=True)
    pnl = models.BigIntegerField(null=True, blank=True)
    test_pnl = models.BigIntegerField(
        null=True, blank=True, help_text="The sum over the tests of all folds."
    )
    fees = models.BigIntegerField(null=True, blank=True)
    fills = models.IntegerField(null=True, blank=True)
    events = models.IntegerField(
        null=True, blank=True, help_text="The number of events that it traded in."
    )
    won = models.IntegerField(
        null=True, blank=True, help_text="The number of those in which it gained."
    )
    days = models.IntegerField(null=True, blank=True, help_text="The number of daily returns.")
    sharpe = models.FloatField(
        null=True, blank=True, help_text="The Sharpe ratio of daily returns, for a day."
    )
    skewness = models.FloatField(null=True, blank=True)
    kurtosis = models.FloatField(null=True, blank=True)
    folds = models.JSONField(
        default=list, blank=True, help_text="The P&L on the markets of each fold: train and test."
    )
    changes = models.BinaryField(
        null=True, blank=True, help_text="The change of equity in each period, as 64-bit integers."
    )
    fold_changes = models.BinaryField(
        null=True, blank=True, help_text="The same on the test markets of each fold, one by one."
    )

    objects = SearchPointQuerySet.as_manager()

    class Meta:
        ordering = ["search", "number"]
        constraints = [
            models.UniqueConstraint(fields=["search", "number"], name="search_point_once")
        ]

    def __str__(self) -> str:
        return f"point {self.number} of search {self.search_id}"

    @property
    def annual_sharpe(self) -> float | None:
        """The Sharpe ratio for a year; None where a result would withhold it."""
        if self.sharpe is None or self.withheld:
            return None
        return for_a_year(self.sharpe)

    @property
    def withheld(self) -> str:
        """The reason for which its annual ratio is withheld, or an empty text."""
        few = too_few(self.days or 0, self.events or 0)
        return few or ("daily equity did not vary" if self.sharpe is None else "")

    def judged_figures(self) -> dict[str, dict[str, Any]]:
        """Its figures that are judged by the number of trials, as those of a result."""
        return {
            "ratios": {
                "sharpe": self.annual_sharpe,
                "withheld": self.withheld,
                "periods": self.days,
                "skewness": self.skewness,
                "kurtosis": self.kurtosis,
            },
            "events": {"traded": self.events, "won": self.won},
        }

    def trial(self, search: Search) -> TrialRow:
        """The trial of the search's strategy that it is, once it has run."""
        return TrialRow(
            strategy=search.strategy,
            parameters=search.params_of(self.params),
            universe=hash_of(search.data_fingerprint),
            code=hash_of(search.code_fingerprint),
            periods=self.days or 0,
            sharpe=self.sharpe,
            skewness=self.skewness,
            kurtosis=self.kurtosis,
        )


RESULT_COLUMNS = (
    "error", "pnl", "test_pnl", "fees", "fills", "events", "won", "days", "sharpe", "skewness",
    "kurtosis", "folds", "changes", "fold_changes",
)  # fmt: skip
