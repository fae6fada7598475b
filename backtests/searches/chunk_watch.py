"""The watch over a chunk whose points run in a process of their own, from the one that began it.

A strategy may keep Python's lock for minutes, so that no thread of its process gives signs of life,
or catch every interruption, so that it does not hear that it must end.
"""

import time
from datetime import UTC, datetime

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from backtests.hung_runs import SILENT_AFTER, TOLD_SECONDS
from backtests.models import HeartbeatReply, SearchChunk
from backtests.signs_of_life import RunSignals, out_of_time

log = structlog.get_logger(__name__)


class ChunkWatch:
    """The watch over one chunk. Its process has some seconds to end by itself, once it must.

    `has_ended_it` says that it had to be killed, and `words` why its search has failed by that;
    they are empty where the search has not.
    """

    def __init__(self, chunk: SearchChunk, signals: RunSignals) -> None:
        self.chunk = chunk
        self.signals = signals
        self.deadline = time.monotonic() + settings.BACKTEST_SECONDS
        self.has_ended_it = False
        self.words = ""
        self._due_since: float | None = None

    def must_end(self) -> bool:
        """Return whether its process must be killed; keep a chunk alive that is only silent."""
        try:
            self._look(now=datetime.now(UTC))
        except (DatabaseError, InterfaceError) as error:
            log.warning("chunk_not_looked_after", held=str(self.chunk), error=str(error))
            connection.close()
        since = self._due_since
        self.has_ended_it = since is not None and time.monotonic() >= since + TOLD_SECONDS
        if self.has_ended_it:
            log.warning("hung_chunk_killed", held=str(self.chunk))
        return self.has_ended_it

    def _look(self, *, now: datetime) -> None:
        if time.monotonic() > self.deadline:
            self._is_due(out_of_time())
        elif self.signals.ended_by or not self._goes_on(now=now):
            self._is_due("")

    def _is_due(self, words: str) -> None:
        if self._due_since is None:
            self._due_since, self.words = time.monotonic(), words

    def _goes_on(self, *, now: datetime) -> bool:
        """Return whether it is still this worker's, of a search that has not ended."""
        held = SearchChunk.objects.held_by(self.chunk).first()
        if held is None or held.heartbeat_at is None:
            return False
        if held.heartbeat_at > now - SILENT_AFTER:
            return True
        reply = held.heartbeat(progress=held.progress, doing="", now=now)
        return reply is HeartbeatReply.GO_ON
