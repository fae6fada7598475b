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
from markets.models import Candlestick, HotPeriod, Market, Source, Sweep, Tier
from markets.models.candlesticks import Candle
from markets.models.observations import instant
from markets.pages.contents import encode_page
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, observe
from markets.tests.test_coverage import FAILED, LEDGERS, SECONDS, at, enter, rounds, runs, ticks

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


WORLDS = st.fixed_dictionaries(
    {
        "ledger": LEDGERS,
        "rows": st.lists(st.tuples(st.integers(0, 2), SECONDS), max_size=6),
        "candles": st.sets(SECONDS, max_size=3),
        "skipped": st.sets(st.sampled_from(["KXA-1-X", "KXA-1-Y", "KXA-1"])),
    }
)


# The same worlds each time: before the first run of a record, the two may still differ in where
# a gap is cut and since when it is stale.
@rules(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    derandomize=True,
)
@given(world=WORLDS)
def test_it_is_the_coverage_of_each_market(world):
    with transaction.atomic():
        markets = [a_market(ticker) for ticker in ("KXA-1-X", "KXA-1-Y", "KXB-1-X")]
        for market in markets:
            observe(market, at(-300), "0.42", "0.45")
        enter(world["ledger"], markets[0])
        Sweep.objects.filter(pk__in=Sweep.objects.values("pk")[:3]).update(
            skipped=list(world["skipped"]), since_last=None
        )
        for n, second in world["rows"]:
            a_snapshot(markets[n], at(second) + timedelta(milliseconds=1)).save()
        backfill(markets[1], *world["candles"])
        found = coverage_of([market.pk for market in markets], at(0), at(180))
        check(found, markets, 0, 180)
        transaction.set_rollback(True)


NAMES = st.sampled_from(["KXA-1-X", "KXA-1-Y", "KXA-1", "KXB-1", "KXC-1"])
PAGES = st.lists(st.lists(NAMES, max_size=3), min_size=1, max_size=3)
PASSES = st.lists(
    st.tuples(st.sampled_from([Tier.HOT, Tier.UNIVERSE]), SECONDS, PAGES, st.booleans()),
    max_size=12,
)


@rules(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(passes=PASSES, heard=st.sets(SECONDS, max_size=12), skipped=st.sets(NAMES))
def test_every_page_that_showed_a_market_is_as_good_as_a_row_of_it(passes, heard, skipped):
    with transaction.atomic():
        markets = [a_market(ticker) for ticker in ("KXA-1-X", "KXA-1-Y", "KXB-1-X")]
        for market in markets:
            observe(market, at(-300), "0.42", "0.45")
        HotPeriod.objects.create(market=markets[0], started_at=at(-900))
        for second in heard:
            a_poll(at(second))
        rows = enter_passes(passes, sorted(skipped), markets)
        found = coverage_of([market.pk for market in markets], at(0), at(180))
        Sweep.objects.all().delete()
        for market, instants in zip(markets, rows, strict=True):
            for each in instants:
                a_snapshot(market, each).save()
        for n, market in enumerate(markets):
            expected = [gap.interval for gap in coverage(market, at(0), at(180)).gaps]
            assert merge(each[:2] for each in told(found.gaps, n)) == merge(expected)
        transaction.set_rollback(True)


def enter_passes(
    passes: list[tuple[Tier, int, list[list[str]], bool]],
    skipped: list[str],
    markets: list[Market],
) -> list[set[datetime]]:
    """Store passes, each in full, and return the instants of the pages that showed each market."""
    rows: list[set[datetime]] = [set() for _ in markets]
    for tier, second, pages, complete in passes:
        instants = [at(second + n / 10) for n in range(len(pages))]
        a_sweep(
            tier,
            at(second),
            complete=complete,
            pages=[[each.timestamp(), 1, ""] for each in instants],
            contents=b"".join(encode_page(page, {}) for page in pages),
            skipped=skipped if tier == Tier.UNIVERSE else [],
        )
        for received, page in zip(instants, pages, strict=True):
            for n, market in enumerate(markets):
                was_refused = tier == Tier.UNIVERSE and market.ticker in skipped
                by_event = market.event.ticker in page and not was_refused
                if market.ticker in page or by_event:
                    rows[n].add(received)
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
