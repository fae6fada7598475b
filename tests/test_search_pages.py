"""The pages of searches in a real browser: the form, the progress and the heat map."""

import re

from playwright.sync_api import Browser, Page, expect

from backtests.models import Search
from backtests.searches import runner
from backtests.tests.search_builders import SERIES, a_search, record_days, run_all
from tests.browser_checks import (
    MARKS,
    Theme,
    assert_accessible,
    in_each_theme_and_width,
    set_theme_and_width,
)

pytestmark = MARKS

WISH = f"series={SERIES}&start=2026-10-01T00:00&end=2026-10-15T00:00&folds=1&across_gaps=wait"


def test_a_search_is_asked_for_and_its_heat_map_fills_by_itself(signed_in: Page, site: str) -> None:
    record_days()
    signed_in.goto(f"{site}/backtests/searches/new/?{WISH}")
    signed_in.get_by_label("Contracts", exact=False).first.fill("1:20:1")
    signed_in.get_by_role("button", name="Search", exact=True).click()
    expect(signed_in).to_have_url(re.compile(r"/backtests/searches/\d+/$"))
    expect(signed_in.get_by_text("Waiting for a worker")).to_be_visible()
    search = Search.objects.get()
    runner.run_chunk(search.pk)
    expect(signed_in.get_by_text("16 of 20 points have run")).to_be_visible(timeout=8_000)
    expect(signed_in.locator(".heat tbody td")).to_have_count(12)
    run_all(search)
    expect(signed_in.locator(".walk")).to_be_visible(timeout=8_000)
    expect(signed_in.locator(".heat .heat-best")).to_have_count(1)
    expect(signed_in.locator("#progress")).to_have_count(0)
    signed_in.locator("#points").get_by_role("link", name="P&L").click()
    expect(signed_in.locator("#points [aria-sort=ascending]")).to_have_text("P&L")


def test_a_search_under_way_is_cancelled_and_resumed(signed_in: Page, site: str) -> None:
    record_days()
    signed_in.goto(f"{site}/backtests/searches/new/?{WISH}&params.contracts=1,2,3")
    signed_in.get_by_role("button", name="Search", exact=True).click()
    signed_in.get_by_role("button", name="Cancel").click()
    expect(signed_in.get_by_text("Cancelled after 0 of 3 points")).to_be_visible()
    signed_in.get_by_role("button", name="Resume").click()
    expect(signed_in.get_by_text("Waiting for a worker")).to_be_visible()


def test_the_form_works_without_scripts(browser: Browser, site: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{site}/backtests/searches/new/")
    page.get_by_label("Name", exact=True).select_option("favourite-hold")
    page.get_by_role("button", name="Show parameters").click()
    expect(page.get_by_label("Minimum midpoint, dollars")).to_have_value("0.85")
    page.close()


@in_each_theme_and_width
def test_everybody_can_read_it(signed_in: Page, site: str, theme: Theme, width: int) -> None:
    record_days()
    done = run_all(a_search({"contracts": [1, 5, 10], "edge": [0.0, 0.01]}, folds=1))
    under_way = a_search({"contracts": list(range(1, 21))})
    runner.run_chunk(under_way.pk)
    failed = run_all(a_search(folds=4))
    set_theme_and_width(signed_in, theme, width)
    for path in (
        "",
        "?status=done",
        "new/",
        "new/?strategy=exclusive-arbitrage&assumed_size=5",
        *(f"{search.pk}/" for search in (done, under_way, failed)),
    ):
        assert_accessible(signed_in, f"{site}/backtests/searches/{path}", width=width)
