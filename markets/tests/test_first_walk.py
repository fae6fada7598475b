"""The first walk over the universe, where every definition is new and must be written."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from markets.coverage.causes import outages
from markets.kalshi.client import KalshiClient
from markets.models import Market, Poll, Sweep, Tier
from markets.recording.pace import CAUTIOUS_ITEM, Pace, pace
from markets.recording.recorder import record_tick
from markets.simulator.server import running_exchange
from markets.simulator.universe import SimulatedUniverse
from markets.tests.fake_exchange import Exchange
from markets.tests.test_recorder import INTERVAL, tick


def run_until_whole(exchange: Exchange, *, interval: float = INTERVAL) -> Iterator[Poll]:
    """Run ticks, their slots free, until the universe's first sweep is complete."""
    while Sweep.objects.newest_complete(Tier.UNIVERSE) is None:
        Poll.objects.update(started_at=datetime.now(UTC) - timedelta(hours=1))
        with exchange.client() as client:
            poll = record_tick(client, interval=interval)
        assert poll is not None
        yield poll


@pytest.fixture
def slow_database(monkeypatch):
    """A database that takes 0.6 s to write a quote, as far as the recorder has measured."""
    monkeypatch.setattr(pace, "seconds_per_quote", 0.6)
    monkeypatch.setattr(pace, "base", 1.5)
    monkeypatch.setattr(pace, "latency", 0.0)
    monkeypatch.setattr(pace, "work_per_item", {Tier.UNIVERSE: 12.0, Tier.UPDATES: 4.0})
    # The fake exchange has two events to a page.
    monkeypatch.setattr("markets.recording.tick.LEAST_PAGE", 2)
    return pace


@pytest.mark.django_db(transaction=True)
class TestTheFirstWalk:
    def test_reads_no_more_in_a_run_than_it_can_write(self, exchange, slow_database):
        """A page has six new markets, which take 14.4 of the 36 s that a run has for them."""
        exchange.list(*(f"KXA-{event:02}-{n}" for event in range(20) for n in range(3)))
        polls = list(run_until_whole(exchange, interval=40.0))
        assert [poll.snapshots for poll in polls] == [12] * 5
        assert [poll.error for poll in polls] == [""] * 5
        assert Sweep.objects.newest_complete(Tier.UNIVERSE).markets == 60

    def test_has_a_hot_list_from_its_second_run_on(self, exchange, slow_database):
        exchange.list(*(f"KXA-{event:02}-{n}" for event in range(8) for n in range(3)))
        first, second = run_until_whole(exchange, interval=40.0)
        assert (first.markets, second.markets) == (12, 24)
        assert Sweep.objects.newest_complete(Tier.HOT).markets == 12

    def test_is_over_when_nothing_is_new(self, exchange, slow_database):
        exchange.list(*(f"KXA-{event:02}-{n}" for event in range(20) for n in range(3)))
        list(run_until_whole(exchange, interval=40.0))
        Market.objects.update(is_hot=False)
        assert tick(exchange).markets >= 60

    def test_reads_a_page_in_each_run_however_long_its_writing_takes(self, exchange, slow_database):
        slow_database.seconds_per_quote = 100.0
        exchange.list(*(f"KXA-{event:02}-X" for event in range(6)))
        polls = list(run_until_whole(exchange))
        assert [poll.snapshots for poll in polls] == [2, 2, 2]

    def test_leaves_each_tier_its_share_of_the_writing(self, exchange, slow_database):
        """Changed definitions without end take four pages of two, and the universe has its own."""
        exchange.long_listing = 10**6
        exchange.list(*(f"KXB-{event:02}-X" for event in range(4)))
        [poll] = run_until_whole(exchange, interval=40.0)
        assert poll.snapshots == 12
        assert Market.objects.filter(ticker__startswith="KXB").count() == 4


