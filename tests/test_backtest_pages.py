"""The backtest pages in a real browser: refreshing, charts and accessibility."""

import re
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, Route, expect

from backtests import runner
from backtests.models import BacktestResult
from backtests.tests.factories import NOON, a_backtest, a_recorded_day
from backtests.tests.record_builders import record_passes
from tests.browser_checks import (
    MARKS,
    Theme,
    assert_accessible,
    count_drawn_pixels,
    in_each_theme_and_width,
    set_theme_and_width,
)

pytestmark = MARKS

TICKER = "KXRAIN-26NOV21"
WISH = f"tickers={TICKER}&start=2025-11-20T12:00&end=2025-11-20T18:00&params.belief=0.3"


def done(signed_in: Page, site: str) -> BacktestResult:
    """A backtest that was submitted with the form and has run."""
    a_recorded_day(TICKER)
    record_passes(NOON - timedelta(hours=1), NOON + timedelta(hours=6))
    signed_in.goto(f"{site}/backtests/new/?{WISH}")
    signed_in.get_by_role("button", name="Run").click()
    expect(signed_in).to_have_url(re.compile(r"/backtests/\d+/$"))
    result = BacktestResult.objects.get()
    runner.run(result.pk)
    return result


def test_a_run_is_asked_for_and_its_page_shows_the_result_by_itself(
    signed_in: Page, site: str
) -> None:
    done(signed_in, site)
    expect(signed_in.locator(".verdict")).to_contain_text("Earned $", timeout=8_000)
    chart = signed_in.locator("#equity")
    expect(chart).to_have_attribute("data-points", re.compile(r"\d+"))
    assert count_drawn_pixels(signed_in, "[data-plot=equity]") > 500
    readout = chart.locator("[data-readout]")
    expect(readout).to_contain_text("equity $10,0")
    latest = readout.text_content()
    chart.locator("canvas").first.focus()
    signed_in.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(latest or "")
    signed_in.get_by_role("link", name="Fills", exact=True).click()
    expect(signed_in.locator("#executions tbody tr")).to_have_count(1)
    expect(signed_in.locator("#equity")).to_have_attribute("data-points", re.compile(r"\d+"))


def test_series_are_drawn_market_by_market(signed_in: Page, site: str) -> None:
    done(signed_in, site)
    signed_in.reload()
    chart = signed_in.locator("#series")
    expect(chart).to_have_attribute("data-points", re.compile(r"\d+"))
    assert count_drawn_pixels(signed_in, "#series canvas") > 500
    expect(chart.locator("[data-readout]")).to_contain_text("stated probability 0.033")
    expect(chart.get_by_label("Market")).to_have_value(TICKER)


def test_a_chart_of_a_part_of_the_fills_says_so(signed_in: Page, site: str) -> None:
    done(signed_in, site)

    def as_of_many(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "next": "/more"})

    signed_in.reload()
    words = signed_in.locator("#series [data-cut]")
    expect(signed_in.locator("#series")).to_have_attribute("data-points", re.compile(r"\d+"))
    expect(words).to_be_hidden()
    signed_in.route("**/executions/?**", as_of_many)
    signed_in.reload()
    expect(words).to_contain_text("The chart shows the first 1 fills of the market")


def test_choosing_a_strategy_brings_its_fields_and_keeps_the_others(clean: Page, site: str) -> None:
    clean.goto(f"{site}/backtests/new/")
    clean.get_by_label("Markets", exact=True).fill("KXFED-1")
    clean.get_by_label("Starting cash, dollars").fill("250")
    clean.get_by_label("Name", exact=True).select_option("favourite-hold")
    expect(clean.get_by_label("Minimum midpoint, dollars")).to_have_value("0.85")
    expect(clean.get_by_label("Markets", exact=True)).to_have_value("KXFED-1")
    expect(clean.get_by_label("Starting cash, dollars")).to_have_value("250")


def test_the_form_works_without_scripts(browser: Browser, site: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{site}/backtests/new/")
    page.get_by_label("Name", exact=True).select_option("favourite-hold")
    page.get_by_role("button", name="Show parameters").click()
    expect(page.get_by_label("Minimum midpoint, dollars")).to_have_value("0.85")
    page.close()


def test_a_run_under_way_is_cancelled(signed_in: Page, site: str) -> None:
    mine = a_backtest("queued", user=User.objects.get())
    signed_in.goto(f"{site}/backtests/{mine.pk}/")
    signed_in.get_by_role("button", name="Cancel").click()
    expect(signed_in.get_by_text("Cancelled; no results were stored")).to_be_visible()


def test_the_list_follows_a_run(clean: Page, site: str) -> None:
    run = a_backtest("running")
    clean.goto(f"{site}/backtests/")
    expect(clean.locator("tbody tr")).to_contain_text("running · 25%")
    BacktestResult.objects.fail(run, "out of luck", now=datetime.now(UTC))
    expect(clean.locator("tbody tr")).to_contain_text("failed", timeout=8_000)
    expect(clean.locator("#runs")).not_to_have_attribute("hx-trigger", re.compile("every"))


@in_each_theme_and_width
def test_everybody_can_read_it(signed_in: Page, site: str, theme: Theme, width: int) -> None:
    result = done(signed_in, site)
    runs = [a_backtest(status) for status in ("queued", "running", "failed", "cancelled")]
    set_theme_and_width(signed_in, theme, width)
    for path in (
        "/backtests/",
        "/backtests/?status=done",
        "/backtests/new/",
        "/backtests/new/?strategy=exclusive-arbitrage&assumed_size=5",
        *(f"/backtests/{run.pk}/" for run in (result, *runs)),
    ):
        assert_accessible(signed_in, site + path, width=width)
