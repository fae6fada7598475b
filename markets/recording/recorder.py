"""The recorder: one tick fetches, parses and writes whatever is due, and records the run.

A tick fetches the tiers that are due (see `tiers`), then writes all of it in one transaction.
No transaction is open while requests are under way. Two recorders cannot run at the same time,
and a killed one leaves nothing half written.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from kalshi_insights.processes.pulse import ATTEMPT, GOOD_RUN, Pulse
from kalshi_insights.processes.session_limits import limited
from markets.coverage.freshness import STOPPED_AFTER
from markets.kalshi.client import KalshiClient
from markets.models import OrderBookSnapshot, Poll, Tier
from markets.recording.batch import store
from markets.recording.lock import RunWatch, recorder_lock, run_limits
from markets.recording.pace import pace
from markets.recording.tick import Tick
from markets.recording.tiers import fetch_due_tiers, first_line, save_sweeps

log = structlog.get_logger(__name__)

# The share of the interval in which requests may be sent, and the one by whose end everything
# should be written. Where there is much to write, requests end earlier.
FETCH_SHARE = 0.75
WRITE_SHARE = 0.9


def stopped_after(interval: float) -> float:
    """The seconds without a run after which a recorder counts as stopped."""
    return max(STOPPED_AFTER * interval, 60.0)


def record_tick(client: KalshiClient, *, interval: float) -> Poll | None:
    """Run one tick; return None if its slot is taken or another recorder is running."""
    Pulse(settings.PULSE_PATH, ATTEMPT).beat(within=stopped_after(interval))
    with recorder_lock(interval) as lock:
        poll = Poll.objects.claim(interval=interval) if lock else None
        if lock is None or poll is None:
            return None
        with (
            RunWatch(lock, interval=interval) as watch,
            limited(connection, run_limits(interval)),
            connection.execute_wrapper(watch),
        ):
            run(poll, client, interval=interval)
    if not poll.error:
        Pulse(settings.PULSE_PATH, GOOD_RUN).beat(within=stopped_after(interval))
    return poll


def run(poll: Poll, client: KalshiClient, *, interval: float) -> None:
    """Run a claimed tick. This is the recorder's edge: any failure ends up in the poll's row."""
    began = time.monotonic()
    tick = Tick(
        client,
        poll,
        deadline=began + interval * FETCH_SHARE,
        write_by=began + interval * WRITE_SHARE,
    )
    counters = (client.requests, client.bytes_received, client.throttled)
    client.deadline = tick.deadline
    client.clock_skew = None
    try:
        with closing(tick):
            fetch_due_tiers(tick)
        with measured_write(tick.batch.work), transaction.atomic():
            poll.snapshots = store(tick.batch)
            poll.order_books = store_order_books(tick)
            save_sweeps(tick)
            save_poll(tick, counters_before=counters, began=began)
        if poll.error:
            log.warning("tick recorded less than was due", poll=poll.pk, error=poll.error)
    except Exception as error:
        log.exception("tick failed", poll=poll.pk)
        # The failed connection may be the cause of the error.
        connection.close_if_unusable_or_obsolete()
        poll.error = f"{type(error).__name__}: {error}"
        poll.snapshots = poll.order_books = 0
        save_poll(tick, counters_before=counters, began=began)


def store_order_books(tick: Tick) -> int:
    """Write the order books; where the database refuses them, quotes are written all the same.

    Then their sweep stays as it was, so that the next run asks for the same books.
    """
    try:
        with transaction.atomic():
            return OrderBookSnapshot.objects.record(tick.order_books)
    except DatabaseError as error:
        if not connection.is_usable():
            raise
        tick.sweeps = [sweep for sweep in tick.sweeps if sweep.tier != Tier.ORDER_BOOKS]
        failure = f"{Tier.ORDER_BOOKS}: {first_line(error)}"
        tick.poll.warning = "; ".join(filter(None, [tick.poll.warning, failure]))
        return 0


@contextmanager
def measured_write(work: int) -> Iterator[None]:
    """Measure the pace of a write, also of one that fails: it would have taken longer still."""
    began, learn = time.monotonic(), pace.measure_failed
    try:
        yield
        learn = pace.measure
    finally:
        learn(work, time.monotonic() - began)


def save_poll(tick: Tick, *, counters_before: tuple[int, int, int], began: float) -> None:
    """Complete the poll's row with what the tick has used and read."""
    poll, client = tick.poll, tick.client
    poll.requests = client.requests - counters_before[0]
    poll.bytes = client.bytes_received - counters_before[1]
    poll.throttled = client.throttled - counters_before[2]
    poll.pages = tick.batch.pages
    poll.markets = tick.batch.markets
    poll.observed_from = tick.batch.observed_from
    poll.rejected = tick.batch.rejected
    poll.rejects = tick.batch.rejects
    poll.clock_skew = client.clock_skew
    # The monotonic clock is used because a wall clock may step back during the run.
    poll.finished_at = poll.started_at + timedelta(seconds=time.monotonic() - began)
    poll.measure_silence()
    poll.save()
