"""Beat goes by the monotonic clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import time_machine
from celery import Celery
from celery.beat import Service
from django.conf import settings

from kalshi_insights.processes.beat import FIRST_SECONDS, SteadyScheduler
from kalshi_insights.processes.broker import sender
from kalshi_insights.processes.pulse import LOOP, signs

QUEUE = "test of beat"


@pytest.fixture
def queue():
    with redis.Redis.from_url(settings.REDIS_URL) as server:
        server.delete(QUEUE)
        yield lambda: server.llen(QUEUE)
        server.delete(QUEUE)


def scheduler(**seconds: float) -> SteadyScheduler:
    sender = Celery("test", broker=settings.REDIS_URL)
    sender.conf.beat_schedule = {
        name: {"task": name, "schedule": every, "options": {"queue": QUEUE}}
        for name, every in seconds.items()
    }
    return SteadyScheduler(sender)


def seconds_for(more: int, queue: Callable[[], int], beat: SteadyScheduler) -> float:
    """Run beat until it has sent this many more messages; return the seconds that took."""
    began, enough = time.monotonic(), queue() + more
    while queue() < enough:
        time.sleep(min(beat.tick(), 0.02))
        assert time.monotonic() - began < 30
    return time.monotonic() - began


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1), timedelta(days=-400)])
def test_it_sends_at_its_interval_whatever_the_wall_clock_does(queue, step):
    beat = scheduler(often=0.2)
    assert seconds_for(2, queue, beat) > 0.3
    with time_machine.travel(datetime.now(UTC) + step):
        assert seconds_for(3, queue, beat) > 0.3
    assert seconds_for(3, queue, beat) > 0.3


def test_a_slot_that_was_missed_is_not_made_up_for(queue):
    beat = scheduler(often=0.1)
    seconds_for(1, queue, beat)
    time.sleep(1)
    assert beat.tick() < 0.1
    assert queue() == 2


def test_what_is_due_rarely_is_sent_soon_after_the_start():
    beat = scheduler(daily=86_400.0, often=5.0)
    now = time.monotonic()
    assert beat.tick() <= 1
    assert beat._due["daily"] == pytest.approx(now + FIRST_SECONDS, abs=0.5)
    assert beat._due["often"] == pytest.approx(now + 5, abs=0.5)


def test_it_gives_a_sign_of_life_whenever_it_looks(settings, tmp_path):
    settings.PULSE_PATH = tmp_path
    scheduler(often=5.0).tick()
    assert 10 < -signs(tmp_path)[LOOP].overdue < 13


def test_it_is_the_scheduler_of_the_site_and_sends_its_tasks_and_no_other():
    beat = Service(sender, scheduler_cls=sender.conf.beat_scheduler).get_scheduler(lazy=True)
    assert isinstance(beat, SteadyScheduler)
    beat.setup_schedule()
    assert beat.schedule.keys() == settings.CELERY_BEAT_SCHEDULE.keys()


def test_a_message_outlives_the_difference_of_two_clocks():
    # A recorder whose clock is ahead must not drop every message: the database says what is due.
    messages: list[Any] = [each["options"] for each in settings.CELERY_BEAT_SCHEDULE.values()]
    assert min(each["expires"] for each in messages) >= 300
