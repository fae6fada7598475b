"""One outage, and everything that tells of it: chart, coverage, API, page, answers as of it."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db.models import F
from model_bakery import baker

from markets.coverage.causes import Cause, outages
from markets.coverage.coverage import coverage
from markets.models import (
    Event,
    HotPeriod,
    Market,
    MarketRevision,
    OrderBookSnapshot,
    Poll,
    Sweep,
    Tier,
)
from markets.models.snapshots import snapshot_id
from markets.tests.factories import a_market, a_snapshot, a_sweep, an_event, observe

pytestmark = pytest.mark.django_db

START = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=2)
# The last run before the outage ends at 596, and the next one starts at 776.
BEFORE, AFTER = range(0, 600, 5), range(776, 1800, 5)
OUTAGE = [(596.0, 776.0)]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def _recorded(settings):
    settings.POLL_INTERVAL, settings.UNIVERSE_INTERVAL = 5, 30
    runs(*BEFORE, *AFTER)
    sweeps(Tier.HOT, *BEFORE, *AFTER)
    sweeps(Tier.UNIVERSE, *range(0, 600, 30), *range(790, 1800, 30))


def runs(*seconds: int) -> None:
    Poll.objects.bulk_create(
        Poll(started_at=at(second), finished_at=at(second + 1)) for second in seconds
    )


def sweeps(tier: Tier, *seconds: int) -> None:
    Sweep.objects.bulk_create(
        Sweep(tier=tier, started_at=at(second), finished_at=at(second + 1), complete=True)
        for second in seconds
    )


def a_listed_market(ticker: str) -> Market:
    market = a_market(ticker, event=an_event("Rain", ticker=f"E{ticker}"))
    observe(market, at(0), "0.42", "0.45")
    baker.make(
        MarketRevision,
        market=market,
        known_at=at(0),
        recorded_at=at(0),
        status="active",
        open_time=market.open_time,
        close_time=market.close_time,
        price_ranges=[],
    )
    return market


@pytest.fixture
def hot() -> Market:
    market = a_listed_market("HOT-1")
    HotPeriod.objects.create(market=market, started_at=at(-3600))
    return market


@pytest.fixture
def listed() -> Market:
    return a_listed_market("LISTED-1")


def seconds(edges) -> list[tuple[float, float]]:
    return [((a - START).total_seconds(), (b - START).total_seconds()) for a, b in edges]


class TestOneOutageOf180Seconds:
    """The chart showed 181 s, coverage of a hot market 166 s and of another one 96 s."""

    def test_is_the_same_in_the_coverage_of_any_market(self, hot, listed):
        for market in (hot, listed):
            gaps = coverage(market, at(60), at(1500)).gaps
            assert [gap.cause.value for gap in gaps] == ["our outage"]
            assert seconds(gap.interval for gap in gaps) == OUTAGE

    def test_is_the_same_in_the_charts(self, client, hot, listed):
        for market in (hot, listed):
            gaps = client.get(f"{market.get_absolute_url()}chart.json?range=6h").json()["gaps"]
            edges = [(START.timestamp() * 1000 + 1000 * a, 1000 * (b - a)) for a, b in OUTAGE]
            assert edges[0] in [(a, b - a) for a, b in gaps]

    def test_is_the_same_in_the_tables_beside_the_charts(self, client, hot, listed):
        for market in (hot, listed):
            html = client.get(f"{market.get_absolute_url()}?table=6h").content.decode()
            assert 'title="180 s">3 m<' in html[html.index("Not recorded") :]

    def test_is_the_same_among_the_outages_and_in_the_api(self, client):
        assert seconds(gap.interval for gap in outages(at(60), at(1500))) == OUTAGE
        query = {"start": at(60).isoformat(), "end": at(1500).isoformat()}
        [row] = client.get("/api/v1/outages/", query).json()["results"]
        assert row == {
            "start": at(596).isoformat().replace("+00:00", "Z"),
            "end": at(776).isoformat().replace("+00:00", "Z"),
            "cause": "our outage",
            "detail": "no run",
            "seconds": 180.0,
        }

    def test_is_the_same_in_the_api_of_coverage(self, client, listed):
        query = {"start": at(60).isoformat(), "end": at(1500).isoformat()}
        body = client.get(f"/api/v1/markets/{listed.ticker}/coverage/", query).json()
        assert body["observed"] == 1440 - 180
        assert body["share"] == pytest.approx(1260 / 1440)
        assert body["sources"] == [{"source": "POLL", "observed": 1260.0}]
        # The last universe sweep began at 570, and is fresh for 90 s.
        assert [(at(660), at(790))] == [
            (datetime.fromisoformat(each["start"]), datetime.fromisoformat(each["end"]))
            for each in body["stale"]
        ]
        assert body["fresh"] == 1440 - 130

    def test_is_the_same_on_the_recorders_page(self, client):
        html = client.get("/recorder/").content.decode()
        outage = html[html.index("Outages of the last 30 days") :]
        assert 'title="180 s">3 m<' in outage
        assert "our outage" in outage

    def test_is_told_in_hours_there_if_it_is_long(self, client):
        Poll.objects.filter(started_at__gte=at(776)).update(
            started_at=F("started_at") + timedelta(seconds=4440),
            finished_at=F("finished_at") + timedelta(seconds=4440),
        )
        outage = client.get("/recorder/").content.decode()
        assert ">1 h 17 m<" in outage[outage.index("Outages of the last 30 days") :]


class TestARunThatWaitsForAnAnswer:
    """The exchange is silent from 1800 on; the run that waited for it reads quotes at 1830."""

    @pytest.fixture(autouse=True)
    def _silent(self):
        error = "hot: no answer: exchange.test/markets timed out (ReadTimeout)"
        Poll.objects.create(
            started_at=at(1800),
            finished_at=at(1835),
            observed_from=at(1830),
            markets=3,
            error=error,
            since_last=timedelta(seconds=1830 - 1797),
        )
        runs(*range(1840, 1900, 5))

    def test_began_to_observe_with_its_first_quotes(self):
        assert seconds(gap.interval for gap in outages(at(1500), at(1890))) == [(1797.0, 1830.0)]

    def test_is_found_also_where_it_began_before_the_window(self):
        assert seconds(gap.interval for gap in outages(at(1810), at(1890))) == [(1797.0, 1830.0)]
        assert seconds(gap.interval for gap in outages(at(1500), at(1799))) == [(1797.0, 1830.0)]

    def test_says_that_the_exchange_failed(self):
        assert {gap.cause for gap in outages(at(1500), at(1890))} == {Cause.EXCHANGE_FAILING}


class TestTheListOfOutages:
    def outage_starts(self, client, **query) -> list[float]:
        response = client.get("/api/v1/outages/", query)
        assert response.status_code == 200, response.content
        return [
            (datetime.fromisoformat(row["start"]) - START).total_seconds()
            for row in response.json()["results"]
        ]

    def test_has_the_newest_first_and_the_one_that_goes_on(self, client):
        assert self.outage_starts(client) == [1797.0, 596.0]

    def test_has_those_that_overlap_the_range_and_has_them_whole(self, client):
        assert self.outage_starts(client, start=at(700).isoformat(), end=at(710).isoformat()) == [
            596.0
        ]
        assert self.outage_starts(client, start=at(776).isoformat(), end=at(900).isoformat()) == []
        assert self.outage_starts(client, end=at(596).isoformat()) == []
        assert self.outage_starts(client, end="0276-03-31T05:51:07Z") == []

    def test_comes_in_pages(self, client):
        first = client.get("/api/v1/outages/?limit=1").json()
        assert (first["count"], len(first["results"]), first["previous"]) == (2, 1, None)
        second = client.get(first["next"]).json()
        assert (len(second["results"]), second["next"]) == (1, None)

    @pytest.mark.parametrize(
        ("query", "name"),
        [
            ({"start": "2026-11-20"}, "start"),
            ({"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T11:00:00Z"}, "end"),
            ({"limit": "0"}, "limit"),
            ({"cause": "throttled"}, "cause"),
        ],
    )
    def test_refuses_by_name_what_makes_no_sense(self, client, query, name):
        response = client.get("/api/v1/outages/", query)
        assert response.status_code == 400
        assert list(response.json()["details"]) == [name]

    def test_is_empty_of_what_is_to_come(self, client):
        assert self.outage_starts(client, start="2199-01-01T00:00:00Z") == []


class TestAnswersAsOfAnInstant:
    def evidence(self, client, market, second: float, path: str = "") -> tuple[float, float, bool]:
        query = {"as_of": at(second).isoformat()}
        row = client.get(f"/api/v1/markets/{market.ticker}/{path}", query).json()
        observed = datetime.fromisoformat(row["observed_at"]) - START
        return observed.total_seconds(), row["evidence_age_seconds"], row["being_observed"]

    def test_tell_when_an_unchanged_quote_was_last_observed(self, client, hot, listed):
        assert self.evidence(client, hot, 102) == (100, 2, True)
        assert self.evidence(client, listed, 102) == (90, 12, True)

    def test_tell_that_nobody_looked_in_an_outage(self, client, hot, listed):
        assert self.evidence(client, hot, 700) == (595, 105, False)
        assert self.evidence(client, hot, 600) == (595, 5, False)
        # Its last sweep is younger than three intervals, and yet nothing was observed.
        assert self.evidence(client, listed, 640) == (570, 70, False)

    def test_trust_what_another_source_saw_in_the_outage(self, client, hot):
        streamed = a_snapshot(hot, at(695))
        streamed.source, streamed.id = (
            "WEBSOCKET",
            snapshot_id(hot.pk, at(695), "WEBSOCKET", None, content=""),
        )
        streamed.save()
        assert self.evidence(client, hot, 700) == (695, 5, True)

    def test_tell_that_a_market_was_not_observed_although_the_recorder_ran(self, client, listed):
        # No heartbeat for seventy minutes: it is not listed any more, and only its last snapshot
        # is certain.
        runs(*range(1800, 6000, 5))
        sweeps(Tier.UNIVERSE, *range(1810, 6000, 30))
        assert self.evidence(client, listed, 4250) == (4180, 70, True)
        assert self.evidence(client, listed, 4800) == (0, 4800, False)

    def test_leave_out_a_sweep_that_skipped_the_market(self, client, listed):
        a_sweep(Tier.UNIVERSE, at(100), skipped=[listed.event.ticker])
        assert self.evidence(client, listed, 102) == (90, 12, True)

    def test_say_nothing_of_a_market_without_a_quote(self, client, listed):
        listed.snapshots.all().delete()
        query = {"as_of": at(102).isoformat()}
        row = client.get(f"/api/v1/markets/{listed.ticker}/", query).json()
        assert (row["observed_at"], row["evidence_age_seconds"]) == (None, None)
        assert row["being_observed"] is False

    def test_are_the_same_in_lists(self, client, hot, listed):
        rows = client.get("/api/v1/markets/", {"as_of": at(640).isoformat()}).json()["results"]
        ages = {row["ticker"]: row["evidence_age_seconds"] for row in rows}
        assert ages == {"HOT-1": 45.0, "LISTED-1": 70.0}
        assert not any(row["being_observed"] for row in rows)

    @pytest.mark.parametrize("second", [102, 640, 700])
    @pytest.mark.parametrize("path", ["", "latest/"])
    def test_are_what_answers_without_an_instant_told_then(self, client, hot, listed, path, second):
        for market in (hot, listed):
            with time_machine.travel(at(second), tick=False):
                row = client.get(f"/api/v1/markets/{market.ticker}/{path}").json()
            observed = (datetime.fromisoformat(row["observed_at"]) - START).total_seconds()
            then = observed, row["evidence_age_seconds"], row["being_observed"]
            assert then == self.evidence(client, market, second)

    def test_tell_how_old_an_order_book_is(self, client, hot):
        OrderBookSnapshot.objects.create(
            id=snapshot_id(hot.pk, at(50), "BOOK", None, content=""),
            market=hot,
            timestamp=at(50),
            bid_prices=[],
            bid_sizes=[],
            ask_prices=[],
            ask_sizes=[],
        )
        address = f"/api/v1/markets/{hot.ticker}/orderbook/"
        for second, observed in ((102, True), (700, False)):
            book = client.get(address, {"as_of": at(second).isoformat()}).json()
            assert (book["evidence_age_seconds"], book["being_observed"]) == (second - 50, observed)
        assert client.get(address).json()["being_observed"] is False


class TestAPollingReader:
    """It is told of an outage although the quote stays the same, and not sent it again."""

    @pytest.mark.parametrize("path", ["", "latest/"])
    @pytest.mark.parametrize("header", ["If-None-Match", "If-Modified-Since"])
    def test_is_told_when_nobody_looks_any_more_and_when_somebody_does(
        self, client, listed, path, header
    ):
        validator = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}[header]
        Market.objects.update(recorded_at=at(0))
        Event.objects.update(recorded_at=at(0))
        answers, known = [], ""
        for second in (102, 132, 650, 700, 830, 860):
            with time_machine.travel(at(second), tick=False):
                answer = client.get(
                    f"/api/v1/markets/{listed.ticker}/{path}", headers={header: known}
                )
            is_new = answer.status_code == 200
            answers.append(answer.json()["being_observed"] if is_new else "as before")
            known = answer.headers.get(validator, "") if is_new else known
        unobserved = "as before" if header == "If-None-Match" else False
        assert answers == [True, "as before", False, unobserved, True, "as before"]


class TestBucketsWithoutASnapshot:
    """A market at 0 and at 14 minutes; the recorder away from 9:56 to 12:56."""

    @pytest.fixture
    def market(self, hot: Market) -> Market:
        observe(hot, at(845), "0.43", "0.45")
        return hot

    def states(self, client, market, **query) -> dict[int, str]:
        query = {"start": at(0).isoformat(), "end": at(900).isoformat(), **query}
        response = client.get(f"/api/v1/markets/{market.ticker}/candlesticks/", query)
        assert response.status_code == 200, response.content
        rows = response.json()["results"]
        starts = [datetime.fromisoformat(row["start"]) for row in rows]
        assert all(row["snapshots"] == 0 for row in rows if row["state"] != "recorded")
        return {
            int((start - START).total_seconds() // 60): row["state"]
            for start, row in zip(starts, rows, strict=True)
        }

    def test_is_quiet_where_the_market_was_observed_and_unobserved_where_not(self, client, market):
        states = self.states(client, market)
        assert [minute for minute, state in states.items() if state == "recorded"] == [0, 14]
        assert [minute for minute, state in states.items() if state == "unobserved"] == [
            *range(9, 13)
        ]
        assert [minute for minute, state in states.items() if state == "quiet"] == [
            *range(1, 9),
            13,
        ]

    def test_is_untradable_before_the_market_opened_and_while_it_paused(self, client, market):
        Market.objects.update(open_time=at(120))
        market.revisions.update(open_time=at(120))
        pause = {"status": "inactive", "open_time": at(120), "close_time": market.close_time}
        baker.make(MarketRevision, market=market, known_at=at(800), recorded_at=at(800), **pause)
        assert self.states(client, market)[1] == "untradable"
        assert self.states(client, market)[2] == "quiet"
        Market.objects.filter(pk=market.pk).update(status="active")
        states = self.states(client, market, end=at(960).isoformat())
        assert (states[13], states[15]) == ("quiet", "untradable")

    def test_says_whether_one_source_was_looking(self, client, market):
        assert set(self.states(client, market, source="WEBSOCKET").values()) == {"unobserved"}
        assert self.states(client, market, source="POLL") == self.states(client, market)

    def test_is_there_in_files_and_in_columns(self, client, market):
        address = f"/api/v1/markets/{market.ticker}/candlesticks/"
        query = {"start": at(0).isoformat(), "end": at(900).isoformat()}
        columns = client.get(address, {**query, "format": "columns"}).json()["columns"]
        states = list(self.states(client, market).values())
        assert columns["state"] == states
        lines = b"".join(client.get(address, {**query, "format": "csv"})).decode().splitlines()
        assert [line.rpartition(",")[2] for line in lines] == ["state", *states]

    def test_is_not_there_before_it_has_begun(self, client, market):
        states = self.states(client, market, end=at(90_000).isoformat())
        assert 120 <= len(states) <= 130
        assert states[120] == "unobserved"


class TestRangesThatAreNotGiven:
    """All time series of a market begin, by default, with what is on record first."""

    @pytest.fixture
    def old(self) -> Market:
        """A market that closed a month ago, after an hour on record."""
        over = START - timedelta(days=30)
        market = a_market(
            "OLD-1",
            status="finalized",
            open_time=over - timedelta(hours=2),
            close_time=over,
            quoted_at=over - timedelta(minutes=10),
        )
        for minutes in (60, 10):
            a_snapshot(market, over - timedelta(minutes=minutes)).save()
        return market

    def test_candlesticks_of_an_old_market_are_all_there_as_its_snapshots_are(self, client, old):
        address = f"/api/v1/markets/{old.ticker}"
        assert len(client.get(f"{address}/snapshots/").json()["results"]) == 2
        rows = client.get(f"{address}/candlesticks/").json()["results"]
        assert [n for n, row in enumerate(rows) if row["state"] == "recorded"] == [0, 50]
        last = datetime.fromisoformat(rows[-1]["start"])
        assert last == old.close_time.replace(second=0, microsecond=0)

    def test_coverage_of_an_old_market_is_that_of_its_record(self, client, old):
        body = client.get(f"/api/v1/markets/{old.ticker}/coverage/").json()
        start, end = (datetime.fromisoformat(body[name]) for name in ("start", "end"))
        assert start == old.close_time - timedelta(hours=1)
        assert abs(end - old.close_time) < timedelta(seconds=1)

    def test_coverage_goes_back_as_far_as_it_may(self, client, old):
        a_snapshot(old, old.close_time - timedelta(days=40)).save()
        body = client.get(f"/api/v1/markets/{old.ticker}/coverage/").json()
        start, end = (datetime.fromisoformat(body[name]) for name in ("start", "end"))
        assert end - start == timedelta(days=31)

    def test_more_buckets_than_a_page_holds_come_in_pages(self, client, old, monkeypatch):
        monkeypatch.setattr("markets.api.timeseries.MAX_BUCKETS", 25)
        address, pages = f"/api/v1/markets/{old.ticker}/candlesticks/", []
        while address:
            pages.append(client.get(address).json())
            address = pages[-1]["next"]
        assert [len(page["results"]) for page in pages] == [25, 25, 11]
        starts = [row["start"] for page in pages for row in page["results"]]
        assert starts == sorted(set(starts))

    def test_a_market_without_an_opening_and_a_close_begins_with_its_definition(self, client):
        a_market("WHEN-1", open_time=None, close_time=None, quoted_at=None, recorded_at=at(0))
        rows = client.get("/api/v1/markets/WHEN-1/candlesticks/?interval=1h").json()["results"]
        assert 2 <= len(rows) <= 4
        body = client.get("/api/v1/markets/WHEN-1/coverage/").json()
        assert datetime.fromisoformat(body["start"]) == at(0)

    def test_a_market_without_a_record_begins_with_its_opening(self, client):
        a_market("NONE-1", open_time=at(0), quoted_at=None)
        rows = client.get("/api/v1/markets/NONE-1/candlesticks/?interval=1h").json()["results"]
        assert datetime.fromisoformat(rows[0]["start"]) <= at(0)
        assert {row["state"] for row in rows} == {"unobserved"}
