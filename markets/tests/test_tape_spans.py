"""Spans of the tape: whose trades they speak of, and since when they are known."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markets.intervals import Interval
from markets.models import TapeSpan
from markets.models.tape import Proof
from markets.models.tape_scope import Extent, TapeScope
from markets.tests.factories import a_market

BEGIN = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
EVER = Interval(BEGIN - 24 * 60 * MINUTE, BEGIN + 24 * 60 * MINUTE)
SCOPES = [TapeScope(), TapeScope(series=("SKXA-1",)), TapeScope(with_combos=True)]

pytestmark = pytest.mark.django_db


def read(since, until, *, at, scope=SCOPES[0], proof=Proof.JOINED):
    """Read a time, in seconds since the beginning, at a later one."""
    with transaction.atomic():
        TapeSpan.objects.mark_whole(
            Interval(BEGIN + since * SECOND, BEGIN + until * SECOND),
            TapeSpan(is_whole=True, proof=proof, **scope._asdict()),
            at=BEGIN + at * SECOND,
        )


def known_by(market, at):
    """Return the times known to be whole, in seconds since the beginning."""
    whole = TapeSpan.objects.whole_for(
        [market.pk], [market.ticker], EVER, known_by=BEGIN + at * SECOND
    )
    return [tuple((t - BEGIN) / SECOND for t in time) for each in whole for time in each.times]


def test_what_is_followed_live_is_one_span_and_known_a_minute_later():
    market = a_market("KXA-1-X")
    for second in range(0, 300, 5):
        read(second, second + 5, at=second + 6)
    assert TapeSpan.objects.get().known_at is None
    assert known_by(market, 200) == [(0, 140)]


def test_what_is_read_later_is_known_from_the_end_of_its_minute_on():
    market = a_market("KXA-1-X")
    read(0, 100, at=101)
    read(100, 200, at=615, proof=Proof.LISTED)
    read(200, 300, at=630, proof=Proof.LISTED)
    assert TapeSpan.objects.count() == 3
    assert known_by(market, 120) == [(0, 60)]
    assert known_by(market, 659) == [(0, 100)]
    assert known_by(market, 660) == [(0, 300)]


def test_a_time_that_is_read_again_stays_known_since_it_was():
    market = a_market("KXA-1-X")
    read(0, 100, at=100)
    before = known_by(market, 200)
    read(0, 300, at=1_000)
    assert known_by(market, 200) == before
    assert known_by(market, 2_000) == [(0, 300)]


def test_a_span_of_some_series_takes_nothing_from_one_of_others():
    markets = [a_market("KXA-1-X"), a_market("KXB-1-X")]
    read(0, 100, at=100, scope=TapeScope(series=("SKXA-1",)))
    read(50, 150, at=150, scope=TapeScope(series=("SKXB-1",)))
    assert [known_by(market, 900) for market in markets] == [[(0, 100)], [(50, 150)]]


def test_the_share_is_that_of_the_markets_that_are_recorded_now(settings):
    read(0, 100, at=100, scope=TapeScope(series=("KXA", "KXB")))
    window = Interval(BEGIN, BEGIN + 200 * SECOND)
    assert TapeSpan.objects.share(window) == 0
    settings.RECORD_SERIES = frozenset({"KXA"})
    assert TapeSpan.objects.share(window) == 0.5
    settings.RECORD_COMBOS = True
    assert TapeSpan.objects.unread(window) == [window]


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        (TapeScope(), TapeScope(extent=Extent.HOT), True),
        (TapeScope(extent=Extent.HOT), TapeScope(), False),
        (TapeScope(with_combos=True), TapeScope(), True),
        (TapeScope(), TapeScope(with_combos=True), False),
        (TapeScope(), TapeScope(series=("KXA",)), True),
        (TapeScope(series=("KXA",)), TapeScope(), False),
        (TapeScope(series=("KXA",), categories=("C",)), TapeScope(series=("KXA",)), True),
        (TapeScope(series=("KXA",)), TapeScope(series=("KXA",), categories=("C",)), False),
    ],
)
def test_a_scope_covers_another_if_it_lets_as_many_through(one, other, covers):
    assert one.covers(other) is covers


HOT = TapeScope(extent=Extent.HOT)
GAP = Interval(BEGIN, BEGIN + 100 * SECOND)


def to_close(*, tried_before=BEGIN):
    """Return the open time that is listed next, in seconds since the beginning."""
    time = TapeSpan.objects.to_close(before=EVER.end, tried_before=tried_before)
    return time and tuple((t - BEGIN) / SECOND for t in time)


def test_a_hot_list_that_was_read_later_counts_for_nothing(settings):
    settings.RECORD_TRADES = "hot"
    read(0, 100, at=101, scope=HOT)
    read(100, 200, at=900, scope=HOT, proof=Proof.LISTED)
    window = Interval(BEGIN, BEGIN + 200 * SECOND)
    assert TapeSpan.objects.whole(window) == [Interval(BEGIN + 41 * SECOND, BEGIN + 100 * SECOND)]
    assert TapeSpan.objects.share(window) == 0.295


def test_a_gap_under_a_hot_list_stays_open_until_all_trades_are_recorded(settings):
    settings.RECORD_TRADES = "hot"
    TapeSpan.objects.mark_open(GAP)
    assert to_close() is None
    read(0, 100, at=900, scope=HOT, proof=Proof.LISTED)
    assert TapeSpan.objects.open().get().length == GAP.length
    settings.RECORD_TRADES = "all"
    assert to_close() == (0, 100)
    read(0, 100, at=900, proof=Proof.LISTED)
    assert not TapeSpan.objects.open().exists()


def test_an_open_time_waits_for_a_scope_that_covers_its_own(settings):
    TapeSpan.objects.mark_open(GAP)
    settings.RECORD_SERIES = frozenset({"KXA"})
    assert to_close() == (0, 100)
    read(40, 100, at=900, scope=TapeScope.of_settings(), proof=Proof.LISTED)
    assert to_close() == (0, 40)
    read(0, 40, at=900, scope=TapeScope.of_settings(), proof=Proof.LISTED)
    assert to_close() is None
    settings.RECORD_SERIES = frozenset()
    assert to_close() == (0, 100)
    read(0, 100, at=990, scope=TapeScope.of_settings(), proof=Proof.LISTED)
    assert not TapeSpan.objects.open().exists()


def test_a_time_that_was_tried_in_vain_stays_open_for_as_many_markets(settings):
    TapeSpan.objects.mark_open(GAP)
    settings.RECORD_SERIES = frozenset({"KXA"})
    TapeSpan.objects.mark_open(Interval(BEGIN + 60 * SECOND, GAP.end), tried_at=BEGIN + MINUTE)
    assert {span.scope for span in TapeSpan.objects.open()} == {TapeScope()}
    assert to_close() == (0, 60)
    assert to_close(tried_before=BEGIN + 2 * MINUTE) == (60, 100)


def test_a_whole_span_that_is_restored_closes_what_is_open():
    with transaction.atomic():
        TapeSpan.objects.mark_open(GAP)
    whole = {"is_whole": True, "proof": Proof.JOINED, **SCOPES[0]._asdict()}
    assert TapeSpan.objects.add(GAP, whole) == 1
    assert [(span.start, span.end, span.is_whole) for span in TapeSpan.objects.all()] == [
        (*GAP, True)
    ]
    assert TapeSpan.objects.add(GAP, {"is_whole": False, **SCOPES[0]._asdict()}) == 0
    assert not TapeSpan.objects.open().exists()


def test_a_span_that_is_restored_leaves_open_what_is_open_for_more(settings):
    TapeSpan.objects.mark_open(GAP)
    scope = TapeScope(series=("KXA",))
    values = {"is_whole": True, "proof": Proof.LISTED, **scope._asdict()}
    assert TapeSpan.objects.add(GAP, values) == 1
    assert TapeSpan.objects.add(GAP, values) == 0
    assert [(span.is_whole, span.scope) for span in TapeSpan.objects.order_by("is_whole")] == [
        (False, TapeScope()),
        (True, scope),
    ]


WORKS = st.tuples(
    st.booleans(), st.integers(0, 9), st.integers(1, 9), st.sampled_from([*SCOPES, HOT])
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(works=st.lists(WORKS, max_size=6))
def test_a_time_is_open_until_it_is_read_for_as_many_markets(db, works):
    waiting: dict[int, TapeScope] = {}
    with transaction.atomic():
        for is_read, since, length, scope in works:
            time = Interval(BEGIN + since * MINUTE, BEGIN + (since + length) * MINUTE)
            if is_read:
                span = TapeSpan(is_whole=True, proof=Proof.LISTED, **scope._asdict())
                TapeSpan.objects.mark_whole(time, span, at=EVER.end)
            else:
                TapeSpan.objects.mark(time, TapeSpan(is_whole=False, **scope._asdict()))
            for minute in range(since, since + length):
                follow(waiting, minute, scope, is_read=is_read)
        assert open_minutes() == waiting
        check_scopes()
        transaction.set_rollback(True)


def follow(waiting, minute, scope, *, is_read):
    """Keep by minute the scope for which it is open."""
    covers = minute in waiting and scope.covers(waiting[minute])
    if not is_read and (covers or minute not in waiting):
        waiting[minute] = scope
    elif is_read and covers and scope != HOT:
        del waiting[minute]


def open_minutes():
    return {
        minute: span.scope
        for span in TapeSpan.objects.open()
        for minute in range((span.start - BEGIN) // MINUTE, (span.end - BEGIN) // MINUTE)
    }


READS = st.tuples(
    st.integers(0, 300), st.integers(1, 200), st.integers(0, 100), st.sampled_from(SCOPES)
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=st.lists(READS, max_size=4), after=st.lists(READS, min_size=1, max_size=4))
def test_what_a_run_was_told_is_told_again_whatever_was_read_since(db, before, after):
    with transaction.atomic():
        market = a_market("KXA-1-X")
        clock = carry_out(before, clock=0)
        told = [known_by(market, at) for at in range(0, int(clock) + 1, 60)]
        carry_out(after, clock=clock)
        assert [known_by(market, at) for at in range(0, int(clock) + 1, 60)] == told
        check_scopes()
        transaction.set_rollback(True)


def carry_out(reads, *, clock):
    """Read times, each some time after its end and after those before it; return the clock."""
    for since, length, later, scope in reads:
        clock = max(clock, since + length) + later
        read(since, since + length, at=clock, scope=scope)
    return clock


def check_scopes():
    """Spans of one scope do not overlap, and those that touch differ.

    What was read later of a hot list closes nothing, and may lie over what is open.
    """
    alike: dict[object, list[TapeSpan]] = {}
    for span in TapeSpan.objects.order_by("start"):
        alike.setdefault((span.scope, span.scope == HOT and span.is_whole), []).append(span)
    for rows in alike.values():
        for one, other in pairwise(rows):
            assert one.end <= other.start
            assert one.end < other.start or one.kind != other.kind
