"""Coverage of many markets at once: the same as that of each, from a few queries."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from markets.coverage.causes import UNCOUNTED, Cause
from markets.coverage.coverage import coverage
from markets.coverage.gap_arrays import CAUSES, CoverageOfMarkets, GapArrays
from markets.coverage.many_markets import coverage_of
from markets.intervals import Interval, intersect, merge
from markets.models import (
    Candlestick,
    HotPeriod,
    Market,
    MarketSnapshot,
    Poll,
    Source,
    Sweep,
    Tier,
)
from markets.models.candlesticks import Candle
from markets.models.observations import instant
from markets.pages.contents import encode_page
from markets.tests.factories import a_market, a_snapshot, a_sweep, observe
from markets.tests.test_coverage import FAILED, at, enter, ledgers, rounds, runs, ticks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _cadence(settings):
    settings.POLL_INTERVAL, settings.UNIVERSE_INTERVAL = 5, 30
    settings.HEARTBEAT = 3600


def told(arrays: GapArrays, market: int) -> list[tuple[Any, Any, Cause]]:
    own = range(arrays.spans[market], arrays.spans[market + 1])
    return [
        (
            instant(int(arrays.since[i])),
            instant(int(arrays.until[i])),
            CAUSES[int(arrays.causes[i])],
        )
        for i in own
    ]


def check(found: CoverageOfMarkets, markets: list[Market], first: float, last: float) -> None:
    """Compare with the coverage of each market."""
    for n, market in enumerate(markets):
        one = coverage(market, at(first), at(last))
        assert told(found.gaps, n) == [(gap.start, gap.end, gap.cause) for gap in one.gaps]
        counted = [gap for gap in one.gaps if gap.counted]
        stale = [each for each in one.stale if intersect([g.interval for g in counted], [each])]
        assert [Interval(*each[:2]) for each in told(found.stale, n)] == stale
        assert found.observed[n] == one.observed // timedelta(microseconds=1)
        if found.tradable[n]:
            assert found.observed[n] / found.tradable[n] == pytest.approx(one.share)
        else:
            assert one.share is None


@pytest.fixture
def three() -> list[Market]:
    """Two markets of an event and one of another, known to be listed."""
    markets = [a_market(ticker) for ticker in ("KXA-1-X", "KXA-1-Y", "KXB-1-X")]
    for market in markets:
        observe(market, at(-300), "0.42", "0.45")
    return markets


# Few instants, so that things often happen at the same one.
STEPS = st.integers(-24, 60).map(lambda n: 5 * n)
TRIES = rules(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@rules(TRIES, max_examples=60)
@given(
    ledger=ledgers(STEPS, most=6),
    rows=st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=4),
    candles=st.sets(STEPS, max_size=2),
    skipped=st.dictionaries(
        st.integers(0, 5), st.sampled_from(["KXA-1-X", "KXA-1-Y", "KXA-1"]), max_size=3
    ),
)
def test_it_is_the_coverage_of_each_market(three, ledger, rows, candles, skipped):
    with transaction.atomic():
        enter(ledger, three[0])
        for n, pk in enumerate(Sweep.objects.order_by("pk").values_list("pk", flat=True)):
            if n in skipped:
                Sweep.objects.filter(pk=pk).update(skipped=[skipped[n]], since_last=None)
        for n, second in rows:
            a_snapshot(three[n], at(second) + timedelta(milliseconds=1)).save()
        backfill(three[1], *candles)
        check(coverage_of([market.pk for market in three], at(0), at(180)), three, 0, 180)
        transaction.set_rollback(True)


@pytest.mark.parametrize("tier", [Tier.HOT, Tier.UNIVERSE])
@pytest.mark.parametrize("second", [0, 1])
def test_a_pass_that_skipped_a_market_hides_no_other_pass_of_that_instant(three, tier, second):
    HotPeriod.objects.create(market=three[0], started_at=at(0), ended_at=at(2))
    for skipped in (["KXA-1-X"], ["KXA-1"], []):
        a_sweep(tier, at(second), skipped=skipped)
    found = coverage_of([market.pk for market in three], at(0), at(180))
    assert told(found.stale, 0)[-1][0] == at(second + 90)
    check(found, three, 0, 180)


NAMES = st.sampled_from(["KXA-1-X", "KXA-1-Y", "KXA-1", "KXB-1", "KXC-1"])
PAGES = st.lists(st.lists(NAMES, max_size=3), min_size=1, max_size=3)
TIERS = st.sampled_from([Tier.HOT, Tier.UNIVERSE])
PASSES = st.lists(
    st.tuples(TIERS, STEPS, PAGES, st.booleans(), st.sets(NAMES, max_size=2)), max_size=8
)


@rules(TRIES, max_examples=40)
@given(passes=PASSES, heard=st.sets(STEPS, max_size=8))
def test_every_page_that_showed_a_market_is_as_good_as_a_row_of_it(three, passes, heard):
    with transaction.atomic():
        HotPeriod.objects.create(market=three[0], started_at=at(-900))
        Poll.objects.bulk_create(
            Poll(started_at=at(second), finished_at=at(second + 1)) for second in heard
        )
        rows = enter_passes(passes, three)
        found = coverage_of([market.pk for market in three], at(0), at(180))
        Sweep.objects.all().delete()
        MarketSnapshot.objects.bulk_create(
            a_snapshot(market, each)
            for market, instants in zip(three, rows, strict=True)
            for each in instants
        )
        for n, market in enumerate(three):
            expected = [gap.interval for gap in coverage(market, at(0), at(180)).gaps]
            assert merge(each[:2] for each in told(found.gaps, n)) == merge(expected)
        transaction.set_rollback(True)


def enter_passes(
    passes: list[tuple[Tier, int, list[list[str]], bool, set[str]]], markets: list[Market]
) -> list[set[datetime]]:
    """Store passes, each in full, and return the instants of the pages that showed each market."""
    rows: list[set[datetime]] = [set() for _ in markets]
    stored = []
    for tier, second, pages, complete, names in passes:
        instants = [at(second + n / 10) for n in range(len(pages))]
        skipped = names if tier == Tier.UNIVERSE else set()
        stored.append(
            Sweep(
                tier=tier,
                started_at=at(second),
                finished_at=at(second + 1),
                complete=complete,
                pages=[[each.timestamp(), 1, ""] for each in instants],
                contents=b"".join(encode_page(page, {}) for page in pages),
                skipped=sorted(skipped),
            )
        )
        for received, page in zip(instants, pages, strict=True):
            for n, market in enumerate(markets):
                by_event = market.event.ticker in page and market.ticker not in skipped
                if market.ticker in page or by_event:
                    rows[n].add(received)
    Sweep.objects.bulk_create(stored)
    return rows


def backfill(market: Market, *seconds: int) -> None:
    """Backfill candles of a minute that end at these seconds."""
    quote, zero = (market.yes_bid,) * 4, Decimal(0)
    Candlestick.objects.record(
        [Candle(market.pk, at(s), quote, quote, (None,) * 6, zero, zero, 0) for s in seconds],
        period_interval=1,
        source=Source.BACKFILL,
        recorded_at=at(900),
    )


def test_it_takes_the_same_queries_for_any_number_of_markets():
    few = [a_market(f"KXA-{n}-X") for n in range(2)]
    many = [*few, *(a_market(f"KXB-{n}-X") for n in range(20))]
    for n, market in enumerate(many):
        observe(market, at(-300 + n), "0.42", "0.45")
        observe(market, at(100 + n), "0.42", "0.45")
    runs(-30, 300)
    rounds(-30, 30)
    with transaction.atomic():
        with CaptureQueriesContext(connection) as first:
            coverage_of([market.pk for market in few], at(0), at(180))
        with CaptureQueriesContext(connection) as second:
            found = coverage_of([market.pk for market in many], at(0), at(180))
    assert len(first) == len(second)
    check(found, many, 0, 180)


def test_stale_intervals_last_until_the_next_observation():
    market = a_market("KXA-1-X")
    observe(market, at(-300), "0.42", "0.45")
    HotPeriod.objects.create(market=market, started_at=at(-3600))
    ticks(-30, 65)
    ticks(120, 300)
    found = coverage_of([market.pk], at(0), at(180))
    assert told(found.gaps, 0) == [(at(61), at(120), Cause.OUR_OUTAGE)]
    assert told(found.stale, 0) == [(at(75), at(120), Cause.OUR_OUTAGE)]


def test_what_nobody_missed_is_not_stale():
    market = a_market("KXA-1-X")
    observe(market, at(-300), "0.42", "0.45")
    HotPeriod.objects.create(market=market, started_at=at(-3600))
    ticks(-30, 65)
    runs(65, 120, exchange_active=False, error=FAILED)
    ticks(120, 300)
    found = coverage_of([market.pk], at(0), at(180))
    assert {cause for _, _, cause in told(found.gaps, 0)} <= set(UNCOUNTED)
    assert told(found.stale, 0) == []
    assert (found.observed == found.tradable).all()


@pytest.mark.parametrize(
    ("options", "named"),
    [({"fresh_for": timedelta()}, "fresh_for"), ({"end": at(-1)}, "end"), ({"ids": [1]}, "ids")],
)
def test_what_makes_no_sense_is_refused_by_name(options, named):
    asked = {"ids": [], "start": at(0), "end": at(60)} | options
    with pytest.raises(ValueError, match=f"^{named}"):
        coverage_of(asked.pop("ids"), asked.pop("start"), asked.pop("end"), **asked)


def test_no_markets_have_no_gaps():
    found = coverage_of([], at(0), at(60))
    assert (len(found.gaps.spans), len(found.observed)) == (1, 0)


def test_lengths_are_summed_by_cause():
    arrays = GapArrays(np.array([0, 2, 3]), *np.array([[0, 5, 0], [3, 9, 10], [1, 2, 1]]))
    assert arrays.lengths([1]).tolist() == [3, 10]
    assert arrays.lengths([2]).tolist() == [4, 0]
