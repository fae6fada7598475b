"""Coverage of a market as the ledger proves it, and which cause it gives for the rest."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st
from model_bakery import baker

from markets.coverage import observations
from markets.coverage.causes import Cause, Gap, outages
from markets.coverage.coverage import Coverage, coverage
from markets.coverage.slots import day_share, hot_slots
from markets.intervals import Interval
from markets.models import (
    Candlestick,
    Closure,
    HotPeriod,
    Market,
    MarketRevision,
    Poll,
    Source,
    Sweep,
    Tier,
    Watch,
)
from markets.models.candlesticks import Candle
from markets.models.snapshots import snapshot_id
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, observe

pytestmark = pytest.mark.django_db

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
FAILED = "hot: /markets: the exchange failed (500)"


@pytest.fixture(autouse=True)
def _cadence(settings):
    settings.POLL_INTERVAL, settings.UNIVERSE_INTERVAL = 5, 30
    settings.HEARTBEAT = 3600


@pytest.fixture
def market() -> Market:
    market = a_market()
    # So that it is known to be listed.
    observe(market, at(-300), "0.42", "0.45")
    return market


@pytest.fixture
def hot(market: Market) -> Market:
    HotPeriod.objects.create(market=market, started_at=at(-3600))
    return market


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def runs(first: int, last: int, **values: Any) -> None:
    """A run every five seconds that observed nothing."""
    Poll.objects.bulk_create(
        Poll(**{"started_at": at(second), "finished_at": at(second + 1), **values})
        for second in range(first, last, 5)
    )


def ticks(first: int, last: int) -> None:
    """A run every five seconds with a complete pass of the hot list."""
    runs(first, last)
    for second in range(first, last, 5):
        a_sweep(Tier.HOT, at(second))


def rounds(first: int, last: int, **values: Any) -> None:
    for second in range(first, last, 30):
        a_sweep(Tier.UNIVERSE, at(second), **values)


def revised(market: Market, second: float, status: str, **values: Any) -> None:
    times = {"open_time": market.open_time, "close_time": market.close_time, **values}
    baker.make(MarketRevision, market=market, known_at=at(second), status=status, **times)


def causes(gaps: list[Gap]) -> list[tuple[float, float, str]]:
    """The gaps in seconds from the start."""
    return [
        ((gap.start - START).total_seconds(), (gap.end - START).total_seconds(), gap.cause.value)
        for gap in gaps
    ]


def of(market: Market, first: float = 0, last: float = 180, **values: Any) -> Coverage:
    return coverage(market, at(first), at(last), **values)


def gaps_of(market: Market, *window: float) -> list[tuple[float, float, str]]:
    return causes(list(of(market, *window).gaps))


class TestCauses:
    """Observed before and after; in between, from 60 (or 61) to 120, nothing was observed."""

    @pytest.fixture(autouse=True)
    def _around(self, hot):
        ticks(-30, 65)
        ticks(120, 300)

    def test_no_run_is_an_outage_of_ours(self, hot):
        result = of(hot)
        assert causes(list(result.gaps)) == [(61, 120, "our outage")]
        assert (result.gaps[0].detail, result.observed.total_seconds()) == ("no run", 121)
        assert result.share == pytest.approx(121 / 180)

    def test_what_a_reader_saw_turns_stale_later_than_the_gap_begins(self, hot):
        result = of(hot)
        assert result.stale == [Interval(at(75), at(120))]
        assert result.fresh.total_seconds() == 135

    def test_killed_runs_are_an_outage_of_ours(self, hot):
        runs(65, 120, finished_at=None)
        (gap,) = of(hot).gaps
        assert (gap.cause, gap.detail) == (Cause.OUR_OUTAGE, "11 of 11 runs did not finish")

    @pytest.mark.parametrize(
        "error",
        [
            "OperationalError: the connection is lost",
            "hot: the token bucket cannot be asked: ConnectionError",
        ],
    )
    def test_a_fault_of_our_own_services_is_an_outage_of_ours(self, hot, error):
        runs(65, 120, error=error)
        (gap,) = of(hot).gaps
        assert (gap.cause, gap.detail) == (Cause.OUR_OUTAGE, "11 of 11 runs failed on our side")

    @pytest.mark.parametrize(
        "values",
        [
            {"throttled": 2, "error": "hot: the exchange counted too many requests (status 429)"},
            {"error": "hot: no tokens for 4.0 s, longer than this run may take"},
        ],
    )
    def test_too_many_requests_and_too_few_tokens_are_throttling(self, hot, values):
        runs(65, 120, **values)
        assert gaps_of(hot) == [(61, 120, "throttled")]

    def test_other_errors_are_the_exchange_failing_and_one_of_them_is_shown(self, hot):
        runs(65, 120, error=FAILED)
        (gap,) = of(hot).gaps
        assert (gap.cause, gap.detail) == (Cause.EXCHANGE_FAILING, f"11 of 11 runs: {FAILED}")

    def test_of_throttling_and_other_errors_throttling_counts(self, hot):
        runs(65, 100, error=FAILED)
        runs(100, 120, throttled=1, error="hot: too many requests (429)")
        assert gaps_of(hot) == [(61, 120, "throttled")]

    def test_a_market_that_the_exchange_did_not_give_is_not_listed(self, hot):
        runs(65, 120)
        for second in range(65, 120, 5):
            a_sweep(Tier.HOT, at(second), skipped=["KXOTHER", hot.ticker])
        assert gaps_of(hot) == [(60, 120, "not listed")]

    def test_runs_without_an_error_and_without_the_market_are_not_explained(self, hot):
        runs(65, 120)
        (gap,) = of(hot).gaps
        assert (gap.cause, gap.detail) == (Cause.NOT_COVERED, "none of 11 runs failed")

    def test_an_incomplete_pass_proves_nothing(self, hot):
        runs(65, 120)
        a_sweep(Tier.HOT, at(90), complete=False)
        assert gaps_of(hot) == [(60, 120, "not covered")]

    def test_an_exchange_that_says_it_is_closed_is_not_counted_against_us(self, hot):
        runs(65, 120, exchange_active=False, error=FAILED)
        result = of(hot)
        assert causes(list(result.gaps)) == [(61, 120, "exchange closed")]
        assert result.share == 1

    def test_it_is_excused_from_when_it_was_heard_closed_until_it_was_heard_open(self, hot):
        runs(65, 85, throttled=1, exchange_active=True, error=FAILED)
        runs(85, 95, exchange_active=False, error=FAILED)
        runs(95, 100, error=FAILED)  # it could not say whether it is open
        runs(100, 120, throttled=1, exchange_active=True, error=FAILED)
        result = of(hot)
        assert causes(list(result.gaps)) == [
            (61, 85, "throttled"),
            (85, 100, "exchange closed"),
            (100, 120, "throttled"),
        ]
        details = ["4 of 4 runs", "reported to 2 of 3 runs", "4 of 4 runs"]
        assert [gap.detail for gap in result.gaps] == details
        assert result.share == pytest.approx(121 / 165)

    def test_that_it_was_closed_before_the_gap_excuses_nothing(self, hot):
        Poll.objects.filter(started_at=at(60)).update(exchange_active=False)
        runs(65, 120, throttled=1, exchange_active=True)
        assert gaps_of(hot) == [(60, 120, "throttled")]

    def test_an_announced_closure_explains_even_an_outage_as_far_as_it_goes(self, hot):
        Closure.objects.create(start=at(20), end=at(100), known_at=at(-900))
        assert gaps_of(hot) == [(61, 100, "exchange closed"), (100, 120, "our outage")]

    def test_an_announced_closure_is_no_gap_where_the_market_was_observed(self, hot):
        Closure.objects.create(start=at(0), end=at(50), known_at=at(-900))
        assert gaps_of(hot, 0, 60) == []

    def test_a_gap_is_cut_where_an_outage_ends(self, hot):
        runs(65, 85, error=FAILED)
        assert gaps_of(hot) == [(61, 81, "exchange failing"), (81, 120, "our outage")]

    def test_a_paused_market_is_neither_covered_nor_missed(self, hot):
        revised(hot, -900, "active")
        revised(hot, 40, "inactive")
        revised(hot, 110, "active")
        result = of(hot)
        assert causes(list(result.gaps)) == [
            (40, 110, "market paused or closed"),
            (110, 120, "our outage"),
        ]
        assert (result.gaps[0].detail, result.gaps[0].counted) == ("inactive", False)
        assert result.share == pytest.approx(100 / 110)

    def test_a_snapshot_is_an_observation(self, hot):
        runs(65, 120)
        observe(hot, at(80), "0.43", "0.45")
        assert gaps_of(hot) == [(60, 80, "not covered"), (80, 120, "not covered")]

    def test_a_pass_of_the_universe_is_an_observation(self, hot):
        runs(65, 120)
        a_sweep(Tier.UNIVERSE, at(80))
        assert gaps_of(hot) == [(60, 80, "not covered"), (80, 120, "not covered")]

    def test_a_run_that_read_markets_although_the_exchange_failed_is_no_outage(self, hot):
        runs(65, 120, error=FAILED, markets=200)
        assert outages(at(0), at(180)) == []
        assert gaps_of(hot) == [(60, 120, "exchange failing")]

    def test_a_clock_that_stepped_back_hides_no_run(self, hot):
        a_poll(at(64), seconds=40, error=FAILED)
        a_poll(at(70), seconds=2, error=FAILED)
        assert gaps_of(hot) == [(61, 104, "exchange failing"), (104, 120, "our outage")]


def test_that_the_exchange_was_closed_is_soon_old_news(hot):
    ticks(-30, 65)
    runs(65, 75, exchange_active=False)
    runs(75, 700, throttled=1)
    assert gaps_of(hot, 0, 600) == [(60, 190, "exchange closed"), (190, 600, "throttled")]


class TestWindows:
    def test_what_was_observed_before_the_window_is_still_good_in_it(self, hot):
        ticks(-30, 0)
        result = of(hot, 0, 30)
        assert causes(list(result.gaps)) == [(0, 30, "our outage")]
        assert result.stale == [Interval(at(10), at(30))]

    def test_nothing_after_the_window_makes_it_better(self, hot):
        ticks(-30, 0)
        ticks(30, 60)
        assert gaps_of(hot, 0, 20) == [(0, 20, "our outage")]

    def test_windows_that_touch_miss_together_what_one_window_misses(self, hot):
        runs(-30, 300)
        for second in (*range(-30, 50, 5), *range(110, 300, 5)):
            a_sweep(Tier.HOT, at(second))
        assert gaps_of(hot, 0, 50) == [(45, 50, "not covered")]
        assert gaps_of(hot, 50, 180) == [(50, 110, "not covered")]
        assert gaps_of(hot, 0, 180) == [(45, 110, "not covered")]

    def test_what_is_to_come_was_not_missed(self, hot):
        now = datetime.now(UTC)
        a_sweep(Tier.HOT, now)
        result = coverage(hot, now, now + timedelta(days=1))
        assert now <= result.end < now + timedelta(hours=1)
        assert (result.share, result.gaps) == (1, [])

    def test_of_a_window_that_has_not_begun_nothing_is_said(self, hot):
        now = datetime.now(UTC)
        result = coverage(hot, now + timedelta(hours=1), now + timedelta(hours=2))
        assert (result.share, result.gaps, result.start == result.end) == (None, [], True)

    @pytest.mark.parametrize(
        ("start", "end", "named"),
        [
            (START.replace(tzinfo=None), START, "start"),
            (START, START.replace(tzinfo=None), "end"),
            (START, START - timedelta(seconds=1), "end"),
        ],
    )
    @pytest.mark.parametrize("read", [hot_slots, outages])
    def test_what_is_no_window_is_refused_by_name(self, read, start, end, named, market):
        with pytest.raises(ValueError, match=f"^{named} "):
            read(start, end)
        with pytest.raises(ValueError, match=f"^{named} "):
            coverage(market, start, end)

    def test_an_observation_that_is_never_good_is_refused(self, market):
        with pytest.raises(ValueError, match=r"^fresh_for "):
            of(market, fresh_for=timedelta())

    def test_it_is_asked_how_long_an_observation_is_good(self, hot):
        ticks(0, 5)
        assert causes(list(of(hot, 0, 60, fresh_for=timedelta(seconds=20)).gaps)) == [
            (1, 60, "our outage")
        ]


class TestLife:
    def test_a_market_is_due_from_its_opening_to_its_close(self, market):
        market = a_market("KXRAIN-26NOV22", open_time=at(60), close_time=at(120))
        result = of(market)
        assert [(gap.cause.value, gap.detail) for gap in result.gaps] == [
            ("market paused or closed", "not open yet"),
            ("not recording yet", "before the first run"),
            ("market paused or closed", "past its close"),
        ]
        assert causes(list(result.gaps))[1][:2] == (60, 120)
        assert result.share == 0

    def test_a_close_counts_as_it_was_known_at_the_time(self, market):
        rounds(-30, 180)
        revised(market, -900, "active", close_time=at(120))
        revised(market, 60, "active", close_time=at(150))
        revised(market, 155, "closed", close_time=at(150))
        result = of(market)
        assert causes(list(result.gaps)) == [
            (150, 155, "market paused or closed"),
            (155, 180, "market paused or closed"),
        ]
        assert result.share == 1

    def test_a_revision_that_changes_neither_status_nor_times_cuts_nothing(self, market):
        revised(market, -900, "closed")
        revised(market, 60, "closed")
        assert gaps_of(market) == [(0, 180, "market paused or closed")]

    def test_no_pass_proves_anything_of_a_market_that_never_came(self):
        market = a_market(quoted_at=None)
        runs(-30, 300)
        rounds(-30, 180)
        assert gaps_of(market) == [(0, 180, "not listed")]
        assert of(market).share == 0

    def test_of_a_market_that_was_not_open_there_is_no_share(self, market):
        early = at(0) - timedelta(days=9)
        assert coverage(market, early, early + timedelta(hours=1)).share is None

    def test_a_listing_that_ended_without_a_word_is_noticed_by_the_missing_heartbeat(self, market):
        runs(0, 7400)
        rounds(0, 7400)
        # An hour's heartbeat and the ten minutes of the longest pass after its last snapshot.
        believed = -300 + 3600 + 600
        assert gaps_of(market, 0, 7200) == [(believed - 30, 7200, "not listed")]

    def test_without_snapshots_on_record_a_pass_is_believed(self, market):
        early = at(0) - timedelta(days=2)
        Market.objects.update(open_time=early)
        market.refresh_from_db()
        for minute in range(62):
            a_sweep(Tier.UNIVERSE, early + timedelta(minutes=minute))
        result = coverage(market, early, early + timedelta(hours=1))
        assert result.share == 1


class TestTiers:
    def test_a_market_of_the_universe_has_three_rounds_time(self, market):
        runs(-30, 300)
        rounds(0, 90)
        result = of(market)
        assert causes(list(result.gaps)) == [(60, 180, "not covered")]
        assert result.stale == [Interval(at(150), at(180))]

    def test_a_market_of_the_universe_is_as_unobserved_in_an_outage_as_a_hot_one(self, market):
        rounds(-30, 40)
        runs(-30, 40)
        runs(70, 300)
        rounds(80, 300)
        assert gaps_of(market) == [(36, 70, "our outage")]

    def test_after_an_outage_a_market_has_its_usual_time_to_be_observed_again(self, market):
        rounds(-30, 40)
        runs(-30, 40)
        runs(100, 400)
        rounds(185, 400)
        assert gaps_of(market, 0, 300) == [(36, 100, "our outage")]
        Sweep.objects.filter(started_at__gte=at(185), started_at__lt=at(200)).delete()
        result = gaps_of(market, 0, 300)
        assert result == [(36, 100, "our outage"), (100, 215, "not covered")]

    def test_a_pass_that_skipped_its_event_did_not_observe_a_market(self, market):
        rounds(-30, 30)
        rounds(30, 180, skipped=[market.event.ticker])
        runs(-30, 300)
        assert gaps_of(market) == [(0, 180, "not listed")]

    def test_coming_on_the_hot_list_and_leaving_it_is_no_gap(self, market):
        rounds(-30, 60)
        HotPeriod.objects.create(market=market, started_at=at(50), ended_at=at(100))
        runs(-30, 300)
        for second in range(55, 100, 5):
            a_sweep(Tier.HOT, at(second))
        rounds(150, 300)
        assert gaps_of(market) == []

    def test_a_hot_pass_counts_only_while_the_market_was_hot(self, market):
        HotPeriod.objects.create(market=market, started_at=at(-60), ended_at=at(0))
        ticks(-60, 300)
        result = of(market)
        assert causes(list(result.gaps)) == [(0, 180, "not covered")]
        assert result.stale == [Interval(at(85), at(180))]

    def test_the_rule_in_force_is_told(self, market):
        HotPeriod.objects.create(market=market, started_at=at(45), ended_at=at(100))
        assert [rule.fresh_for.total_seconds() for rule in of(market).expected] == [90, 15, 90]
        assert of(market).expected[1].start == at(60)

    def test_a_walk_without_combos_proves_nothing_of_a_combo(self):
        combo = a_market("KXMVESPORTS-1-A")
        observe(combo, at(-300), "0.42", "0.45")
        runs(-30, 300)
        rounds(-30, 300)
        assert gaps_of(combo) == [(0, 180, "not covered")]
        for second in range(-30, 300, 30):
            a_sweep(Tier.COMBOS, at(second))
        assert gaps_of(combo) == []


class TestQuiet:
    @pytest.fixture(autouse=True)
    def _observed(self, hot):
        ticks(-30, 300)

    def test_observed_and_unchanged_is_quiet_and_no_gap(self, hot):
        result = of(hot)
        assert (result.quiet, result.gaps) == ([Interval(at(0), at(180))], [])

    def test_a_change_ends_it_and_a_heartbeat_does_not(self, hot, settings):
        settings.HOT_HEARTBEAT = 40
        observe(hot, at(60), "0.42", "0.45")
        observe(hot, at(100), "0.43", "0.45")
        assert of(hot).quiet == [Interval(at(0), at(100)), Interval(at(100), at(180))]

    def test_changes_in_quick_succession_are_not_quiet(self, hot):
        for second in range(0, 180, 10):
            observe(hot, at(second), f"0.{10 + second}", None)
        assert of(hot).quiet == []

    def test_a_gap_is_not_quiet(self, hot):
        Sweep.objects.filter(started_at__gte=at(60), started_at__lt=at(120)).delete()
        assert of(hot).quiet == [Interval(at(0), at(55)), Interval(at(120), at(180))]


def test_a_read_takes_as_many_queries_as_ever_however_many_gaps(hot, django_assert_max_num_queries):
    for second in range(0, 600, 30):
        ticks(second, second + 5)
    with django_assert_max_num_queries(14):
        assert len(of(hot, 0, 600).gaps) == 20


class TestSources:
    """A market that the recorder did not observe, from 0 to 600; others may have."""

    def candles(self, market: Market, first: int, last: int, *, minutes: int = 1) -> None:
        """Backfill candles that end in this stretch, as the backfill writes them."""
        quote = (Decimal("0.42"),) * 4
        Candlestick.objects.record(
            [
                Candle(market.pk, at(second), quote, quote, (None,) * 6, Decimal(0), Decimal(0), 0)
                for second in range(first, last + 1, 60 * minutes)
            ],
            period_interval=minutes,
            source=Source.BACKFILL,
            recorded_at=datetime.now(UTC),
        )

    def seen_by(self, source: Source, market: Market, *seconds: int) -> None:
        for second in seconds:
            snapshot = a_snapshot(market, at(second))
            snapshot.source = source
            snapshot.id = snapshot_id(market.pk, at(second), source, None, content="")
            snapshot.save()

    def test_before_the_record_began_nothing_is_an_outage_and_the_time_still_counts(self, market):
        result = of(market, 0, 600)
        assert causes(list(result.gaps)) == [(0, 600, "not recording yet")]
        assert (result.gaps[0].counted, result.share) == (True, 0)
        runs(400, 900)
        rounds(400, 900)
        result = of(market, 0, 600)
        assert causes(list(result.gaps)) == [(0, 400, "not recording yet")]
        assert result.share == pytest.approx(200 / 600)

    def test_a_candle_of_a_minute_proves_its_minute(self, market):
        self.candles(market, 120, 300)
        result = of(market, 0, 600)
        assert causes(list(result.gaps)) == [
            (0, 60, "not recording yet"),
            (300, 600, "not recording yet"),
        ]
        assert result.sources == {"POLL": timedelta(), "BACKFILL": timedelta(minutes=4)}
        assert result.share == pytest.approx(240 / 600)

    def test_candles_without_a_pause_prove_all_the_time_even_of_a_hot_market(self, hot):
        self.candles(hot, -60, 900)
        result = of(hot, 0, 600)
        assert (result.gaps, result.share) == ([], 1)

    def test_a_longer_candle_proves_the_instant_that_it_closed_at(self, market):
        market.snapshots.all().delete()
        self.candles(market, -3600, 3600, minutes=60)
        result = of(market, -1800, 1800)
        assert causes(list(result.gaps)) == [
            (-1800, 0, "not recording yet"),
            (0, 1800, "not recording yet"),
        ]
        assert result.sources["BACKFILL"] == timedelta()

    def test_rows_of_a_stream_prove_their_instants(self, market):
        self.seen_by(Source.WEBSOCKET, market, *range(-60, 300, 60), 420, *range(500, 900, 80))
        result = of(market, 0, 600)
        assert causes(list(result.gaps)) == [(240, 420, "not recording yet")]
        assert result.sources == {"POLL": timedelta(), "WEBSOCKET": timedelta(seconds=420)}

    def test_an_outage_that_was_backfilled_is_no_gap_of_the_market(self, hot):
        ticks(-30, 100)
        ticks(400, 900)
        assert gaps_of(hot, 0, 600) == [(96, 400, "our outage")]
        self.candles(hot, 120, 360)
        result = of(hot, 0, 600)
        assert causes(list(result.gaps)) == [(360, 400, "our outage")]
        assert causes(outages(at(0), at(600))) == [(96, 400, "our outage")]
        assert result.sources["POLL"] == timedelta(seconds=600 - 304)
        assert result.sources["BACKFILL"] == timedelta(seconds=300)

    def test_one_source_may_be_asked_for_alone(self, hot):
        ticks(-30, 900)
        self.seen_by(Source.WEBSOCKET, hot, 100, 110, 300)
        result = of(hot, 0, 600, source=Source.WEBSOCKET)
        assert [(first, last) for first, last, _ in causes(list(result.gaps))] == [
            (0, 100),
            (110, 300),
            (300, 600),
        ]
        assert of(hot, 0, 600, source=Source.POLL).share == 1
        assert of(hot, 0, 600, source=Source.BACKFILL).share == 0


SECONDS = st.integers(-120, 300)


def ledgers(seconds: st.SearchStrategy[int], *, most: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(seconds, seconds).filter(lambda pair: pair[0] != pair[1])
    spans = st.sets(pairs.map(lambda pair: (min(pair), max(pair))), max_size=3)
    return st.fixed_dictionaries(
        {
            "passes": st.lists(
                st.tuples(st.sampled_from(["hot", "universe"]), seconds), max_size=most
            ),
            "heard": st.lists(
                st.tuples(seconds, st.sampled_from(["", FAILED, None])), max_size=most
            ),
            "closures": spans,
            "hot": spans | st.just({(-5000, 5000)}),
            # How many passes had been entered when it was noted how late each of them was.
            "measured": st.integers(0, most),
            "statuses": st.dictionaries(
                seconds, st.sampled_from(["active", "inactive"]), max_size=3
            ),
            "close": seconds,
        }
    )


LEDGERS = ledgers(SECONDS)


def enter(ledger: dict[str, Any], market: Market) -> None:
    passes = [
        Sweep(tier=tier, started_at=at(s), finished_at=at(s + 1), complete=True)
        for tier, s in ledger["passes"]
    ]
    Sweep.objects.bulk_create(passes[: ledger["measured"]])
    Sweep.objects.store_lateness()
    Sweep.objects.bulk_create(passes[ledger["measured"] :])
    Poll.objects.bulk_create(
        Poll(
            started_at=at(second),
            finished_at=None if error is None else at(second + 1),
            error=error or "",
        )
        for second, error in ledger["heard"]
    )
    for begun, ended in ledger["closures"]:
        Closure.objects.create(start=at(begun), end=at(ended), known_at=at(-900))
    HotPeriod.objects.bulk_create(
        HotPeriod(market=market, started_at=at(begun), ended_at=at(ended))
        for begun, ended in ledger["hot"]
    )
    for second, status in ledger["statuses"].items():
        revised(market, second, status, close_time=at(ledger["close"]))


def warm(ledger: dict[str, Any], second: float) -> bool:
    on_list = [{s for s in range(-120, 300) if a <= s < b} for a, b in ledger["hot"]]
    hot = set().union(*on_list)
    return all(int(second // 1) - back in hot for back in range(16))


def observed_seconds(ledger: dict[str, Any]) -> list[int]:
    """The seconds in which the market was observed, its snapshot included."""
    on_list = {s for a, b in ledger["hot"] for s in range(-120, 300) if a <= s < b}
    passes = {s for tier, s in ledger["passes"] if tier == "universe" or s in on_list}
    return sorted({-300, *passes})


def is_fresh(ledger: dict[str, Any], second: float) -> bool:
    """Return whether an observation is fresh, computed anew for one second."""
    least = 15 if warm(ledger, second) else 90
    return any(s <= second < s + least for s in observed_seconds(ledger))


def silences(ledger: dict[str, Any]) -> list[tuple[float, float]]:
    """Return when no run observed anything, computed anew."""
    good = sorted({s for s, error in ledger["heard"] if error == ""})
    if not ledger["heard"]:
        return []
    began = min(s for s, _ in ledger["heard"])
    ends, starts = [began, *(s + 1 for s in good)], [*good, 1e9]
    return [(a, b) for a, b in zip(ends, starts, strict=True) if b - a > 15]


def missed(ledger: dict[str, Any]) -> set[float]:
    """The half seconds of the gaps in which the market could be traded, told anew."""
    silent = silences(ledger)
    graced = [(b, b + (15 if warm(ledger, b) else 90)) for _, b in silent]
    result, parts = set(), defaultdict(list)
    part, before = 0, None
    for half in (second + 0.5 for second in range(270)):
        if not is_tradable(ledger, half):
            continue
        if any(a < half < b for a, b in silent):
            result.add(half)
            continue
        last = max(s for s in observed_seconds(ledger) if s < half)
        if before != (last, half - 1):
            part += 1
        before = (last, half)
        parts[part].append(half)
    for halves in parts.values():
        stale = [half for half in halves if not is_fresh(ledger, half)]
        if any(not any(a < half < b for a, b in graced) for half in stale):
            result.update(halves)
    return result


def is_tradable(ledger: dict[str, Any], second: float) -> bool:
    known = [s for s in sorted(ledger["statuses"]) if s <= second]
    status = ledger["statuses"][known[-1]] if known else "active"
    # Of what comes after the window nothing was known in it.
    statuses = [s for s in ledger["statuses"] if s < (180 if second < 180 else 270)]
    return status == "active" and (not statuses or second < ledger["close"])


@rules(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ledger=LEDGERS)
def test_gaps_and_the_time_covered_make_up_the_window(market, ledger):
    with transaction.atomic():
        enter(ledger, market)
        result = of(market)
        transaction.set_rollback(True)
    edges = [at(0), *(edge for gap in result.gaps for edge in gap.interval), at(180)]
    assert edges == sorted(edges)
    assert all(gap.start < gap.end for gap in result.gaps)
    covered = zip(edges[::2], edges[1::2], strict=True)
    assert result.observed == sum((end - start for start, end in covered), timedelta())
    halves = [second + 0.5 for second in range(180)]
    tradable = [half for half in halves if is_tradable(ledger, half)]
    fresh = [half for half in tradable if is_fresh(ledger, half)]
    assert result.fresh == timedelta(seconds=len(fresh))
    observed = set(tradable) - missed(ledger)
    assert result.observed == timedelta(seconds=len(observed))
    assert all(not any(g.start <= at(half) < g.end for g in result.gaps) for half in observed)
    assert result.share is None or 0 <= result.share <= 1
    for still in result.quiet:
        assert all(still.end <= gap.start or gap.end <= still.start for gap in result.gaps)


@rules(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ledger=LEDGERS)
def test_it_makes_no_difference_that_late_sweeps_are_read_first(market, ledger):
    def found(short: float, block: float) -> tuple[Any, ...]:
        # They are, of times that are not short.
        with (
            mock.patch.object(observations, "SHORT", timedelta(seconds=short)),
            mock.patch.object(observations, "BLOCK", timedelta(seconds=block)),
        ):
            result = of(market)
        return causes(list(result.gaps)), result.stale, result.quiet, result.sources

    with transaction.atomic():
        enter(ledger, market)
        at_once, late_first = found(3600, 600), found(40, 40)
        transaction.set_rollback(True)
    assert at_once == late_first


class TestHotPeriods:
    def test_they_follow_the_hot_list_and_the_watch_list(self):
        listed, watched, neither = (a_market(f"KXA-{n}", is_hot=n == 0) for n in range(3))
        Watch.objects.create(user=User.objects.create(username="ada"), market=watched)
        HotPeriod.objects.follow(at(0))
        assert set(HotPeriod.objects.values_list("market", "started_at", "ended_at")) == {
            (listed.pk, at(0), None),
            (watched.pk, at(0), None),
        }
        Market.objects.filter(pk=listed.pk).update(status="closed")
        Market.objects.filter(pk=neither.pk).update(is_hot=True)
        HotPeriod.objects.follow(at(5))
        assert set(HotPeriod.objects.values_list("market", "started_at", "ended_at")) == {
            (listed.pk, at(0), at(5)),
            (watched.pk, at(0), None),
            (neither.pk, at(5), None),
        }

    def test_a_watched_market_that_is_not_recorded_has_none(self, settings):
        settings.RECORD_CATEGORIES = frozenset({"Another"})
        Watch.objects.create(user=User.objects.create(username="ada"), market=a_market("KXA-0"))
        HotPeriod.objects.follow(at(0))
        assert not HotPeriod.objects.exists()

    def test_a_market_that_comes_back_begins_anew(self, hot):
        HotPeriod.objects.follow(at(0))
        Market.objects.update(is_hot=True)
        HotPeriod.objects.follow(at(5))
        assert [period.ended_at for period in HotPeriod.objects.all()] == [at(0), None]

    def test_a_clock_that_stepped_back_ends_no_period_before_it_began(self, hot):
        HotPeriod.objects.follow(at(-7200))
        period = HotPeriod.objects.get()
        assert period.ended_at == period.started_at


class TestSlots:
    def test_a_pass_in_every_interval_fills_them_all_however_they_lie(self):
        for number in range(12):
            a_sweep(Tier.HOT, at(5 * number + number % 3))
        assert hot_slots(at(0), at(60)) == (12, 12)

    def test_a_missing_pass_is_a_missing_slot_and_haste_makes_up_for_none(self):
        for second in (0, 5, 10, 25, 29, 33, 37, 41, 45, 50, 55):
            a_sweep(Tier.HOT, at(second))
        assert hot_slots(at(0), at(60)) == (12, 10)

    def test_slow_passes_do_not_fill_the_slots(self):
        for number in range(8):
            a_sweep(Tier.HOT, at(7 * number))
        assert hot_slots(at(0), at(60)) == (12, 8)

    def test_passes_missing_at_either_end_are_missing(self):
        ticks(20, 40)
        assert hot_slots(at(0), at(60)) == (12, 4)

    def test_only_complete_passes_of_the_hot_list_fill_a_slot(self):
        a_sweep(Tier.HOT, at(0), complete=False)
        a_sweep(Tier.UNIVERSE, at(5))
        result = hot_slots(at(0), at(60))
        assert (result, result.share) == ((12, 0), 0)

    def test_a_window_shorter_than_a_slot_has_no_share(self):
        assert hot_slots(at(0), at(3)).share is None

    def test_a_day_without_a_run_has_no_share_and_one_without_a_pass_has_none_of_it(self):
        yesterday = (START - timedelta(days=1)).date()
        assert day_share(yesterday) is None
        a_poll(START - timedelta(days=1))
        assert day_share(yesterday) == 0
        a_sweep(Tier.HOT, START - timedelta(days=1))
        assert day_share(yesterday) == pytest.approx(1 / 17_280)


class TestOutages:
    def test_they_are_of_the_recorder_as_a_whole(self):
        runs(0, 60)
        runs(60, 100, error=FAILED)
        runs(130, 300)
        assert causes(outages(at(0), at(180))) == [
            (56, 96, "exchange failing"),
            (96, 130, "our outage"),
        ]

    def test_they_last_from_the_last_observation_to_the_next_whatever_window_is_asked(self):
        runs(-30, 61)
        runs(241, 600)
        whole = [(61, 241, "our outage")]
        for window in ((0, 500), (100, 120), (0, 100), (200, 500)):
            assert causes(outages(*map(at, window))) == whole
        assert outages(at(241), at(500)) == []

    def test_one_that_goes_on_ends_now(self):
        runs(-30, 61)
        [gap] = outages(at(0), at(100))
        assert at(100) < gap.end <= datetime.now(UTC)

    def test_runs_tell_how_long_nothing_had_been_observed_when_they_began(self):
        """So that a day's outages are read from the few runs that came late."""
        runs(0, 60)
        late, soon, failed = a_poll(at(100)), a_poll(at(105)), a_poll(at(110), error=FAILED)
        for poll in (late, soon, failed):
            poll.measure_silence()
            poll.save()
        silences = [late.since_last, soon.since_last, failed.since_last]
        assert silences == [timedelta(seconds=44), timedelta(seconds=4), None]
        assert causes(outages(at(0), at(105))) == [(56, 100, "our outage")]

    def test_a_record_that_began_with_failures_began_with_an_outage(self):
        runs(0, 60, error=FAILED)
        runs(60, 180)
        assert causes(outages(at(-60), at(170))) == [(0, 60, "exchange failing")]

    def test_nothing_is_said_of_the_time_before_the_first_run(self):
        assert outages(at(0), at(180)) == []
        runs(100, 300)
        assert outages(at(0), at(180)) == []
