"""Whatever pages, pauses and late trades come, a whole span of the tape lacks no trade."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import httpx
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from markets.intervals import Interval
from markets.kalshi.errors import FilterIgnored, KalshiError, Unintelligible
from markets.models import Poll, TapeSpan, Tier, Trade
from markets.models.tape import Proof
from markets.recording.tape import LATENESS, NewestWalk, TapeReader, fetch_trades
from markets.recording.tick import Tick
from markets.tests.factories import a_market
from markets.tests.fake_exchange import Exchange
from markets.tests.fake_tape import LONG_AGO

BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVER = Interval(LONG_AGO, datetime(2030, 1, 1, tzinfo=UTC))
SECOND = timedelta(seconds=1)


@dataclass
class World:
    """An exchange whose trades become visible as its clock goes, some of them late."""

    exchange: Exchange = field(default_factory=Exchange)
    clock: datetime = BEGIN
    coming: list[tuple[datetime, datetime]] = field(default_factory=list)
    happened: dict[UUID, datetime] = field(default_factory=dict)
    newest_walk: NewestWalk | None = None

    def trade(self, *, late: float = 0) -> None:
        """Let a trade happen now, and be listed `late` seconds later."""
        self.coming.append((self.clock + late * SECOND, self.clock))
        self.wait(0)

    def wait(self, seconds: float) -> None:
        self.clock += seconds * SECOND
        for visible_at, at in [each for each in self.coming if each[0] <= self.clock]:
            self.coming.remove((visible_at, at))
            number = len(self.happened) + 1
            self.happened[UUID(int=number)] = at
            self.exchange.tape.add(number, at)

    def reader(self, *, pages: int = 1000) -> TapeReader:
        """Return a reader that may request so many pages."""
        left = iter(range(pages - 1))
        return TapeReader(
            self.exchange.client(),
            go_on=lambda: next(left, None) is not None,
            newest_walk=self.newest_walk,
        )

    def follow(self, *, pages: int = 1000) -> None:
        reader = self.reader(pages=pages)
        try:
            reader.follow()
        finally:
            self.newest_walk = reader.newest_walk

    def close(self, *, pages: int = 1000) -> None:
        self.reader(pages=pages).close_next()

    def read_everything(self) -> None:
        """Let the last late trade come, and run until nothing is open."""
        self.trade()
        self.wait(30)
        self.trade()
        self.exchange.tape.meanwhile = lambda: None
        self.follow()
        reader = self.reader()
        while reader.close_next():
            pass


@pytest.fixture
def world(db):
    a_market("KXA-1-X")
    return World()


def spans():
    """List the spans, oldest first, in seconds since the world began."""
    return [
        ((each.start - BEGIN).total_seconds(), (each.end - BEGIN).total_seconds(), each.is_whole)
        for each in TapeSpan.objects.order_by("start")
    ]


def recorded():
    return dict(Trade.objects.values_list("trade_id", "created_time"))


def missing_from_whole_spans(world):
    """List the trades that a whole span should have, but for what may still come late."""
    newest = TapeSpan.objects.newest()
    if newest is None:
        return []
    whole = TapeSpan.objects.whole(Interval(EVER.start, newest.end - LATENESS))
    have = recorded()
    promised = [(world.clock, at) for _, at in world.coming] + [
        (id, at) for id, at in world.happened.items() if id not in have
    ]
    return [at for _, at in promised if any(span.start <= at < span.end for span in whole)]


ACTIONS = st.one_of(
    st.tuples(st.just("trades"), st.integers(1, 12), st.sampled_from([0, 0, 0.000001, 0.3, 2])),
    st.tuples(st.just("late"), st.floats(0, 9.9), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 1, 5, 11, 60]), st.just(0)),
    st.tuples(st.just("follow"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("close"), st.integers(1, 4), st.just(0)),
    st.tuples(st.just("fail"), st.integers(1, 3), st.just(0)),
)


@pytest.mark.django_db
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    actions=st.lists(ACTIONS, max_size=25),
    per_page=st.integers(1, 6),
    while_reading=st.lists(st.booleans(), min_size=1, max_size=5),
)
@example(
    # A walk that ends early is followed by one that meets it, and by trades of before.
    actions=[
        ("trades", 5, 2),
        ("follow", 5, 0),
        ("late", 9.0, 0),
        ("wait", 5, 0),
        ("trades", 12, 0.3),
        ("follow", 1, 0),
        ("follow", 5, 0),
        ("close", 4, 0),
    ],
    per_page=3,
    while_reading=[True],
)
def test_a_whole_span_lacks_no_trade(world, actions, per_page, while_reading):
    with transaction.atomic():
        world = World()
        world.exchange.tape.per_page = per_page
        shifts = iter(while_reading * 1000)

        def go_on() -> None:
            # The listing shifts while it is read.
            world.wait(0.2)
            if next(shifts):
                world.trade(late=1.0)

        world.exchange.tape.meanwhile = go_on
        for what, number, spacing in actions:
            act(world, what, number, spacing)
            assert missing_from_whole_spans(world) == []
            check_order()
        world.exchange.failing.clear()
        world.read_everything()
        assert missing_from_whole_spans(world) == []
        assert not TapeSpan.objects.open().exists()
        began = TapeSpan.objects.order_by("start").first()
        if began:
            newest = TapeSpan.objects.newest()
            expected = {
                id: at for id, at in world.happened.items() if began.start <= at < newest.end
            }
            assert expected.items() <= recorded().items()
        transaction.set_rollback(True)


def act(world, what, number, spacing):
    if what == "trades":
        for _ in range(number):
            world.trade()
            world.wait(spacing)
    elif what == "late":
        world.trade(late=number)
    elif what == "wait":
        world.wait(number)
    elif what == "follow":
        world.follow(pages=number)
    elif what == "close":
        world.close(pages=number)
    else:
        break_off(world, after=number)


def break_off(world, *, after):
    """Follow the tape with an exchange that fails after so many pages, as if killed."""
    meanwhile, left = world.exchange.tape.meanwhile, iter(range(after))

    def fail_in_the_end() -> None:
        if next(left, None) is None:
            world.exchange.failing["/markets/trades"] = httpx.Response(404)
        meanwhile()

    world.exchange.tape.meanwhile = fail_in_the_end
    with suppress(KalshiError):
        world.follow()
    world.exchange.tape.meanwhile = meanwhile
    world.exchange.failing.clear()


def check_order():
    """Spans never overlap, and those that touch differ."""
    rows = list(TapeSpan.objects.order_by("start"))
    for before, after in pairwise(rows):
        assert before.start < before.end <= after.start
        assert before.end < after.start or before.kind != after.kind


def test_the_first_walk_reads_a_page_and_begins_the_tape(world):
    for _ in range(5):
        world.trade()
        world.wait(1)
    world.exchange.tape.per_page = 3
    world.follow()
    assert spans() == [(2.000001, 4, True)]
    assert len(recorded()) == 3


def test_a_walk_ends_where_it_meets_the_last_one_and_ten_seconds_before(world):
    for _ in range(60):
        world.trade()
        world.wait(1)
    world.follow()
    world.trade()
    world.exchange.tape.per_page = 5
    world.exchange.requests.clear()
    world.follow()
    assert len(world.exchange.requests) == 3
    assert spans() == [(0, 60, True)]


def test_trades_of_the_walk_before_are_not_written_again(world):
    for _ in range(5):
        world.trade()
        world.wait(1)
    world.follow()
    with CaptureQueriesContext(connection) as queries:
        world.follow()
    assert not [query for query in queries if "markets_trade" in query["sql"]]
    world.trade()
    world.follow()
    assert recorded().items() == world.happened.items()


def test_a_walk_writes_all_of_its_trades_where_the_tape_before_is_another_one(world):
    world.trade()
    world.wait(1)
    world.trade()
    world.follow()
    Trade.objects.all().delete()
    TapeSpan.objects.all().delete()
    world.follow()
    assert recorded().items() == world.happened.items()


def test_an_outage_is_an_open_span_that_later_runs_close_from_its_end(world):
    world.trade()
    world.wait(1)
    world.trade()
    world.follow()
    for _ in range(100):
        world.wait(1)
        world.trade()
    world.exchange.tape.per_page = 10
    world.follow(pages=2)
    # The trades of the last ten seconds before the outage may have become more.
    assert spans() == [(0, 82.000001, False), (82.000001, 101, True)]
    world.close(pages=3)
    assert spans()[:2] == [(0, 54.000001, False), (54.000001, 82.000001, True)]
    world.read_everything()
    assert [span[2] for span in spans()].count(False) == 0
    assert recorded().items() == world.happened.items()
    assert {each.proof for each in TapeSpan.objects.all()} == {Proof.JOINED, Proof.LISTED}


def test_the_newest_of_several_open_spans_is_closed_first(world):
    for at in (0, 100, 300):
        with transaction.atomic():
            TapeSpan.objects.mark_open(Interval(BEGIN + at * SECOND, BEGIN + (at + 50) * SECOND))
    with transaction.atomic():
        recent = Interval(BEGIN + 380 * SECOND, BEGIN + 400 * SECOND)
        TapeSpan.objects.mark(recent, TapeSpan(is_whole=True))
    world.close()
    assert (300, 350, True) in spans()
    world.close()
    assert (100, 150, True) in spans()
    assert (0, 50, False) in spans()


def test_a_gap_on_both_sides_of_the_cutoff_is_read_in_both_tiers(world):
    for _ in range(30):
        world.trade()
        world.wait(1)
    world.exchange.tape.cutoff = BEGIN + 15.5 * SECOND
    gap = Interval(BEGIN, BEGIN + 20 * SECOND)
    with transaction.atomic():
        TapeSpan.objects.mark_open(gap)
        TapeSpan.objects.mark(
            Interval(gap.end, BEGIN + 31 * SECOND), TapeSpan(is_whole=True, proof=Proof.JOINED)
        )
    reader = world.reader()
    while reader.close_next():
        pass
    assert spans()[:2] == [(0, 15.5, True), (15.5, 20, True)]
    assert [each.proof for each in TapeSpan.objects.order_by("start")][:2] == [
        Proof.HISTORICAL,
        Proof.LISTED,
    ]
    assert len([at for at in recorded().values() if at < gap.end]) == 20


def test_without_a_known_cutoff_an_old_gap_stays_open_and_is_not_asked_for_at_once(world):
    world.trade()
    world.exchange.tape.cutoff = None
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(BEGIN - 60 * SECOND, BEGIN - 40 * SECOND))
    reader = world.reader()
    assert reader.close_next()
    assert not TapeSpan.objects.filter(is_whole=True).exists()
    assert TapeSpan.objects.filter(tried_at=None).exists()


def test_a_filter_that_is_ignored_proves_nothing(world):
    for _ in range(60):
        world.trade()
        world.wait(1)
    world.exchange.tape.ignored.add("max_ts")
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(BEGIN, BEGIN + 5 * SECOND))
        TapeSpan.objects.mark_open(
            Interval(BEGIN + 50 * SECOND, BEGIN + 60 * SECOND), tried_at=datetime.now(UTC)
        )
    with pytest.raises(FilterIgnored, match="max_ts"):
        world.close()
    assert (0, 5, False) in spans()


def test_a_tape_that_is_listed_oldest_first_is_refused(world):
    world.trade()
    world.wait(5)
    world.trade()
    tape = world.exchange.tape
    tape.page = lambda request, is_past: {"trades": list(tape.trades), "cursor": ""}
    with pytest.raises(Unintelligible, match="newest first"):
        world.follow()
    assert spans() == []


def test_a_trade_that_cannot_be_read_leaves_its_instant_open(world):
    for _ in range(20):
        world.trade()
        world.wait(1)
    world.exchange.tape.trades[10]["count_fp"] = "many"
    world.follow()
    assert [span for span in spans() if not span[2]] == [(10, 10.000001, False)]
    assert len(recorded()) == 19
    assert TapeSpan.objects.open().get().tried_at
    assert not world.reader().close_next()
    world.exchange.tape.trades[10]["count_fp"] = "1.00"
    TapeSpan.objects.open().update(tried_at=datetime.now(UTC) - timedelta(hours=1))
    world.wait(30)
    world.trade()
    world.read_everything()
    assert not TapeSpan.objects.open().exists()


def test_another_exchange_in_the_same_place_is_not_taken_for_the_same_tape(world):
    for _ in range(30):
        world.trade()
        world.wait(1)
    world.follow()
    newest = TapeSpan.objects.newest()
    newest.newest_ids = [UUID(int=10**6)]
    newest.save()
    world.trade()
    world.follow()
    assert [span[2] for span in spans()] == [True, False, True]
    world.read_everything()
    assert not TapeSpan.objects.open().exists()


def test_a_minute_of_ten_times_as_many_trades_is_whole_five_minutes_later(world):
    """A hundredth of 300 trades a second, of 3,000 in a burst, and of a page's thousand."""
    world.exchange.tape.per_page = 10
    runs = iter(range(1, 1000))

    def pass_time(seconds, *, rate):
        for _ in range(seconds // 5):
            for _ in range(5 * rate):
                world.trade()
                world.wait(1 / rate)
            run(world, next(runs))

    pass_time(30, rate=3)
    assert not TapeSpan.objects.open().exists()
    pass_time(60, rate=30)
    assert TapeSpan.objects.open().exists()
    passed = 0
    while TapeSpan.objects.open().exists() and passed < 300:
        pass_time(5, rate=3)
        passed += 5
    assert not TapeSpan.objects.open().exists()
    began, newest = TapeSpan.objects.order_by("start").first(), TapeSpan.objects.newest()
    happened = {id for id, at in world.happened.items() if began.start <= at < newest.end}
    assert happened <= recorded().keys()


def run(world, number):
    """Give the tape its turn of a run by default settings."""
    tick = Tick(world.exchange.client(), Poll(pk=number), time.monotonic() + 60)
    tick.begin_turn(Tier.TRADES, later=[])
    fetch_trades(tick)


def test_a_gap_is_listed_once_by_each_setting(world, settings):
    gap = Interval(BEGIN, BEGIN + 60 * SECOND)
    with transaction.atomic():
        TapeSpan.objects.mark_open(gap)
    settings.RECORD_SERIES = frozenset({"SKXA-1"})
    for seconds in (30, 90):
        world.wait(seconds)
        world.trade()
    world.follow()
    reader = world.reader()
    assert [reader.close_next() for _ in range(6)][-1] is False
    assert TapeSpan.objects.whole(gap) == [gap]
    assert TapeSpan.objects.open().exists()
    settings.RECORD_SERIES = frozenset()
    while reader.close_next():
        pass
    assert TapeSpan.objects.whole(gap) == [gap]
    assert not TapeSpan.objects.open().exists()


def test_the_newest_trades_are_read_in_every_run_beside_a_gap_of_the_hot_list(world, settings):
    settings.RECORD_TRADES = "hot"
    world.trade()
    world.follow()
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(BEGIN - 60 * SECOND, BEGIN))
    for number in (1, 2):
        world.wait(5)
        world.trade()
        run(world, number)
        assert TapeSpan.objects.newest().end == world.clock
