"""The bytes that open pages and first visits send, as a browser asks for them."""

import gzip
import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from django.test import Client

from backtests.models import BacktestResult
from backtests.tests.factories import a_backtest, a_fill
from markets.models import Market, MarketSnapshot
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, an_event

pytestmark = pytest.mark.django_db

REFRESH, FIRST_VISIT = 15_000, 250_000
ACCEPTED = {"Accept-Encoding": "gzip, deflate, br, zstd"}
LONG_AGO = timedelta(hours=2)
WORDS = """
    highest temperature rainfall reported station airport inflation payrolls turnout unemployment
    nomination senate governor touchdown rebound assist bitcoin ethereum gasoline copper wheat
    Denver Austin Seattle Philadelphia Minneapolis November December quarter Thursday settlement
"""


def get(client: Client, path: str, target: str = "", tag: str = "") -> Any:
    fragment = {"HX-Request": "true", "HX-Target": target} if target else {}
    known = {"If-None-Match": tag} if tag else {}
    return client.get(path, headers=ACCEPTED | fragment | known)


def body(response: Any) -> bytes:
    return b"".join(response.streaming_content) if response.streaming else bytes(response.content)


def size(response: Any) -> int:
    """The bytes of a response on the wire: its headers and its body."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in response.items())
    return len(headers) + len(body(response))


def text(response: Any) -> str:
    undo = {"gzip": gzip.decompress, "br": brotli.decompress}
    encoding = response.headers.get("Content-Encoding", "")
    return str(undo.get(encoding, bytes)(body(response)), "utf-8")


def places(response: Any) -> list[str]:
    return re.findall(r'<tr [^>]*id="row-(\d+)"', text(response))


def first_visit(client: Client, path: str) -> int:
    """The bytes of a page, and of all that it fetches by itself before its first refresh."""
    page = get(client, path)
    assert page.status_code == 200
    html = text(page)
    fetched = set(re.findall(r'(?:src|href)="(/static/[^"]+)"|data-url="([^"]+)"', html))
    assert any(script.endswith("htmx.min.js") for script, _ in fetched)
    responses = [get(client, script or data) for script, data in sorted(fetched)]
    assert {response.status_code for response in responses} == {200}
    return size(page) + sum(map(size, responses)) + size(get(client, "/recorder/", "recording"))


def fifty_markets(chance: random.Random) -> list[Market]:
    def words(count: int) -> str:
        return " ".join(chance.choices(WORDS.split(), k=count))

    markets = []
    for number in range(50):
        event = an_event(words(9), ticker=f"KX{words(1).upper()}-26NOV{number:02}")
        ticker = f"{event.ticker}-T{chance.randrange(1_000_000)}"
        markets.append(a_market(ticker, event=event, yes_sub_title=words(3)))
    move(markets, chance, datetime.now(UTC) - LONG_AGO)
    return markets


def move(markets: list[Market], chance: random.Random, at: datetime) -> None:
    """Give every market another quote, which was observed at an instant of its own."""
    for market in markets:
        bid = chance.randrange(10, 900)
        market.yes_bid, market.yes_ask = Decimal(bid) / 1000, Decimal(bid + 31) / 1000
        market.last_price = Decimal(chance.randrange(10, 990)) / 1000
        market.previous_price = Decimal(chance.randrange(10, 990)) / 1000
        market.volume_24h = Decimal(chance.randrange(10_000_000))
        market.open_interest = Decimal(chance.randrange(10_000_000))
        market.quoted_at = at + timedelta(seconds=chance.uniform(0, 60))
        market.save()


@pytest.fixture
def markets() -> list[Market]:
    return fifty_markets(random.Random(1))


class TestRefreshOfTheList:
    def test_fifty_rows_that_all_moved_are_small(self, client, markets):
        before = get(client, "/markets/", "rows")
        assert size(before) < REFRESH
        move(markets, random.Random(2), datetime.now(UTC))
        after = get(client, "/markets/", "rows", before.headers["ETag"])
        assert len(places(after)) == 50
        assert size(after) < REFRESH

    def test_what_did_not_change_is_not_sent(self, client, markets, time_machine):
        # No age and no time to a close becomes another text meanwhile.
        time_machine.move_to(datetime.now(UTC), tick=False)
        before = get(client, "/markets/?ordering=ticker", "rows")
        after = get(client, "/markets/?ordering=ticker", "rows", before.headers["ETag"])
        assert after.status_code == 304
        assert body(after) == b""
        third = Market.objects.order_by("ticker")[2]
        Market.objects.filter(pk=third.pk).update(volume_24h=77_777)
        after = get(client, "/markets/?ordering=ticker", "rows", before.headers["ETag"])
        assert places(after) == ["3"]
        assert "77,777" in text(after)
        assert after.headers["HX-Reswap"] == "none"
        assert size(after) < 3_000

    def test_ages_are_sent_without_their_rows(self, client, markets):
        before = get(client, "/markets/", "rows")
        a_sweep("universe", datetime.now(UTC) - timedelta(minutes=3))
        after = get(client, "/markets/", "rows", before.headers["ETag"])
        assert places(after) == []
        assert re.findall(r'<time hx-swap-oob="true" id="age-(\d+)"[^>]*>3 m<', text(after)) == [
            str(place) for place in range(1, 51)
        ]
        assert size(after) < 3_000

    def test_a_list_of_another_length_is_sent_whole(self, client, markets):
        before = get(client, "/markets/", "rows")
        Market.objects.filter(pk=markets[0].pk).update(status="closed")
        after = get(client, "/markets/", "rows", before.headers["ETag"])
        assert len(places(after)) == 49
        assert "hx-swap-oob" not in text(after)
        Market.objects.update(status="closed")
        assert text(get(client, "/markets/", "rows", after.headers["ETag"])) == ""

    @pytest.mark.parametrize("tag", ['W/"', '"x"', 'W/"ab", W/"cd"', 'W/"' + "A" * 306 + '"'])
    def test_a_tag_that_was_never_given_brings_all_rows(self, client, markets, tag):
        assert len(places(get(client, "/markets/", "rows", tag))) == 50


class TestOtherRefreshes:
    def test_a_quote_is_sent_when_it_moved_and_its_age_by_itself(self, client):
        market = a_market(quoted_at=datetime.now(UTC) - LONG_AGO)
        path = market.get_absolute_url()
        before = get(client, path, "quote")
        assert get(client, path, "quote", before.headers["ETag"]).status_code == 304
        a_sweep("universe", datetime.now(UTC) - timedelta(minutes=3))
        older = get(client, path, "quote", before.headers["ETag"])
        assert "observed 3 m ago" in text(older)
        assert "Open interest" not in text(older)
        move([market], random.Random(3), datetime.now(UTC))
        after = get(client, path, "quote", before.headers["ETag"])
        assert "Open interest" in text(after)
        assert size(after) < 3_000

    def test_the_chart_brings_only_what_is_newer(self, client):
        market = a_market()
        now = datetime.now(UTC)
        MarketSnapshot.objects.bulk_create(
            a_snapshot(market, now - timedelta(seconds=second), volume=second)
            for second in range(1, 3_600)
        )
        since = round((now - timedelta(seconds=5)).timestamp() * 1000)
        response = get(client, f"{market.get_absolute_url()}chart.json?range=1h&since={since}")
        assert len(response.json()["t"]) <= 5
        assert size(response) < 2_000

    def test_the_recorder_page_is_sent_when_a_tier_was_swept(self, client):
        began = datetime.now(UTC)
        for number in range(60):
            a_poll(began - timedelta(seconds=5 * number), seconds=number / 17)
        before = get(client, "/recorder/", "runs")
        assert size(before) < REFRESH
        assert get(client, "/recorder/", "runs", before.headers["ETag"]).status_code == 304
        a_sweep("universe", began)
        after = get(client, "/recorder/", "runs", before.headers["ETag"])
        assert after.status_code == 200
        assert size(after) < REFRESH

    def test_the_pill_is_sent_when_it_says_something_else(self, client):
        a_poll(datetime.now(UTC) - LONG_AGO)
        before = get(client, "/recorder/", "recording")
        assert get(client, "/recorder/", "recording", before.headers["ETag"]).status_code == 304
        a_poll(datetime.now(UTC))
        assert size(get(client, "/recorder/", "recording", before.headers["ETag"])) < 2_000

    def test_the_status_of_a_backtest_is_sent_when_it_went_on(self, admin_client):
        run = a_backtest("running")
        path = f"/backtests/{run.pk}/"
        before = get(admin_client, path, "progress")
        assert "Cancel" in text(before)
        assert get(admin_client, path, "progress", before.headers["ETag"]).status_code == 304
        BacktestResult.objects.filter(pk=run.pk).update(progress=0.5)
        after = get(admin_client, path, "progress", before.headers["ETag"])
        assert "50%" in text(after)
        assert size(after) < 3_000

    def test_a_list_of_backtests_is_small(self, client):
        for number in range(50):
            a_backtest("running", progress=number / 50)
        assert size(get(client, "/backtests/", "runs")) < REFRESH

    def test_no_cache_keeps_a_fragment_and_a_page_has_no_tag_of_one(self, client, markets):
        assert get(client, "/markets/", "rows").headers["Cache-Control"] == "no-store"
        page = get(client, "/markets/", tag=get(client, "/markets/", "rows").headers["ETag"])
        assert page.status_code == 200
        assert "ETag" not in page.headers


class TestFirstVisit:
    def test_the_list(self, client, markets):
        assert first_visit(client, "/markets/") < FIRST_VISIT

    def test_a_market_with_a_long_history(self, client):
        market = a_market(rules_primary="If it rains, the market resolves to Yes. " * 40)
        now, chance = datetime.now(UTC), random.Random(4)
        MarketSnapshot.objects.bulk_create(
            a_snapshot(
                market,
                now - timedelta(seconds=43 * number),
                yes_bid=Decimal(chance.randrange(10, 900)) / 1000,
                yes_ask=Decimal(chance.randrange(900, 990)) / 1000,
                last_price=Decimal(chance.randrange(10, 990)) / 1000,
                volume=Decimal(10_000_000 - number * 7),
            )
            for number in range(1, 2_000)
        )
        assert first_visit(client, f"{market.get_absolute_url()}?table=1d") < FIRST_VISIT

    def test_a_result(self, client):
        result = a_backtest()
        for number in range(1, 51):
            a_fill(result, number)
        assert first_visit(client, f"/backtests/{result.pk}/") < FIRST_VISIT

    def test_the_recorder(self, client):
        now = datetime.now(UTC)
        for number in range(60):
            a_poll(now - timedelta(seconds=5 * number), seconds=number / 17)
        a_sweep("universe", now)
        assert first_visit(client, "/recorder/") < FIRST_VISIT

    @pytest.mark.parametrize(
        "path", ["/backtests/", "/backtests/new/", "/accounts/sign-in/", "/markets/?q=nothing"]
    )
    def test_any_other_page(self, client, path):
        assert first_visit(client, path) < FIRST_VISIT
