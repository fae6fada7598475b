"""The whole recorder: real beat, real workers, a simulated exchange over HTTP, real faults.

Everything runs on services of its own, so that they can be killed. The short lengths are for
`make test`; `make faults` runs the same cases for as long as they would last in earnest. The
worker and the beat of one test go on to the next, unless they are what it kills.
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
from markets.simulator.server import running
from markets.simulator.universe import Universe
from tests.recorder_harness import (
    STARTING,
    Stage,
    a_stage,
    assert_no_result_is_lost,
    assert_nothing_doubled_or_half_written,
)
from tests.services import kill, server_of

pytestmark = pytest.mark.system

# Seconds: the recorder's own interval is that of the faults at full length.
SHORT, FULL = 1.0, 5.0
# A simulated hour in three ticks: one passes in every fault that is long enough to be a gap,
# and markets are settled in every hour.
SPEED = 1200.0
# As many for a tick as there are for one of five seconds at 60 a second.
TOKENS = 300
# A run is over within two ticks of five seconds after a fault's end: what recovery waits for
# does not depend on the interval.
TWO_TICKS = 10.0
UNFINISHED = "SELECT count(*) FROM markets_poll WHERE finished_at IS NULL"


@pytest.fixture(scope="module")
def shared_stage(pytestconfig, tmp_path_factory, django_db_blocker) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("recording")
    interval = FULL if pytestconfig.option.markexpr == "faults" else SHORT
    variables = {"KALSHI_RATE": str(TOKENS / interval), "UNIVERSE_INTERVAL": str(2 * interval)}
    with (
        a_stage(folder, interval=interval, markets=300, speed=SPEED / interval, **variables) as one,
        django_db_blocker.unblock(),
    ):
        yield one


@pytest.fixture
def stage(shared_stage) -> Iterator[Stage]:
    yield shared_stage
    shared_stage.put_right()


def lasting(short: float, full: float) -> list[Any]:
    return [
        pytest.param(short, id="short"),
        pytest.param(full, id="full", marks=pytest.mark.faults),
    ]


def assert_survived(stage: Stage, began: datetime, *, cause: Cause) -> None:
    """What must hold after a fault that began then and has just ended."""
    assert stage.wait_for_polls(1, within=STARTING) < TWO_TICKS
    stage.wait_for_polls(1, within=STARTING)
    over = datetime.now(UTC)
    assert_no_result_is_lost(stage)
    assert_nothing_doubled_or_half_written(stage)
    assert stage.settled_on_record(began, over) > 0
    # A machine that is too busy for ticks of a second may have told of more.
    assert cause in {gap.cause for gap in stage.outages(began)}


def test_beat_and_worker_record_at_a_steady_cadence(stage):
    stage.record()
    began = datetime.now(UTC)
    seconds = stage.wait_for_polls(6, within=30)
    assert seconds > 6 * stage.interval * 0.75
    assert stage.ask("SELECT count(*) > 300 FROM markets_marketsnapshot") == [(True,)]
    assert stage.ask("SELECT DISTINCT error FROM markets_poll") == [("",)]
    assert stage.ask("SELECT count(*) > 1 FROM markets_sweep WHERE tier = 'universe'") == [(True,)]
    assert stage.outages(began) == []
    assert_nothing_doubled_or_half_written(stage)


@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_a_process_killed_while_a_tick_is_written_is_told_of_and_replaced(stage, kind):
    stage.record()
    with stage.mid_write():
        began = datetime.now(UTC)
        stage.kill(kind)
    # Three ticks make a gap.
    time.sleep(4 * stage.interval)
    again = datetime.now(UTC)
    stage.start_celery(kind)
    stage.wait_until_ready(kind)
    assert_survived(stage, began, cause=Cause.OUR_OUTAGE)
    # Only the worker's death leaves a run without an end; a run of now has none yet.
    meanwhile = "started_at BETWEEN %s - interval '2 s' AND %s"
    assert stage.ask(f"{UNFINISHED} AND {meanwhile}", began, again) == [(int(kind == "worker"),)]


@pytest.mark.parametrize("seconds", lasting(4, 60))
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(status=500), Cause.EXCHANGE_FAILING),
        (Fault(cut=True), Cause.EXCHANGE_FAILING),
        (Fault(malformed=True), Cause.EXCHANGE_FAILING),
        # A request that the exchange has swallowed is waited for.
        (Fault(latency=90.0), Cause.EXCHANGE_FAILING),
        (Fault(rate_limited=True), Cause.THROTTLED),
    ],
    ids=["500", "cut", "malformed", "silent", "429"],
)
def test_an_exchange_that_fails_is_told_of_and_survived(stage, fault, cause, seconds):
    stage.record()
    began = datetime.now(UTC)
    stage.exchange.misbehave(fault)
    time.sleep(seconds)
    stage.exchange.behave()
    assert_survived(stage, began, cause=cause)


@pytest.mark.parametrize("seconds", lasting(4, 30))
@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_a_service_killed_while_a_tick_is_written_is_survived(stage, server, seconds):
    stage.record()
    with stage.mid_write():
        began = datetime.now(UTC)
        kill(server_of(stage.services, server))
    time.sleep(seconds)
    server_of(stage.services, server).start()
    assert_survived(stage, began, cause=Cause.OUR_OUTAGE)


def test_pages_out_of_order_are_recorded_like_any_other(stage):
    stage.record()
    stage.exchange.misbehave(Fault(shuffled=True))
    began = datetime.now(UTC)
    stage.wait_for_polls(4, within=STARTING)
    assert stage.outages(began) == []
    assert stage.ask("SELECT max(error) FROM markets_poll WHERE started_at > %s", began) == [("",)]
    passes = "SELECT count(*) > 0 FROM markets_sweep WHERE tier = 'universe' AND complete"
    assert stage.ask(f"{passes} AND started_at > %s", began) == [(True,)]
    assert_nothing_doubled_or_half_written(stage)


def step(stage: Stage, interval: str, *, rows: str) -> None:
    """Move these rows' instants, as if the clock had stood elsewhere when they were written."""
    columns = {
        "poll": ("started_at", "finished_at"),
        "sweep": ("started_at", "finished_at"),
        "market": ("quoted_at",),
        "marketsnapshot": ("timestamp",),
    }
    for table, names in columns.items():
        moved = ", ".join(f"{name} = {name} + interval '{interval}'" for name in names)
        where = f"{names[0]} {rows} clock_timestamp()"
        stage.ask(f"UPDATE markets_{table} SET {moved} WHERE {where} RETURNING 1")