def test_the_pace_of_writing_is_learnt_from_long_writes_and_falls_slower_than_it_rises():
    learnt = Pace(seconds_per_quote=0.001, base=0.1)
    paces = []
    for seconds in (4.1, 1.1, 1.1):
        learnt.measure(2_000, seconds)
        paces.append(learnt.seconds_per_quote)
    assert paces == pytest.approx([0.002, 0.00125, 0.000875])
    assert learnt.base == 0.1


def test_what_is_written_in_any_case_is_learnt_from_short_writes():
    learnt = Pace(seconds_per_quote=0.001, base=0.1)
    for _ in range(30):
        learnt.measure(100, 0.5)
    assert learnt.seconds(0) == pytest.approx(0.4, abs=0.01)
    assert learnt.seconds_per_quote == 0.001


def test_a_pace_that_short_writes_disprove_is_given_up():
    learnt = Pace(seconds_per_quote=0.001, base=0.1)
    for _ in range(30):
        learnt.measure(1_000, 0.5)
    assert learnt.seconds(1_000) == pytest.approx(0.5, abs=0.01)


def test_a_write_that_failed_after_long_makes_the_pace_slower_and_a_quick_failure_does_not():
    learnt = Pace(seconds_per_quote=0.001, base=0.1)
    learnt.measure_failed(4_000, 0.2)
    assert learnt.seconds_per_quote == 0.001
    learnt.measure_failed(4_000, 8.1)
    assert learnt.seconds_per_quote == pytest.approx(0.002)


def test_the_latency_of_replies_is_learnt_at_once_and_forgotten_by_and_by():
    learnt = Pace()
    latencies = []
    for seconds in (0.1, 0.4, 0.1, 0.1):
        learnt.wait_for_page(seconds)
        latencies.append(learnt.latency)
    assert latencies == pytest.approx([0.1, 0.4, 0.25, 0.175])


def test_the_work_of_a_page_is_expected_to_shrink_slower_than_it_grows():
    learnt = Pace()
    assert learnt.work(Tier.UNIVERSE, 1) == CAUTIOUS_ITEM
    expected = []
    for work in (4.0, 42.0, 0.0, 0.0):
        learnt.read_page(Tier.UNIVERSE, work)
        expected.append(learnt.work(Tier.UNIVERSE, 10))
    assert expected == [420, 420, 210, 105]


REVISION_SECONDS = 0.002
SLOWLY = f"""
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep({REVISION_SECONDS}); RETURN NEW; END $$;
    CREATE TRIGGER slowly BEFORE INSERT ON markets_marketrevision
        FOR EACH ROW EXECUTE FUNCTION slowly()
"""


@pytest.fixture
def slow_revisions(monkeypatch, transactional_db):
    """A database that takes two milliseconds for each revision, which the recorder has learnt."""
    monkeypatch.setattr(pace, "seconds_per_quote", 0.0005)
    monkeypatch.setattr(pace, "work_per_item", {})
    with connection.cursor() as cursor:
        cursor.execute(SLOWLY)
        yield
        cursor.execute("DROP FUNCTION slowly CASCADE")


def test_each_run_of_a_first_walk_reads_what_the_database_can_write_in_it(slow_revisions, settings):
    """All 1,500 markets at once would take three seconds to write, in runs a second apart.

    Events have from one to fifty markets, so that a page may bring more than was expected.
    """
    settings.POLL_INTERVAL = interval = 1.0
    began = datetime.now(UTC)
    with (
        running_exchange(SimulatedUniverse(seed=1, markets=1500)) as exchange,
        KalshiClient(exchange.url) as client,
    ):
        while Sweep.objects.newest_complete(Tier.UNIVERSE) is None:
            due = time.monotonic() + interval
            record_tick(client, interval=interval)
            time.sleep(max(due - time.monotonic(), 0))
    polls = list(Poll.objects.all())
    assert [poll.error for poll in polls] == [""] * len(polls)
    assert Sweep.objects.newest_complete(Tier.UNIVERSE).markets > 1000
    assert max(poll.snapshots for poll in polls) * REVISION_SECONDS < 2 * interval
    assert outages(began, datetime.now(UTC)) == []
