"""The overview: the state of the recording, and tiles of markets."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client

from markets.models import MarketHour, Poll
from markets.overview import uptime_of_day
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at"),
]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def at_noon(time_machine) -> None:
    time_machine.move_to(NOON, tick=False)


def polled(start: datetime, end: datetime) -> None:
    """Record runs every five seconds within [start, end)."""
    instants = range(0, int((end - start).total_seconds()), 5)
    runs = [start + timedelta(seconds=second) for second in instants]
    Poll.objects.bulk_create(
        Poll(started_at=run, finished_at=run + timedelta(seconds=1), markets=1) for run in runs
    )


def page(client: Client) -> str:
    response = client.get("/")
    assert response.status_code == 200
    return response.content.decode()


def tile(html: str, key: str) -> list[str]:
    """Return the tickers of a tile, in their order."""
    return re.findall(rf'<li data-ticker="{key} ([^"]+)"', html)


@pytest.mark.usefixtures("at_noon")
class TestUptime:
    def test_nothing_is_known_before_the_first_run(self, client):
        assert uptime_of_day(NOON).share is None
        assert "Nothing has been recorded yet" in page(client)

    def test_only_the_time_since_the_first_run_counts(self):
        polled(NOON - HOUR, NOON)
        found = uptime_of_day(NOON)
        assert found.share == 1
        assert found.outages == []
        assert found.unrecorded == pytest.approx(100 * 23 / 24)

    def test_an_outage_is_a_piece_of_the_strip_with_its_cause(self, client):
        polled(NOON - 30 * HOUR, NOON - 12 * HOUR)
        polled(NOON - 6 * HOUR, NOON)
        found = uptime_of_day(NOON)
        assert found.share == pytest.approx(0.75, abs=0.001)
        [piece] = found.outages
        assert (piece.left, piece.width) == (pytest.approx(50, abs=0.1), pytest.approx(25, abs=0.1))
        assert "our outage, 6 h from 19 Nov 2026, 23:59:56 UTC" in page(client)

    def test_an_outage_that_began_before_the_day_is_cut(self):
        polled(NOON - 40 * HOUR, NOON - 30 * HOUR)
        polled(NOON - 18 * HOUR, NOON)
        found = uptime_of_day(NOON)
        assert found.share == pytest.approx(0.75, abs=0.001)
        assert found.outages[0].left == 0

    def test_a_short_outage_is_wide_enough_to_be_seen(self):
        polled(NOON - 30 * HOUR, NOON - 12 * HOUR)
        polled(NOON - 12 * HOUR + MINUTE, NOON)
        assert uptime_of_day(NOON).outages[0].width == 0.2


@pytest.mark.usefixtures("at_noon")
class TestTiles:
    @pytest.fixture(autouse=True)
    def _recorded(self, at_noon: None) -> None:
        a_poll(NOON - timedelta(seconds=3))
        a_sweep("universe", NOON - MINUTE)

    def test_the_first_sentence_tells_the_state_of_the_world(self, client):
        a_market("A-1")
        html = page(client)
        assert "1 open market</a>" in html
        assert re.search(r"newest data <time[^>]*>\d s</time> ago", html)

    def test_movers_come_by_the_size_of_their_move(self, client):
        for ticker, bid in (("A-up", "0.30"), ("A-down", "0.70")):
            quoted = {"yes_bid": Decimal(bid), "yes_ask": Decimal("0.72")}
            a_snapshot(a_market(ticker), NOON - 2 * HOUR, **quoted).save()
        a_market("A-unknown")
        MarketHour.objects.roll_up(now=NOON)
        html = page(client)
        assert tile(html, "move_1h") == ["A-down", "A-up"]
        assert tile(html, "move_24h") == []
        assert "\u221227.5¢" in html
        assert "since 11:00 UTC" in html

    def test_each_other_tile_has_its_markets_in_order(self, client):
        a_market("A-busy", volume_24h=Decimal(900), close_time=NOON + 2 * HOUR)
        wide = {"yes_bid": Decimal("0.10"), "yes_ask": Decimal("0.80")}
        a_market("A-wide", volume_24h=Decimal(5), close_time=NOON + HOUR, **wide)
        a_market("A-over", volume_24h=Decimal(0), close_time=NOON - HOUR)
        a_market("A-quiet", volume_24h=None, close_time=None)
        for hours, ticker in enumerate(("A-new", "A-old"), start=1):
            settled = {"result": "yes", "settlement_value": Decimal(1)}
            at = NOON - hours * HOUR
            a_market(ticker, status="finalized", settlement_ts=at, **settled)
        html = page(client)
        assert tile(html, "volume_24h") == ["A-busy", "A-wide"]
        assert tile(html, "spread") == ["A-wide", "A-busy"]
        assert tile(html, "close_time") == ["A-wide", "A-busy"]
        assert tile(html, "settled") == ["A-new", "A-old"]

    def test_each_tile_leads_to_the_list_behind_it(self, client):
        a_market("A-1", volume_24h=Decimal(5), close_time=NOON + HOUR)
        html = page(client)
        links = re.findall(r'href="(/markets/\?[^"]+)"[^>]*>All', html)
        assert len(links) == 6
        for link in links:
            assert client.get(link.replace("&amp;", "&")).status_code == 200

    def test_a_category_leads_to_its_markets(self, client):
        a_market("A-1")
        assert "/markets/?category=" in page(client)

    def test_it_takes_few_queries_for_any_number_of_markets(
        self, client, django_assert_max_num_queries
    ):
        for number in range(20):
            a_market(f"A-{number}", volume_24h=Decimal(number))
        with django_assert_max_num_queries(9):  # one of them the session's
            page(client)

    def test_a_fragment_is_asked_for_again_and_again(self, client):
        fragment = {"HX-Request": "true", "HX-Target": "overview"}
        html = client.get("/", headers=fragment).content.decode()
        assert html.lstrip().startswith('<div class="page-head">')
        assert "<!DOCTYPE" not in html


def test_the_latest_backtests_come_from_their_own_address(client):
    html = page(client)
    assert '<div id="latest"' in html
    fragment = {"HX-Request": "true", "HX-Target": "latest"}
    assert "There are none yet" in client.get("/backtests/", headers=fragment).content.decode()