def test_a_clock_that_has_stepped_back_stops_nothing(stage):
    stage.record()
    step(stage, "1 hour", rows="<=")
    began = datetime.now(UTC)
    assert stage.wait_for_polls(2, within=STARTING) < TWO_TICKS
    assert stage.outages(began) == []
    assert_no_result_is_lost(stage)
    step(stage, "-1 hour", rows=">")
    assert_nothing_doubled_or_half_written(stage)


def test_a_terminated_worker_finishes_its_tick(stage):
    stage.record()
    worker = stage.children["worker"][-1]
    with stage.mid_write():
        worker.terminate()
        time.sleep(0.2)
    began = datetime.now(UTC)
    assert worker.wait(timeout=30) == 0
    assert stage.ask(f"{UNFINISHED} AND started_at > %s - interval '2 s'", began) == [(0,)]
    assert_nothing_doubled_or_half_written(stage)


def test_two_beats_and_three_workers_record_as_one(stage):
    stage.kill()
    for kind in ("worker", "worker", "worker", "beat", "beat"):
        stage.start_celery(kind)
    stage.wait_until_ready("beat")
    stage.wait_for_polls(3, within=STARTING)
    seconds = stage.wait_for_polls(6, within=30)
    assert seconds > 6 * stage.interval * 0.75
    assert_nothing_doubled_or_half_written(stage)


def tick(client: KalshiClient) -> Poll:
    """One tick with all slots free and every tier due."""
    Poll.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
    Sweep.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
    poll = record_tick(client, interval=10)
    assert poll is not None
    return poll


@pytest.mark.django_db(transaction=True)
def test_a_page_that_comes_twice_is_told_of_and_what_it_hid_comes_with_the_next_pass(settings):
    settings.HOT_MARKETS = settings.ORDER_BOOK_MARKETS = 0
    # More events than one page holds.
    with (
        running(Universe(seed=1, markets=2200), pauses=False) as exchange,
        KalshiClient(exchange.url) as client,
    ):
        exchange.misbehave(Fault(path="/events", duplicate_page=True))
        poll = tick(client)
        assert "a page came a second time" in poll.error
        assert Sweep.objects.newest_complete(Tier.UNIVERSE) is None
        assert MarketSnapshot.objects.count() == Market.objects.count() == poll.snapshots > 0
        exchange.behave()
        assert tick(client).error == ""
        sweep = Sweep.objects.newest_complete(Tier.UNIVERSE)
        assert sweep.markets == Market.objects.open().count() > poll.snapshots


def test_the_command_records_a_single_tick_without_celery(stage):
    stage.kill()
    began = datetime.now(UTC)
    stage.manage("pollmarkets", "--once")
    assert len(stage.good_polls(since=began)) == 1


def test_the_command_ends_in_good_order_on_sigterm(stage):
    stage.kill()
    began = datetime.now(UTC)
    child = stage.start_loop()
    stage.wait_for_polls(2, within=STARTING)
    child.terminate()
    assert child.wait(timeout=15) == 0
    assert stage.ask(f"{UNFINISHED} AND started_at > %s", began) == [(0,)]
