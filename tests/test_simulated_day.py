"""Coverage of a simulated day, with and without faults.

The recorder runs in its own process as `manage.py pollmarkets`. Its interval is not shortened as
much as the day, but to what ticks can keep up with on a busy machine.
"""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from markets.coverage.causes import Cause
from markets.coverage.slots import Slots
from markets.simulator.cadence import DAY
from markets.simulator.faults import Fault
from tests.recorder_harness import (
    STARTUP_TIMEOUT,
    RecorderHarness,
    assert_all_results_recorded,
    assert_consistent,
    recorder_harness,
)

pytestmark = pytest.mark.system

INTERVAL = 0.5
# A fault may cost this many slots more or less, because of where it begins and ends.
EDGES = 2


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(16, id="short"),
        pytest.param(510, id="full", marks=pytest.mark.faults),
    ],
)
def seconds(request: pytest.FixtureRequest) -> float:
    """The wall time of a simulated day."""
    return float(request.param)


@pytest.fixture(scope="module")
def harness(tmp_path_factory, django_db_blocker, seconds) -> Iterator[RecorderHarness]:
    folder, speed = tmp_path_factory.mktemp("day"), DAY / seconds
    variables = {"KALSHI_RATE": str(300 / INTERVAL), "UNIVERSE_INTERVAL": "2"}
    running = recorder_harness(folder, interval=INTERVAL, markets=60, speed=speed, **variables)
    with running as harness, django_db_blocker.unblock():
        harness.start_pollmarkets()
        # The first ticks store every definition.
        harness.wait_for_polls(8, within=STARTUP_TIMEOUT)
        yield harness


def newest_hot_sweep(harness: RecorderHarness) -> datetime:
    """The start of the newest hot sweep, from which slots are counted."""
    [(began,)] = harness.query("SELECT max(started_at) FROM markets_sweep WHERE tier = 'hot'")
    assert isinstance(began, datetime)
    return began


def wait_until(at: datetime) -> None:
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))


def assert_complete(harness: RecorderHarness) -> None:
    assert len(assert_all_results_recorded(harness)) > 10
    assert_consistent(harness)


def slots_lost_to_slow_ticks(harness: RecorderHarness, began: datetime) -> int:
    """Count the slots lost to ticks longer than a slot: none unless the machine is too busy."""
    slots = "floor(extract(epoch FROM finished_at - started_at) / %s)"
    statement = f"SELECT coalesce(sum({slots}), 0) FROM markets_poll WHERE started_at >= %s"
    [(taken,)] = harness.query(statement, INTERVAL, began)
    return int(taken)


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Slots], None]:
    """Print the coverage, because the figures of these tests are of interest."""

    def write_report(day: str, slots: Slots) -> None:
        with capsys.disabled():
            sys.stdout.write(
                f"\na day {day}: {slots.filled:,} of {slots.due:,} slots, {slots.share:.2%}\n"
            )

    return write_report


def test_a_day_without_faults_is_covered(harness, seconds, report):
    began = newest_hot_sweep(harness)
    end = began + timedelta(seconds=seconds)
    wait_until(end)
    slots = harness.hot_slots(began, end)
    report("without faults", slots)
    assert slots.due == seconds / INTERVAL
    if slots.due > 1_000:
        assert slots.share > 0.999
    else:  # Of so few, a busy machine may cost one.
        assert slots.due - slots.filled - slots_lost_to_slow_ticks(harness, began) <= 1
    assert harness.outages(began) == []
    assert_complete(harness)


def inject_fault(harness: RecorderHarness, fault: Fault, *, length: float) -> float:
    """Let the exchange fail for a while; returns for how many seconds it did."""
    began = time.monotonic()
    harness.exchange.add_fault(fault)
    time.sleep(length)
    harness.exchange.clear_faults()
    return time.monotonic() - began


def kill(harness: RecorderHarness, *, length: float) -> float:
    """Kill the recorder and restart it after a while; returns the seconds without one."""
    began = time.monotonic()
    harness.kill("loop")
    time.sleep(length)
    harness.start_pollmarkets()
    harness.wait_for_polls(1, within=STARTUP_TIMEOUT)
    return time.monotonic() - began


def test_a_day_with_faults_is_covered_but_for_them(harness, seconds, report):
    began, length = newest_hot_sweep(harness), seconds * 0.15
    time.sleep(length)
    missed = inject_fault(harness, Fault(status=500), length=length)
    time.sleep(length)
    missed += inject_fault(harness, Fault(rate_limited=True), length=length)
    time.sleep(length)
    missed += kill(harness, length=length)
    end = max(datetime.now(UTC), began + timedelta(seconds=seconds))
    wait_until(end)
    slots = harness.hot_slots(began, end)
    report("with faults", slots)
    beyond = slots.due - slots.filled - missed / INTERVAL
    if slots.due > 1_000:
        assert abs(beyond) <= 3 * EDGES
    else:  # A busy machine begins ticks late, and takes longer for them, while it recovers.
        slow = slots_lost_to_slow_ticks(harness, began)
        assert -3 * EDGES <= beyond <= 6 * EDGES + slow
    causes = [gap.cause for gap in harness.outages(began)]
    assert causes == [Cause.EXCHANGE_FAILING, Cause.THROTTLED, Cause.OUR_OUTAGE]
    assert_complete(harness)
