"""The pages in a real browser: refreshing, charts, keyboard shortcuts and accessibility."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from markets.intervals import Interval
from markets.models import DiskUsage, Market, MarketHour, TapeDay, TapeSpan
from markets.models.tape import Proof
from markets.tests.factories import a_market, a_poll, a_sweep, a_trade, an_event, observe
from tests.browser_checks import (
    MARKS,
    Theme,
    assert_accessible,
    count_drawn_pixels,
    in_each_theme_and_width,
    set_theme_and_width,
)

pytestmark = MARKS


def three_markets() -> list[Market]:
    event = an_event("Rain in New York", ticker="KXRAIN")
    volumes = {"KXRAIN-T1": 900, "KXRAIN-T2": 500, "KXRAIN-T3": 100}
    return [
        a_market(ticker, event=event, yes_sub_title=f"Outcome {ticker[-1]}", volume_24h=volume)
        for ticker, volume in volumes.items()
    ]


def test_rows_take_in_a_new_quote_without_a_reload(clean: Page, site: str) -> None:
    market, *_ = three_markets()
    clean.goto(f"{site}/markets/")
    clean.evaluate("document.body.dataset.still = 'here'")
    row = clean.locator("tr[data-ticker='KXRAIN-T1']")
    expect(row).to_contain_text("42–45¢")
    observe(market, datetime.now(UTC), "0.51", "0.53")
    expect(row).to_contain_text("51–53¢", timeout=8_000)
    assert clean.evaluate("document.body.dataset.still") == "here"


def test_a_changed_number_flashes_and_the_chosen_row_stays_chosen(clean: Page, site: str) -> None:
    market, *_ = three_markets()
    clean.goto(f"{site}/markets/")
    clean.keyboard.press("j")
    clean.keyboard.press("j")
    observe(market, datetime.now(UTC), "0.51", "0.53")
    clean.evaluate("htmx.trigger('#rows', 'refresh')")
    expect(clean.locator("tr[data-ticker='KXRAIN-T1'] .price .flash")).to_have_text("51–53¢")
    expect(clean.locator(".flash")).to_have_count(0)
    expect(clean.locator("#m-KXRAIN-T2")).to_be_focused()


def refresh(page: Page, element: str = "rows") -> int:
    """Refresh a part of the page, and return the status of the answer once it is shown."""
    with page.expect_response(
        lambda response: response.request.headers.get("hx-target") == element
    ) as answered:
        page.evaluate(f"htmx.trigger('#{element}', 'refresh')")
    expect(page.locator(".htmx-request, .htmx-swapping, .htmx-settling")).to_have_count(0)
    return answered.value.status


def test_only_rows_that_changed_are_drawn_anew(clean: Page, site: str) -> None:
    two_hours_ago = datetime.now(UTC) - timedelta(hours=2)
    first, second, _ = three_markets()
    Market.objects.update(quoted_at=two_hours_ago)
    clean.goto(f"{site}/markets/")
    assert refresh(clean) == 200
    clean.evaluate("for (const row of document.querySelectorAll('#rows tr')) row.isOld = true")
    clean.keyboard.press("j")
    assert refresh(clean) == 304
    old = "[...document.querySelectorAll('#rows tr')].map((row) => row.isOld === true)"
    assert clean.evaluate(old) == [True, True, True]
    observe(first, two_hours_ago, "0.51", "0.53")
    assert refresh(clean) == 200
    expect(clean.locator("tr[data-ticker='KXRAIN-T1']")).to_contain_text("51–53¢")
    expect(clean.locator("#m-KXRAIN-T1")).to_be_focused()
    assert clean.evaluate(old) == [False, True, True]
    Market.objects.filter(pk=second.pk).update(volume_24h=901)
    refresh(clean)
    order = "[...document.querySelectorAll('#rows tr')].map((row) => row.dataset.ticker)"
    assert clean.evaluate(order) == ["KXRAIN-T2", "KXRAIN-T1", "KXRAIN-T3"]
    expect(clean.locator("#m-KXRAIN-T1")).to_be_focused()
    assert clean.evaluate(old) == [False, False, True]


def test_ages_go_on_in_rows_that_stay(clean: Page, site: str) -> None:
    three_markets()
    Market.objects.update(quoted_at=datetime.now(UTC) - timedelta(hours=2))
    clean.goto(f"{site}/markets/")
    refresh(clean)
    clean.evaluate("document.querySelector('#row-2').isOld = true")
    a_sweep("universe", datetime.now(UTC) - timedelta(minutes=3))
    refresh(clean)
    expect(clean.locator("#rows time")).to_have_text(["3 m"] * 3)
    assert clean.evaluate("document.querySelector('#row-2').isOld")


def test_a_quote_is_drawn_anew_only_where_it_moved(clean: Page, site: str) -> None:
    market, *_ = three_markets()
    Market.objects.update(quoted_at=datetime.now(UTC) - timedelta(hours=2))
    clean.goto(f"{site}/markets/KXRAIN-T1/")
    refresh(clean, "quote")
    clean.evaluate("document.querySelector('#newest').isOld = true")
    a_sweep("universe", datetime.now(UTC) - timedelta(minutes=3))
    refresh(clean, "quote")
    expect(clean.locator("#age")).to_have_text("observed 3 m ago")
    assert clean.evaluate("document.querySelector('#newest').isOld")
    observe(market, datetime.now(UTC), "0.51", "0.53")
    refresh(clean, "quote")
    expect(clean.locator(".quote-price")).to_have_text("51–53¢")


def test_a_search_during_a_refresh_keeps_its_own_rows(page: Page, site: str) -> None:
    three_markets()
    a_market("KXFED-1", event=an_event("Fed decision", ticker="KXFED"), volume_24h=10_000)
    page.goto(f"{site}/markets/")
    refresh(page)
    Market.objects.update(open_interest=77_777)
    held: list[Route] = []

    def hold(route: Route) -> None:
        is_refresh = route.request.headers.get("hx-target") == "rows"
        held.append(route) if is_refresh else route.continue_()

    page.route("**/markets/**", hold)
    page.evaluate("htmx.trigger('#rows', 'refresh')")
    page.locator("#q").fill("kxrain-t3")
    expect(page.locator("tbody tr")).to_have_count(1)
    for route in held:
        route.continue_()
    page.wait_for_timeout(300)
    expect(page.locator("tbody tr")).to_contain_text("KXRAIN-T3")


def test_a_hidden_tab_does_not_ask(clean: Page, site: str) -> None:
    three_markets()
    clean.goto(f"{site}/markets/")
    clean.wait_for_load_state("networkidle")
    clean.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    requested: list[str] = []
    clean.on("request", lambda request: requested.append(request.url))
    clean.evaluate("htmx.trigger('#rows', 'refresh')")
    clean.wait_for_timeout(300)
    assert requested == []


def test_search_as_typed_finds_and_the_address_says_so(clean: Page, site: str) -> None:
    three_markets()
    a_market("KXFED-1", event=an_event("Fed decision", ticker="KXFED", category="Economics"))
    clean.goto(f"{site}/markets/?ordering=close_time")
    clean.keyboard.press("/")
    clean.keyboard.type("fed")
    expect(clean.locator("tbody tr")).to_have_count(1)
    expect(clean).to_have_url(re.compile(r"\?q=fed&ordering=close_time$"))
    expect(clean.locator("h1")).to_contain_text("fed")
    clean.locator("select[name=category]").select_option("Economics")
    expect(clean).to_have_url(re.compile(r"\?q=fed&category=Economics&ordering=close_time$"))


def test_search_works_without_scripts(browser: Browser, site: str) -> None:
    three_markets()
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{site}/markets/")
    page.locator("#q").fill("kxrain-t2")
    page.locator("#q").press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="All", exact=True).click()
    expect(page).to_have_url(re.compile("status=all"))
    page.close()


def test_keys_walk_the_rows_and_open_one(clean: Page, site: str) -> None:
    three_markets()
    clean.goto(f"{site}/markets/")
    for key in "jjjjk":
        clean.keyboard.press(key)
    expect(clean.locator("#m-KXRAIN-T2")).to_be_focused()
    clean.keyboard.press("Enter")
    expect(clean).to_have_url(f"{site}/markets/KXRAIN-T2/")


def test_the_chart_draws_appends_and_reads_out(clean: Page, site: str, settings: Any) -> None:
    settings.POLL_INTERVAL = 60
    market, *_ = three_markets()
    now = datetime.now(UTC)
    for minutes in range(60, 0, -1):
        a_poll(now - timedelta(minutes=minutes))
        observe(market, now - timedelta(minutes=minutes), f"0.{40 + minutes % 7}", "0.49")
    clean.goto(f"{site}/markets/KXRAIN-T1/")
    chart = clean.locator("#chart")
    expect(chart).to_have_attribute("data-points", "60")
    assert count_drawn_pixels(clean) > 500
    observe(market, datetime.now(UTC), "0.61", "0.66", last=Decimal("0.62"))
    expect(chart).to_have_attribute("data-points", "61", timeout=8_000)
    expect(clean.locator("[data-readout]")).to_contain_text("bid 61¢   ask 66¢   last 62¢")
    clean.get_by_role("button", name="1h").click()
    expect(clean.locator("canvas")).to_have_attribute(
        "aria-label", re.compile("range 1h: quotes between")
    )
    clean.locator("canvas").focus()
    clean.keyboard.press("ArrowLeft")
    expect(clean.locator("[data-readout]")).to_contain_text(re.compile(r"bid 4\d¢"))
    clean.locator("#history").get_by_role("link", name="1h").click()
    expect(clean.locator("#history tbody tr").first).to_contain_text("61¢")


def test_a_market_without_a_history_says_so(clean: Page, site: str) -> None:
    market = a_market()
    clean.goto(f"{site}{market.get_absolute_url()}")
    expect(clean.locator("[data-message]")).to_contain_text("Nothing was recorded")


def test_an_event_draws_its_outcomes_together(clean: Page, site: str) -> None:
    market, *_ = three_markets()
    observe(market, datetime.now(UTC) - timedelta(minutes=50), "0.51", "0.53")
    observe(market, datetime.now(UTC) - timedelta(minutes=5), "0.61", "0.63")
    clean.goto(f"{site}{market.event.get_absolute_url()}")
    expect(clean.locator("#event-chart[data-points='2']")).to_be_visible()
    assert count_drawn_pixels(clean) > 100
    expect(clean.locator("[data-readout]")).to_contain_text("Outcome 1 62¢")
    clean.get_by_role("button", name="1h").click()
    expect(clean.get_by_role("button", name="1h")).to_have_attribute("aria-pressed", "true")


def test_the_overview_leads_to_a_market_and_shows_the_latest_backtests(
    clean: Page, site: str
) -> None:
    three_markets()
    a_poll(datetime.now(UTC))
    clean.goto(f"{site}/")
    expect(clean.locator("#latest")).to_contain_text("There are none yet")
    clean.locator(".tile", has_text="Most active").get_by_text("Outcome 1").click()
    expect(clean).to_have_url(f"{site}/markets/KXRAIN-T1/")


def test_the_theme_is_remembered(clean: Page, site: str) -> None:
    clean.emulate_media(color_scheme="light")
    clean.goto(f"{site}/markets/")
    background = "getComputedStyle(document.body).backgroundColor"
    assert clean.evaluate(background) == "rgb(246, 247, 249)"
    clean.locator("#theme").click()
    assert clean.evaluate(background) == "rgb(13, 17, 23)"
    clean.reload()
    assert clean.evaluate(background) == "rgb(13, 17, 23)"
    clean.locator("#theme").click()
    clean.goto(f"{site}/recorder/")
    assert clean.evaluate(background) == "rgb(246, 247, 249)"


@in_each_theme_and_width
def test_everybody_can_read_it(clean: Page, site: str, theme: Theme, width: int) -> None:
    market, *_ = three_markets()
    a_market("KXRAIN-T4", event=market.event, yes_ask=None, last_price=None)
    observe(market, datetime.now(UTC) - timedelta(minutes=5), "0.51", "0.53")
    a_poll(datetime.now(UTC), error="TemporaryError: no answer")
    a_sweep("universe", datetime.now(UTC))
    DiskUsage.objects.measure(at=datetime.now(UTC))
    record_trades(market)
    set_theme_and_width(clean, theme, width)
    MarketHour.objects.rebuild(now=datetime.now(UTC))
    for path in (
        "/",
        market.event.get_absolute_url(),
        "/markets/",
        "/markets/?q=nothing",
        f"/markets/{market.ticker}/?table=1d",
        "/recorder/",
    ):
        assert_accessible(clean, site + path, width=width)


def record_trades(market: Market) -> None:
    """Store trades, a tape of two days that was not read for a minute, and the second proof."""
    now = datetime.now(UTC)
    read, missed, joined_at = (now - timedelta(minutes=each) for each in (2_880, 91, 90))
    for n in range(12):
        a_trade(market, now - timedelta(minutes=n), f"trade {n}", contracts=123_450)
    TapeSpan.objects.mark(Interval(read, missed), TapeSpan(is_whole=True, proof=Proof.JOINED))
    TapeSpan.objects.mark_open(Interval(missed, joined_at), tried_at=now)
    TapeSpan.objects.mark(Interval(joined_at, now), TapeSpan(is_whole=True, proof=Proof.JOINED))
    TapeDay.objects.compare(read.date(), at=now)
