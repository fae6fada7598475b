"""Runs and their executions: who runs what, what is stored, what is read, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from django.db import connection, models, transaction
from django.db.models import Case, F, Q, Value, When

from backtests.rules.journal import Line
from kalshi_insights.export.copy import copy_rows

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from backtests.models import BacktestExecution, BacktestResult  # noqa: F401

# No phase of a run is silent for so long; whoever is has died.
LOST_AFTER = timedelta(minutes=5)
# A message that has not been taken by then is sent again.
FORGOTTEN_AFTER = timedelta(minutes=2)
MOST_ATTEMPTS = 2
LOST = "Its worker died twice while it was running: it may need more memory than there is."
# What no list shows.
WIDE = ("curve", "figures", "band", "yardsticks", "code_fingerprint", "data_fingerprint")


class Heard(StrEnum):
    """What a run hears when it says that it is alive."""

    GO_ON = "go on"
    CANCELLED = "cancelled"
    TAKEN = "taken"  # given up for lost: somebody else has it now, or it has ended


# The columns of `audit.Line`.
COLUMNS = tuple("count" if name == "contracts" else name for name in Line._fields)


class BacktestResultQuerySet(models.QuerySet["BacktestResult"]):
    # --- one run through its life ----------------------------------------------------------------

    def queue(
        self, asked: Mapping[str, Any], *, user: User | None, now: datetime
    ) -> BacktestResult:
        """Put a run on record; `asked` are the columns of what is to be run, checked before."""
        return self.create(**asked, user=user, created_at=now)

    def claim(self, id: int, *, now: datetime) -> BacktestResult | None:
        """Take a run that is waiting; None where somebody else has it or it has ended."""
        token = uuid4()
        taken = self.filter(pk=id, status="queued").update(
            status="running",
            token=token,
            attempts=F("attempts") + 1,
            claimed_at=now,
            heartbeat_at=now,
            progress=0,
            doing="",
        )
        return self.get(pk=id) if taken else None

    def heartbeat(
        self, held: BacktestResult, *, progress: float, doing: str, now: datetime
    ) -> Heard:
        """Say how far a run is; one statement."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE backtests_backtestresult SET heartbeat_at = %s, progress = %s, doing = %s
                WHERE id = %s AND token = %s RETURNING cancel_requested
                """,
                [now, progress, doing, held.pk, held.token],
            )
            row = cursor.fetchone()
        if row is None:
            return Heard.TAKEN
        return Heard.CANCELLED if row[0] else Heard.GO_ON

    def finish(
        self,
        held: BacktestResult,
        found: Mapping[str, Any],
        lines: Iterable[Line],
        *,
        now: datetime,
    ) -> bool:
        """Store what came of a run and all its executions, or nothing of it.

        `found` are columns. False where the run was taken away or cancelled meanwhile.
        """
        with transaction.atomic():
            ours = self.filter(pk=held.pk, token=held.token, cancel_requested=False)
            if not ours.update(
                **found, status="done", token=None, progress=1, doing="", finished_at=now
            ):
                return False
            copy_rows(
                "backtests_backtestexecution",
                ("result_id", *COLUMNS),
                ((held.pk, *line) for line in lines),
            )
        return True

    def fail(self, held: BacktestResult, error: str, *, now: datetime) -> None:
        ours = self.filter(pk=held.pk, token=held.token)
        ours.update(status="failed", token=None, doing="", error=error, finished_at=now)

    def cancelled(self, held: BacktestResult, *, now: datetime) -> None:
        ours = self.filter(pk=held.pk, token=held.token)
        ours.update(status="cancelled", token=None, doing="", finished_at=now)

    def request_cancel(self, id: int, *, now: datetime) -> bool:
        """End a run that waits at once, and ask one that is running to stop.

        False where it has ended already. One statement, so that no claim comes between.
        """
        waits = Q(status="queued")
        return bool(
            self.filter(pk=id, status__in=("queued", "running")).update(
                cancel_requested=True,
                status=Case(When(waits, then=Value("cancelled")), default=F("status")),
                finished_at=Case(When(waits, then=Value(now)), default=F("finished_at")),
            )
        )

    def pick_up_lost(self, *, now: datetime) -> list[int]:
        """Put runs back whose workers have died, once each; then they have failed.

        Answers with the runs for which somebody should be called: these, and those whose message
        nobody has taken. Called for once too often does no harm.
        """
        lost = self.filter(status="running", heartbeat_at__lt=now - LOST_AFTER)
        lost.filter(cancel_requested=True).update(status="cancelled", token=None, finished_at=now)
        lost.filter(attempts__gte=MOST_ATTEMPTS).update(
            status="failed", token=None, error=LOST, finished_at=now
        )
        lost.update(status="queued", token=None, progress=0, doing="")
        waiting = self.filter(status="queued", created_at__lt=now - FORGOTTEN_AFTER)
        return list(waiting.order_by("id").values_list("id", flat=True))

    # --- what is read ----------------------------------------------------------------------------

    def newest_first(self) -> Self:
        return self.order_by("-created_at", "-id")

    def for_list(self) -> Self:
        """What a list shows, without the wide columns."""
        return self.newest_first().select_related("user").defer(*WIDE)

    def of_user(self, user: User) -> Self:
        return self.filter(user=user)

    def in_stage(self, statuses: Iterable[str]) -> Self:
        return self.filter(status__in=list(statuses))

    def of_strategy(self, name: str) -> Self:
        return self.filter(strategy=name)

    def newest_done(self) -> BacktestResult | None:
        return self.filter(status="done").newest_first().first()


class BacktestExecutionQuerySet(models.QuerySet["BacktestExecution"]):
    def for_result(self, result: BacktestResult) -> Self:
        return self.filter(result=result).order_by("number")

    def of_kind(self, kinds: Iterable[str]) -> Self:
        return self.filter(kind__in=list(kinds))

    def after(self, number: int, *, size: int) -> Self:
        """The page that follows a line."""
        return self.filter(number__gt=number).order_by("number")[:size]
