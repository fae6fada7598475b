"""The recorder: one tick fetches, parses and writes whatever is due, and records the run.

A tick fetches the tiers that are due (see `tiers`), then writes all of it in one transaction.
No transaction is open while requests are under way. Two recorders cannot run at the same time,
and a killed one leaves nothing half written.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import structlog
from django.db import DatabaseError, connection, transaction

from markets.kalshi.client import KalshiClient
from markets.models import OrderBookSnapshot, Poll
from markets.recording.batch import store
from markets.recording.tick import Tick
from markets.recording.tiers import fetch_due_tiers, save_sweeps

log = structlog.get_logger(__name__)

# The key of the advisory lock: any number that no other lock in this database uses.
RECORDER_LOCK = 7_204_116
# The share of the interval in which requests may be sent; the rest is left for writing.
FETCH_SHARE = 0.6


@contextmanager
def recorder_lock() -> Iterator[bool]:
    """Try to become the only recorder while the block runs; yield False if there is another one.

    The lock lives on a connection of its own, because a session lock is re-entrant and would leak
    through a pooled or shared connection. It ends with the process, however that ends. It is also
    released explicitly, because the server notices a closed connection only after some time.
    """
    own = connection.copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [RECORDER_LOCK])
            acquired = cursor.fetchone()[0]
            yield acquired
            # A database that has gone away in the meantime has already released the lock.
            with suppress(DatabaseError):
                if acquired:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [RECORDER_LOCK])
    finally:
        own.close()


def record_tick(client: KalshiClient, *, interval: float) -> Poll | None:
    """Run one tick; return None if its slot is taken or another recorder is running."""
    with recorder_lock() as acquired:
        poll = Poll.objects.claim(interval=interval) if acquired else None
        if poll is not None:
            run(poll, client, interval=interval)
        return poll


def run(poll: Poll, client: KalshiClient, *, interval: float) -> None:
    """Run a claimed tick. This is the recorder's edge: any failure ends up in the poll's row."""
    began = time.monotonic()
    tick = Tick(client, poll, deadline=began + interval * FETCH_SHARE)
    counters = (client.requests, client.bytes_received, client.throttled)
    client.deadline = tick.deadline
    try:
        fetch_due_tiers(tick)
        with transaction.atomic():
            poll.snapshots = store(tick.batch)
            poll.order_books = OrderBookSnapshot.objects.record(tick.order_books)
            save_sweeps(tick.sweeps)
            save_poll(tick, counters_before=counters, began=began)
    except Exception as error:
        log.exception("tick failed", poll=poll.pk)
        # The failed connection may be the cause of the error.
        connection.close_if_unusable_or_obsolete()
        poll.error = f"{type(error).__name__}: {error}"
        poll.snapshots = poll.order_books = 0
        save_poll(tick, counters_before=counters, began=began)


def save_poll(tick: Tick, *, counters_before: tuple[int, int, int], began: float) -> None:
    """Complete the poll's row with what the tick has used and read."""
    poll, client = tick.poll, tick.client
    poll.requests = client.requests - counters_before[0]
    poll.bytes = client.bytes_received - counters_before[1]
    poll.throttled = client.throttled - counters_before[2]
    poll.pages = tick.batch.pages
    poll.markets = tick.batch.markets
    poll.rejected = tick.batch.rejected
    poll.rejects = tick.batch.rejects
    # The monotonic clock is used because a wall clock may step back during the run.
    poll.finished_at = poll.started_at + timedelta(seconds=time.monotonic() - began)
    poll.save()
