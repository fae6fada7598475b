"""Tests of the whole recorder with a real beat, real workers and real faults.

They have their own services, so that these can be killed. The short cases are for `make test`;
`make faults` runs the same cases at a realistic length. The worker and the beat of one test are
used by the next, unless it kills them.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from markets.coverage.causes import Cause
from markets.kalshi.client import KalshiClient
from markets.models import Market, MarketSnapshot, Poll, Sweep, Tier
from markets.recording.recorder import record_tick
from markets.simulator.faults import Fault
from markets.simulator.server import running_exchange
from markets.simulator.universe import SimulatedUniverse
from tests.recorder_harness import (
    STARTUP_TIMEOUT,
    RecorderHarness,
    assert_all_results_recorded,
    assert_consistent,
    recorder_harness,
)
from tests.services import kill, server_of

pytestmark = pytest.mark.system

# Seconds. `make faults` uses the recorder's real interval.
SHORT_INTERVAL, FULL_INTERVAL = 1.0, 5.0
# A simulated hour passes in three ticks, so it passes in every fault that is long enough to be a
# gap, and markets are settled in every hour.
SPEED = 1200.0
# A tick has the tokens of a five-second tick at 60 tokens a second.
TOKENS = 300
# A poll finishes within two ticks of five seconds after a fault, whatever the interval, because
# recovery does not depend on it.
TWO_TICKS = 10.0
UNFINISHED = "SELECT count(*) FROM markets_poll WHERE finished_at IS NULL"


@pytest.fixture(scope="module")
def shared_harness(pytestconfig, tmp_path_factory, django_db_blocker) -> Iterator[RecorderHarness]:
    folder = tmp_path_factory.mktemp("recording")
    interval = FULL_INTERVAL if pytestconfig.option.markexpr == "faults" else SHORT_INTERVAL
    variables = {"KALSHI_RATE": str(TOKENS / interval), "UNIVERSE_INTERVAL": str(2 * interval)}
    running = recorder_harness(
        folder, interval=interval, markets=300, speed=SPEED / interval, **variables
    )
    with running as harness, django_db_blocker.unblock():
        yield harness


@pytest.fixture
def harness(shared_harness) -> Iterator[RecorderHarness]:
    yield shared_harness
    shared_harness.restore()


def short_and_full(short: float, full: float) -> list[Any]:
    return [
        pytest.param(short, id="short"),
        pytest.param(full, id="full", marks=pytest.mark.faults),
    ]


def assert_recovered(harness: RecorderHarness, began: datetime, *, cause: Cause) -> None:
    """Check recovery from a fault that began at `began` and has just ended."""
    assert harness.wait_for_polls(1, within=STARTUP_TIMEOUT) < TWO_TICKS
    harness.wait_for_polls(1, within=STARTUP_TIMEOUT)
    # In a short outage it may be that no market was settled.
    harness.wait_for_settlements(began, within=STARTUP_TIMEOUT)
    assert_all_results_recorded(harness)
    assert_consistent(harness)
    # A machine that is too busy for one-second ticks may have more gaps.
    assert cause in {gap.cause for gap in harness.outages(began)}


def test_beat_and_worker_record_at_a_steady_cadence(harness):
    harness.ensure_recording()
    began = datetime.now(UTC)
    seconds = harness.wait_for_polls(6, within=30)
    assert seconds > 6 * harness.interval * 0.75
    assert harness.query("SELECT count(*) > 300 FROM markets_marketsnapshot") == [(True,)]
    assert harness.query("SELECT DISTINCT error FROM markets_poll") == [("",)]
    assert harness.query("SELECT count(*) > 1 FROM markets_sweep WHERE tier = 'universe'") == [
        (True,)
    ]
    assert harness.outages(began) == []
    assert_consistent(harness)


@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_a_process_killed_during_a_write_is_reported_and_replaced(harness, kind):
    harness.ensure_recording()
    with harness.blocked_write():
        began = datetime.now(UTC)
        harness.kill(kind)
    # Three ticks make a gap.
    harness.wait_for_silence(4 * harness.interval, since=began)
    again = datetime.now(UTC)
    harness.start_celery(kind)
    harness.wait_until_ready(kind)
    assert_recovered(harness, began, cause=Cause.OUR_OUTAGE)
    # Only the worker's death leaves a poll unfinished; one that runs now does not count.
    meanwhile = "started_at BETWEEN %s - interval '2 s' AND %s"
    assert harness.query(f"{UNFINISHED} AND {meanwhile}", began, again) == [
        (int(kind == "worker"),)
    ]


@pytest.mark.parametrize("seconds", short_and_full(4, 60))
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(status=500), Cause.EXCHANGE_FAILING),
        (Fault(cut=True), Cause.EXCHANGE_FAILING),
        (Fault(malformed=True), Cause.EXCHANGE_FAILING),
        # The recorder waits for a request that the exchange never answers.
        (Fault(latency=90.0), Cause.EXCHANGE_FAILING),
        (Fault(rate_limited=True), Cause.THROTTLED),
    ],
    ids=["500", "cut", "malformed", "silent", "429"],
)
def test_a_failing_exchange_is_reported_and_survived(harness, fault, cause, seconds):
    harness.ensure_recording()
    began = datetime.now(UTC)
    harness.exchange.add_fault(fault)
    time.sleep(seconds)
    harness.exchange.clear_faults()
    assert_recovered(harness, began, cause=cause)


@pytest.mark.parametrize("seconds", short_and_full(4, 30))
@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_a_service_killed_during_a_write_is_survived(harness, server, seconds):
    harness.ensure_recording()
    with harness.blocked_write():
        began = datetime.now(UTC)
        kill(server_of(harness.services, server))
    time.sleep(seconds)
    server_of(harness.services, server).start()
    assert_recovered(harness, began, cause=Cause.OUR_OUTAGE)


def test_pages_out_of_order_are_recorded_like_any_other(harness):
    harness.ensure_recording()
    harness.exchange.add_fault(Fault(shuffled=True))
    began = datetime.now(UTC)
    harness.wait_for_polls(4, within=STARTUP_TIMEOUT)
    assert harness.outages(began) == []
    assert harness.query("SELECT max(error) FROM markets_poll WHERE started_at > %s", began) == [
        ("",)
    ]
    passes = "SELECT count(*) > 0 FROM markets_sweep WHERE tier = 'universe' AND complete"
    assert harness.query(f"{passes} AND started_at > %s", began) == [(True,)]
    assert_consistent(harness)


def shift_clock(harness: RecorderHarness, interval: str, *, rows: str) -> None:
    """Shift the times of these rows, as if the clock had been wrong when they were written."""
    columns = {
        "poll": ("started_at", "finished_at"),
        "sweep": ("started_at", "finished_at"),
        "market": ("quoted_at",),
        "marketsnapshot": ("timestamp",),
    }
    for table, names in columns.items():
        moved = ", ".join(f"{name} = {name} + interval '{interval}'" for name in names)
        where = f"{names[0]} {rows} clock_timestamp()"
        harness.query(f"UPDATE markets_{table} SET {moved} WHERE {where} RETURNING 1")


def test_a_clock_that_has_stepped_back_stops_nothing(harness):
    harness.ensure_recording()
    shift_clock(harness, "1 hour", rows="<=")
    began = datetime.now(UTC)
    assert harness.wait_for_polls(2, within=STARTUP_TIMEOUT) < TWO_TICKS
    assert harness.outages(began) == []
    assert_all_results_recorded(harness)
    shift_clock(harness, "-1 hour", rows=">")
    assert_consistent(harness)


def test_a_terminated_worker_finishes_its_tick(harness):
    harness.ensure_recording()
    worker = harness.children["worker"][-1]
    with harness.blocked_write():
        worker.terminate()
        time.sleep(0.2)
    began = datetime.now(UTC)
    assert worker.wait(timeout=30) == 0
    assert harness.query(f"{UNFINISHED} AND started_at > %s - interval '2 s'", began) == [(0,)]
    assert_consistent(harness)


def test_two_beats_and_three_workers_record_as_one(harness):
    harness.kill()
    for kind in ("worker", "worker", "worker", "beat", "beat"):
        harness.start_celery(kind)
    harness.wait_until_ready("beat")
    harness.wait_for_polls(3, within=STARTUP_TIMEOUT)
    seconds = harness.wait_for_polls(6, within=30)
    assert seconds > 6 * harness.interval * 0.75
    assert_consistent(harness)


def tick(client: KalshiClient) -> Poll:
    """Run a tick with all slots free and every tier due."""
    Poll.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
    Sweep.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
    # Long enough that a busy machine, too, reads every page in one.
    poll = record_tick(client, interval=60)
    assert poll is not None
    return poll


@pytest.mark.django_db(transaction=True)
def test_a_repeated_page_is_reported_and_what_it_hid_comes_with_the_next_sweep(settings):
    settings.HOT_MARKETS = settings.ORDER_BOOK_MARKETS = 0
    # More events than one page holds.
    with (
        running_exchange(SimulatedUniverse(seed=1, markets=2200), pauses=False) as exchange,
        KalshiClient(exchange.url) as client,
    ):
        exchange.add_fault(Fault(path="/events", duplicate_page=True))
        poll = tick(client)
        assert "sent a page for the second time" in poll.error
        assert Sweep.objects.newest_complete(Tier.UNIVERSE) is None
        assert MarketSnapshot.objects.count() == Market.objects.count() == poll.snapshots > 0
        exchange.clear_faults()
        assert tick(client).error == ""
        sweep = Sweep.objects.newest_complete(Tier.UNIVERSE)
        assert sweep.markets == Market.objects.open().count() > poll.snapshots


def test_the_command_records_a_single_tick_without_celery(harness):
    harness.kill()
    began = datetime.now(UTC)
    harness.manage("pollmarkets", "--once")
    assert len(harness.poll_finish_times(since=began)) == 1


def test_the_command_shuts_down_cleanly_on_sigterm(harness):
    harness.kill()
    began = datetime.now(UTC)
    child = harness.start_pollmarkets()
    harness.wait_for_polls(2, within=STARTUP_TIMEOUT)
    child.terminate()
    assert child.wait(timeout=15) == 0
    assert harness.query(f"{UNFINISHED} AND started_at > %s", began) == [(0,)]
