"""Chunks of searches: the points that a worker takes at a time."""

from datetime import datetime
from typing import Any, Self
from uuid import uuid4

from django.db import connection, models, transaction
from django.db.models import F, Q, Sum

from backtests.models.results import (
    LOST_AFTER,
    LOST_ERROR,
    MAX_ATTEMPTS,
    UNFINISHED,
    BacktestStatus,
    HeartbeatReply,
)

HEARTBEAT = """
WITH beat AS (
    UPDATE backtests_searchchunk SET heartbeat_at = %(now)s, progress = %(progress)s
    WHERE id = (
        SELECT id FROM backtests_searchchunk
        WHERE id = %(id)s AND token = %(token)s FOR UPDATE SKIP LOCKED
    )
)
SELECT chunk.token IS NOT DISTINCT FROM %(token)s, search.status NOT IN ('queued', 'running')
FROM backtests_searchchunk AS chunk JOIN backtests_search AS search ON search.id = chunk.search_id
WHERE chunk.id = %(id)s
"""


class ChunkStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


class SearchChunkQuerySet(models.QuerySet["SearchChunk"]):
    def claim_next(self, search_id: int, *, now: datetime) -> "SearchChunk | None":
        """Claim the next chunk of a search, together with it; None where no chunk waits.

        Workers that claim at the same time do not wait for each other.
        """
        with transaction.atomic():
            waiting = self.filter(
                search=search_id, search__status__in=UNFINISHED, status=ChunkStatus.QUEUED
            )
            locked = waiting.select_for_update(skip_locked=True, of=("self",))
            chunk = locked.select_related("search").order_by("number").first()
            if chunk is None:
                return None
            chunk.status, chunk.token = ChunkStatus.RUNNING, uuid4()
            chunk.claimed_at = chunk.heartbeat_at = now
            chunk.attempts += 1
            chunk.progress = 0
            chunk.save()
            searches = type(chunk.search).objects.filter(pk=search_id)
            searches.filter(status=BacktestStatus.QUEUED).update(
                status=BacktestStatus.RUNNING, claimed_at=now
            )
        return chunk

    def held_by(self, held: "SearchChunk") -> Self:
        """The chunk while nobody else has it."""
        return self.filter(pk=held.pk, token=held.token)

    def mark_done(self, held: "SearchChunk") -> bool:
        return bool(self.held_by(held).update(status=ChunkStatus.DONE, token=None, progress=1))

    def release(self, held: "SearchChunk") -> None:
        """Give a chunk back that its worker could not finish through no fault of the chunk's."""
        self.held_by(held).update(
            status=ChunkStatus.QUEUED, token=None, progress=0, attempts=F("attempts") - 1
        )

    def lose(self, held: "SearchChunk", problem: str, *, now: datetime) -> None:
        """Queue a chunk again whose process has ended without a word; the second time, its search
        has failed with the `problem`."""
        with transaction.atomic():
            if held.attempts >= MAX_ATTEMPTS:
                self.fail_search(held, problem, now=now)
            self.held_by(held).update(status=ChunkStatus.QUEUED, token=None, progress=0)

    def fail_search(self, held: "SearchChunk", error: str, *, now: datetime) -> None:
        """Fail the search of a chunk with the words of its `error`, unless the chunk was stored or
        is another worker's by now."""
        searches = type(held.search).objects
        with transaction.atomic():
            # The search is locked before its chunk, as where a chunk is stored.
            list(searches.select_for_update().filter(pk=held.search_id).values_list("pk"))
            if self.held_by(held).exists():
                searches.fail(held.search_id, error, now=now)

    def requeue_lost(self, *, now: datetime) -> list[int]:
        """Queue the chunks of dead workers again, as `lose` does; return their searches."""
        silent = Q(heartbeat_at__lt=now - LOST_AFTER) | Q(heartbeat_at__gt=now + LOST_AFTER)
        lost = list(self.filter(silent, status=ChunkStatus.RUNNING).select_related("search"))
        for chunk in lost:
            self.lose(chunk, LOST_ERROR, now=now)
        return [chunk.search_id for chunk in lost]

    def requeue(self, search_id: int, points: models.QuerySet[Any]) -> None:
        """Queue the chunks of a search that have some of these points, whoever had them before."""
        after_it = models.OuterRef("first") + models.OuterRef("size")
        its_points = points.filter(number__gte=models.OuterRef("first"), number__lt=after_it)
        self.filter(models.Exists(its_points), search=search_id).update(
            status=ChunkStatus.QUEUED, token=None, progress=0, attempts=0
        )

    def waiting(self, search_id: int) -> Self:
        """The chunks of a search that a worker could claim."""
        return self.filter(
            search=search_id, search__status__in=UNFINISHED, status=ChunkStatus.QUEUED
        )

    def work(self) -> tuple[int, int, float]:
        """The points of chunks that are done, the number of running chunks, and all points that
        have run, those under way by their share."""
        found: dict[str, Any] = self.aggregate(
            done=Sum("size", filter=Q(status=ChunkStatus.DONE), default=0),
            running=models.Count("pk", filter=Q(status=ChunkStatus.RUNNING)),
            work=Sum(F("size") * F("progress"), default=0.0, output_field=models.FloatField()),
        )
        return found["done"], found["running"], found["work"]


class SearchChunk(models.Model):
    """Some consecutive points of a search. The worker that runs them holds `token`, and nothing is
    stored without it."""

    search: "models.ForeignKey[Any, Any]" = models.ForeignKey(
        "backtests.Search",
        on_delete=models.CASCADE,
        related_name="chunks",
        db_index=False,  # `search_chunk_once` begins with the search
    )
    number = models.IntegerField()
    first = models.IntegerField(help_text="The number of its first point.")
    size = models.IntegerField(help_text="The number of its points.")
    status = models.CharField(max_length=10, choices=ChunkStatus, default=ChunkStatus.QUEUED)
    token = models.UUIDField(null=True, blank=True, editable=False)
    attempts = models.IntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    progress = models.FloatField(default=0)

    objects = SearchChunkQuerySet.as_manager()

    class Meta:
        ordering = ["search", "number"]
        constraints = [
            models.UniqueConstraint(fields=["search", "number"], name="search_chunk_once"),
            models.CheckConstraint(
                condition=Q(status=ChunkStatus.RUNNING) ^ Q(token=None),
                name="search_chunk_held_while_running",
            ),
        ]

    def __str__(self) -> str:
        return f"chunk {self.number} of search {self.search_id}"

    def heartbeat(self, *, progress: float, doing: str, now: datetime) -> HeartbeatReply:
        """Store how far the chunk is, in one statement that waits for nobody; a chunk does not say
        what it is `doing`."""
        with connection.cursor() as cursor:
            cursor.execute(
                HEARTBEAT, {"now": now, "progress": progress, "id": self.pk, "token": self.token}
            )
            is_ours, has_ended = cursor.fetchone() or (True, False)
        if not is_ours:
            return HeartbeatReply.TAKEN
        return HeartbeatReply.CANCELLED if has_ended else HeartbeatReply.GO_ON
