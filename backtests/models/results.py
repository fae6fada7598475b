"""Backtest runs: their requests, progress and results."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, models, transaction
from django.db.models import Case, F, Q, Value, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from backtests.annotations.series import DrawnSeries
from backtests.charted_series import ChartedSeries
from backtests.data.universe import MONEY
from backtests.models.requested import Engine, RequestedRun
from backtests.models.trials import Trial, TrialRow
from backtests.record import record
from backtests.rules.journal import JournalEntry
from kalshi_insights.bad_input import writable
from kalshi_insights.export.copy import copy_rows

# The permission that requesting and cancelling runs needs.
RUN_BACKTESTS = "backtests.run_backtest"
# A running backtest sends a heartbeat far more often than this, so its worker has died.
LOST_AFTER = timedelta(minutes=5)
# Nobody has claimed the run within this time, so its message to the workers may be lost.
UNCLAIMED_AFTER = timedelta(minutes=2)
MAX_ATTEMPTS = 2
LOST_ERROR = (
    "The worker died twice while running it, or gave no sign of life for five minutes. It may need"
    " more memory than there is, or call a library that does not return."
)
LOST_FILE_ERROR = (
    "Its command ended before it was stored, or gave no sign of life for five minutes, and no other"
    " process has the file of its strategy. Run it again."
)
LONGEST_ERROR = 1_000
LONGEST_DOING = 200
# Lists leave these columns out.
WIDE_COLUMNS = (
    "curve", "figures", "band", "yardsticks", "code_fingerprint", "data_fingerprint",
    "strategy_files", "analyses", "conditions",
)  # fmt: skip
# The columns of an execution, in the order of `JournalEntry`.
ENTRY_COLUMNS = tuple("count" if name == "contracts" else name for name in JournalEntry._fields)

DOLLARS: "models.DecimalField[Decimal, Decimal]" = models.DecimalField(
    max_digits=24, decimal_places=6
)
# The P&L of the headline, from millionths of a dollar; open positions count at their marks.
PNL = Cast(Cast(KT("figures__money__pnl"), DOLLARS) / MONEY, DOLLARS)


class BacktestStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (BacktestStatus.QUEUED, BacktestStatus.RUNNING)


class HeartbeatReply(StrEnum):
    GO_ON = "go on"
    CANCELLED = "cancelled"
    TAKEN = "taken"  # the run was given up for lost: another worker has it, or it has ended


def _failed(words: str) -> dict[str, Case]:
    """The columns of a run that has failed, or was cancelled where that was asked for before."""
    is_cancelled = Q(cancel_requested=True)
    return {
        "status": Case(
            When(is_cancelled, then=Value(BacktestStatus.CANCELLED.value)),
            default=Value(BacktestStatus.FAILED.value),
        ),
        "error": Case(When(is_cancelled, then=Value("")), default=Value(words)),
    }


class BacktestResultQuerySet(models.QuerySet["BacktestResult"]):
    # --- the life of a run -----------------------------------------------------------------------

    def queue(
        self, columns: Mapping[str, Any], *, user: User | None, now: datetime
    ) -> "BacktestResult":
        """Store a run to be made; `columns` come from a validated request.

        One that has its `strategy_files` from the beginning is run by the process that queues it,
        and by no other. The imports that it names note that it uses them.
        """
        result = self.create(**columns, user=user, created_at=now)
        if result.imports:
            record.imports.note_use(result.imports, f"backtest {result.pk}")
        return result

    def claim(self, id: int, *, now: datetime) -> "BacktestResult | None":
        """Claim a queued run; None where another worker has it, or it has ended."""
        claimed = self.filter(pk=id, status=BacktestStatus.QUEUED).update(
            status=BacktestStatus.RUNNING,
            token=uuid4(),
            attempts=F("attempts") + 1,
            claimed_at=now,
            heartbeat_at=now,
            progress=0,
            doing="",
        )
        return self.get(pk=id) if claimed else None

    def heartbeat(
        self, held: "BacktestResult", *, progress: float, doing: str, now: datetime
    ) -> HeartbeatReply:
        """Store the progress of a run, in one statement that waits for nobody.

        A row that this session does not see, as its transaction is still open, tells nothing.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH beat AS (
                    UPDATE backtests_backtestresult
                    SET heartbeat_at = %(now)s, progress = %(progress)s, doing = %(doing)s
                    WHERE id = (
                        SELECT id FROM backtests_backtestresult
                        WHERE id = %(id)s AND token = %(token)s FOR UPDATE SKIP LOCKED
                    )
                )
                SELECT token IS NOT DISTINCT FROM %(token)s, cancel_requested
                FROM backtests_backtestresult WHERE id = %(id)s
                """,
                {
                    "now": now,
                    "progress": progress,
                    "doing": writable(doing)[:LONGEST_DOING],
                    "id": held.pk,
                    "token": held.token,
                },
            )
            is_ours, is_cancelled = cursor.fetchone() or (True, False)
        if not is_ours:
            return HeartbeatReply.TAKEN
        return HeartbeatReply.CANCELLED if is_cancelled else HeartbeatReply.GO_ON

    def finish(
        self,
        held: "BacktestResult",
        columns: Mapping[str, Any],
        entries: Iterable[JournalEntry],
        drawn: Iterable[tuple[str, DrawnSeries]] = (),
        trials: Iterable[TrialRow] = (),
    ) -> bool:
        """Store the results of a run, all its executions, its series and its trial, or nothing.

        False where the run has been cancelled or another worker has it. It has finished once its
        executions are written.
        """
        with transaction.atomic():
            ours = self.filter(pk=held.pk, token=held.token, cancel_requested=False)
            if ours.select_for_update().values_list("pk").first() is None:
                return False
            copy_rows(
                "backtests_backtestexecution",
                ("result_id", *ENTRY_COLUMNS),
                ((held.pk, *entry) for entry in entries),
            )
            ChartedSeries.objects.store(held.pk, drawn)
            Trial.objects.record_all(trials)
            ours.update(
                **columns,
                status=BacktestStatus.DONE,
                token=None,
                progress=1,
                doing="",
                finished_at=datetime.now(UTC),
            )
        return True

    def fail(self, held: "BacktestResult", error: str, *, now: datetime) -> bool:
        """Store a failure with its reason in words, or the cancellation that was asked for before.

        False where another worker has the run.
        """
        words = writable(error[:LONGEST_ERROR])[:LONGEST_ERROR]
        return self._end(held.pk, held.token, **_failed(words), finished_at=now)

    def fail_lost(self, id: int, token: UUID, error: str, *, now: datetime) -> bool:
        """Store, as `fail` does, that the process which held a run has ended without a word."""
        return self._end(id, token, **_failed(error), finished_at=now)

    def mark_cancelled(self, held: "BacktestResult", *, now: datetime) -> bool:
        """Store that a run was cancelled; False where another worker has it."""
        cancelled = BacktestStatus.CANCELLED
        return self._end(held.pk, held.token, status=cancelled, finished_at=now)

    def _end(self, id: int, token: UUID | None, **columns: Any) -> bool:
        return bool(self.filter(pk=id, token=token).update(token=None, doing="", **columns))

    def request_cancel(self, id: int, *, now: datetime) -> bool:
        """Cancel a queued run at once, and ask a running one to stop.

        False where it has ended. One statement, so that no claim comes in between.
        """
        is_queued = Q(status=BacktestStatus.QUEUED)
        return bool(
            self.filter(pk=id)
            .unfinished()
            .update(
                cancel_requested=True,
                status=Case(
                    When(is_queued, then=Value(BacktestStatus.CANCELLED.value)),
                    default=F("status"),
                ),
                finished_at=Case(When(is_queued, then=Value(now)), default=F("finished_at")),
            )
        )

    def requeue_lost(self, *, now: datetime) -> list[int]:
        """Queue the runs of dead workers again; at the second death a run has failed, and at the
        first one where only its command has the file of its strategy.

        Returns the runs for which a worker should be called: these, and those that nobody has
        claimed for too long. Calling once too often does no harm.
        """
        # A clock that was set back leaves heartbeats of the dead in the future.
        silent = Q(heartbeat_at__lt=now - LOST_AFTER) | Q(heartbeat_at__gt=now + LOST_AFTER)
        lost = self.filter(silent, status=BacktestStatus.RUNNING)
        lost.filter(cancel_requested=True).update(
            status=BacktestStatus.CANCELLED, token=None, finished_at=now
        )
        unclaimed = Q(created_at__lt=now - UNCLAIMED_AFTER) | Q(created_at__gt=now)
        waiting = self.filter(unclaimed, status=BacktestStatus.QUEUED)
        for gone in (lost, waiting):
            gone.exclude(strategy_files={}).update(
                status=BacktestStatus.FAILED, token=None, error=LOST_FILE_ERROR, finished_at=now
            )
        lost.filter(attempts__gte=MAX_ATTEMPTS).update(
            status=BacktestStatus.FAILED, token=None, error=LOST_ERROR, finished_at=now
        )
        lost.update(status=BacktestStatus.QUEUED, token=None, progress=0, doing="")
        return list(waiting.order_by("id").values_list("id", flat=True))

    # --- reads -----------------------------------------------------------------------------------

    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")

    def for_list(self) -> Self:
        """Runs with their users, the newest first, without the wide columns."""
        return self.newest_first().select_related("user").defer(*WIDE_COLUMNS)

    def of_user(self, user: User) -> Self:
        return self.filter(user=user)

    def unfinished(self) -> Self:
        return self.filter(status__in=UNFINISHED)

    def with_pnl(self) -> Self:
        """Runs with their `pnl` in dollars; None until they are done."""
        return self.annotate(pnl=PNL)


class BacktestResult(RequestedRun):
    """One run of a strategy: the request, its progress, and its results.

    The worker that runs it holds `token`. Nothing is written without it, so a worker that was
    given up for lost and goes on all the same changes nothing.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="backtests",
        null=True,
        blank=True,
    )
    check_lookahead = models.BooleanField(
        default=False, help_text="Also check the strategy for look-ahead bias."
    )

    status = models.CharField(max_length=10, choices=BacktestStatus, default=BacktestStatus.QUEUED)
    progress = models.FloatField(default=0)
    doing = models.CharField(max_length=LONGEST_DOING, blank=True)
    cancel_requested = models.BooleanField(default=False)
    token = models.UUIDField(null=True, blank=True, editable=False)
    attempts = models.IntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(
        blank=True, help_text="The reason for a failure, in words for the user."
    )

    fees = models.JSONField(
        default=dict, blank=True, help_text="The kind of account, and the rounding of its fees."
    )
    code_fingerprint = models.JSONField(
        default=dict,
        blank=True,
        help_text="SHA-256 of the code, and the versions of the libraries.",
    )
    data_fingerprint = models.JSONField(
        default=dict, blank=True, help_text="SHA-256 of the input data."
    )
    strategy_files = models.JSONField(
        default=dict,
        blank=True,
        help_text="The text of every file that a strategy of one's own was imported from, by name.",
    )
    snapshots = models.IntegerField(null=True, blank=True)
    markets = models.IntegerField(null=True, blank=True)
    final_cash = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True)
    band = models.JSONField(
        default=dict, blank=True, help_text="The same figures in each fill scenario."
    )
    yardsticks = models.JSONField(
        default=dict, blank=True, help_text="The same figures of the yardstick strategies."
    )
    curve = models.JSONField(default=dict, blank=True)
    verdict = models.TextField(blank=True)
    assumptions = models.JSONField(default=list, blank=True)
    analyses = models.JSONField(
        default=dict,
        blank=True,
        help_text="The analyses of the strategy's analyzers, or why one is not kept, by name.",
    )
    conditions = models.JSONField(
        default=list,
        blank=True,
        help_text="How often each condition of the strategy held, where it sent no order.",
    )
    lookahead = models.JSONField(
        default=dict, blank=True, help_text="The result of the look-ahead check, if requested."
    )

    objects = BacktestResultQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [("run_backtest", "Can run backtests")]
        indexes = [
            models.Index(F("created_at").desc(), F("id").desc(), name="backtest_newest"),
            models.Index(
                fields=["status"],
                condition=Q(status__in=["queued", "running"]),
                name="backtest_unfinished",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(cash__gt=0), name="backtest_has_cash"),
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="backtest_has_a_window"),
            models.CheckConstraint(
                condition=~Q(series=[], events=[], tickers=[]), name="backtest_of_something"
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0, progress__lte=1), name="backtest_progress_is_a_share"
            ),
            models.CheckConstraint(
                condition=Q(status__in=BacktestStatus.values), name="backtest_status_known"
            ),
            models.CheckConstraint(
                condition=Q(engine__in=Engine.values), name="backtest_engine_known"
            ),
            models.CheckConstraint(
                condition=Q(status=BacktestStatus.RUNNING) ^ Q(token=None),
                name="backtest_held_while_running",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"]) ^ Q(finished_at__isnull=False),
                name="backtest_finished_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(status=BacktestStatus.FAILED) ^ Q(error=""),
                name="backtest_failed_says_why",
            ),
            models.CheckConstraint(
                condition=~Q(status=BacktestStatus.DONE) | Q(final_cash__gte=0),
                name="backtest_done_has_cash",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.strategy} {self.pk}"

    @property
    def is_finished(self) -> bool:
        return self.status not in UNFINISHED

    def heartbeat(self, *, progress: float, doing: str, now: datetime) -> HeartbeatReply:
        return BacktestResult.objects.heartbeat(self, progress=progress, doing=doing, now=now)

    def can_be_cancelled_by(self, user: User | AnonymousUser) -> bool:
        """Users who may run backtests may cancel their own, and staff all of them."""
        if not user.has_perm(RUN_BACKTESTS):
            return False
        return user.is_staff or self.user_id == user.pk
