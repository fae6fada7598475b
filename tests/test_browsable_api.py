"""The browsable API: every address is a page, with a form for its parameters."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from backtests.models import BacktestResult
from backtests.tests.factories import a_backtest, a_fill, a_recorded_day, a_user
from markets.models import Market
from markets.tests.factories import a_market, a_poll, a_snapshot
from tests.browser_checks import MARKS

pytestmark = MARKS

NOW = datetime.now(UTC)


@pytest.fixture
def api(live_server: LiveServer) -> str:
    return f"{live_server.url}/api/v1"


@pytest.fixture
def market(live_server: LiveServer) -> Market:
    market = a_market("KXRAIN-26NOV21-T1", event="Rain")
    a_market("KXFED-26DEC-H25", event="Fed", status="closed")
    a_poll(NOW)
    a_fill(a_backtest(id=7))
    for minutes in (3, 2, 1):
        a_snapshot(market, NOW - timedelta(minutes=minutes), yes_bid=None).save()
    return market


PLACES = [
    "/",
    "/series/",
    "/events/?markets=true",
    "/markets/",
    "/markets/?format=api",
    "/trades/",
    "/tape/",
    "/tape/days/",
    "/polls/",
    "/outages/",
    "/calibration/",
    "/calibration/markets/",
    "/health/",
    "/strategies/",
    "/strategies/momentum/",
    "/backtests/",
    *(f"/backtests/7/{resource}" for resource in ("", "executions/", "equity/")),
    *(
        f"/markets/KXRAIN-26NOV21-T1/{resource}"
        for resource in (
            "",
            "latest/",
            "snapshots/?limit=2",
            "candlesticks/",
            "trades/",
            "revisions/",
            "coverage/",
        )
    ),
]


@pytest.mark.parametrize("place", PLACES)
def test_every_address_is_a_page_with_a_way_back(
    clean: Page, api: str, market: Market, place: str
) -> None:
    response = clean.goto(f"{api}{place}")
    assert response is not None
    assert (response.status, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    clean.get_by_role("link", name="Kalshi Insights", exact=True).click()
    expect(clean).to_have_url(f"{api.removesuffix('/api/v1')}/markets/")


def test_a_list_is_narrowed_by_its_form(clean: Page, api: str, market: Market) -> None:
    clean.goto(f"{api}/markets/")
    clean.get_by_text("Filters").click()
    clean.get_by_label("status").select_option("closed")
    clean.get_by_label("q", exact=True).fill("fed")
    clean.get_by_role("button", name="Show").click()
    expect(clean.locator(".response-info")).to_contain_text('"count": 1')
    expect(clean.locator(".response-info")).to_contain_text("KXFED-26DEC-H25")
    expect(clean.get_by_label("q", exact=True)).to_have_value("fed")


def test_a_computed_series_has_a_form_too(clean: Page, api: str, market: Market) -> None:
    clean.goto(f"{api}/markets/{market.ticker}/candlesticks/")
    clean.get_by_text("Filters").click()
    clean.get_by_label("interval").select_option("1h")
    clean.get_by_role("button", name="Show").click()
    expect(clean.locator(".response-info")).to_contain_text('"snapshots": ')


def test_every_field_of_a_form_is_explained(clean: Page, api: str, market: Market) -> None:
    for place in ("/markets/", f"/markets/?as_of={NOW:%Y-%m-%dT%H:%M:%SZ}", "/events/", "/polls/"):
        clean.goto(f"{api}{place}")
        clean.get_by_text("Filters").click()
        assert clean.get_by_text("[invalid name]").count() == 0


def test_what_cannot_be_meant_is_said_on_the_page(page: Page, api: str, market: Market) -> None:
    response = page.goto(f"{api}/markets/?price_min=NaN")
    assert response is not None
    assert response.status == 400
    expect(page.locator(".response-info")).to_contain_text("Must be a plain number")
    expect(page.get_by_label("price_min")).to_have_value("NaN")


def test_who_is_signed_in_may_run_a_backtest_on_its_page(
    clean: Page, api: str, client: Client
) -> None:
    client.force_login(a_user())
    session = client.cookies["sessionid"].value
    clean.context.add_cookies([{"name": "sessionid", "value": session, "url": api}])
    wish = {
        "strategy": "do-nothing",
        "tickers": [a_recorded_day().ticker],
        "start": "2025-11-20T12:00:00Z",
        "end": "2025-11-20T18:00:00Z",
    }
    clean.goto(f"{api}/backtests/")
    clean.get_by_role("textbox", name="Content:").fill(json.dumps(wish))
    clean.get_by_role("button", name="POST").click()
    expect(clean.locator(".response-info")).to_contain_text('"status": "queued"')
    assert BacktestResult.objects.get().strategy == "do-nothing"
