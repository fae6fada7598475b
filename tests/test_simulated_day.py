"""How much of a simulated day goes on record: all of it, or as much as the faults have left.

The recorder is a process of its own, as `manage.py pollmarkets` runs it. Its interval is not as
many times shorter as the day is faster, but what a tick can keep up with on a busy machine.
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
    STARTING,
    Stage,
    a_stage,
    assert_no_result_is_lost,
    assert_nothing_doubled_or_half_written,
)

pytestmark = pytest.mark.system

INTERVAL = 0.5
# By so many slots a fault may count for more or less: where it begins and where it ends.
EDGES = 2


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(16, id="short"),
        pytest.param(510, id="full", marks=pytest.mark.faults),
    ],
)
def seconds(request: pytest.FixtureRequest) -> float:
    """What a simulated day takes."""
    return float(request.param)


@pytest.fixture(scope="module")
def stage(tmp_path_factory, django_db_blocker, seconds) -> Iterator[Stage]:
    folder, speed = tmp_path_factory.mktemp("day"), DAY / seconds
    variables = {"KALSHI_RATE": str(300 / INTERVAL), "UNIVERSE_INTERVAL": "2"}
    with (
        a_stage(folder, interval=INTERVAL, markets=60, speed=speed, **variables) as stage,
        django_db_blocker.unblock(),
    ):
        stage.start_loop()
        # The first ticks have everything to define.
        stage.wait_for_polls(8, within=STARTING)
        yield stage


def first_pass(stage: Stage) -> datetime:
    """The beginning of the newest hot pass, from which slots are counted."""
    [(began,)] = stage.ask("SELECT max(started_at) FROM markets_sweep WHERE tier = 'hot'")
    assert isinstance(began, datetime)
    return began


def wait_until(at: datetime) -> None:
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))


def assert_whole(stage: Stage) -> None:
    assert len(assert_no_result_is_lost(stage)) > 10
    assert_nothing_doubled_or_half_written(stage)


def overrun(stage: Stage, began: datetime) -> int:
    """Slots that ticks longer than a slot have taken: none, unless the machine is too busy."""
    slots = "floor(extract(epoch FROM finished_at - started_at) / %s)"
    question = f"SELECT coalesce(sum({slots}), 0) FROM markets_poll WHERE started_at >= %s"
    [(taken,)] = stage.ask(question, INTERVAL, began)
    return int(taken)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str, Slots], None]:
    """Says how much was covered: the figures of these tests are their result."""

    def say(day: str, slots: Slots) -> None:
        with capsys.disabled():
            sys.stdout.write(
                f"\na day {day}: {slots.filled:,} of {slots.due:,} slots, {slots.share:.2%}\n"
            )

    return say


def test_a_day_without_faults_is_covered(stage, seconds, tell):
    began = first_pass(stage)
    end = began + timedelta(seconds=seconds)
    wait_until(end)
    slots = stage.hot_slots(began, end)
    tell("without faults", slots)
    assert slots.due == seconds / INTERVAL
    if slots.due > 1_000:
        assert slots.share > 0.999
    else:  # Of so few, a busy machine may cost one.
        assert slots.due - slots.filled - overrun(stage, began) <= 1
    assert stage.outages(began) == []
    assert_whole(stage)


def fail(stage: Stage, fault: Fault, *, length: float) -> float:
    """Have the exchange fail for so long. Returns for how long it did, in seconds."""
    began = time.monotonic()
    stage.exchange.add_fault(fault)
    time.sleep(length)
    stage.exchange.clear_faults()
    return time.monotonic() - began


def kill(stage: Stage, *, length: float) -> float:
    """Kill the recorder and start it again that much later. Returns for how long none was."""
    began = time.monotonic()
    stage.kill("loop")
    time.sleep(length)
    stage.start_loop()
    stage.wait_for_polls(1, within=STARTING)
    return time.monotonic() - began


def test_a_day_with_faults_is_covered_but_for_them(stage, seconds, tell):
    began, length = first_pass(stage), seconds * 0.15
    time.sleep(length)
    missed = fail(stage, Fault(status=500), length=length)
    time.sleep(length)
    missed += fail(stage, Fault(rate_limited=True), length=length)
    time.sleep(length)
    missed += kill(stage, length=length)
    end = max(datetime.now(UTC), began + timedelta(seconds=seconds))
    wait_until(end)
    slots = stage.hot_slots(began, end)
    tell("with faults", slots)
    assert slots.due - slots.filled == pytest.approx(missed / INTERVAL, abs=3 * EDGES)
    causes = [gap.cause for gap in stage.outages(began)]
    assert causes == [Cause.EXCHANGE_FAILING, Cause.THROTTLED, Cause.OUR_OUTAGE]
    assert_whole(stage)
