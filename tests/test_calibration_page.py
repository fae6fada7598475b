"""The page of calibration in a real browser: its charts, its bins, its looks."""

import re

import pytest
from django.core.cache import cache
from playwright.sync_api import Page, Position, expect

from markets.tests.settled_markets import make_settled_markets
from tests.browser_checks import (
    MARKS,
    Theme,
    assert_accessible,
    count_drawn_pixels,
    in_each_theme_and_width,
    set_theme_and_width,
)

pytestmark = MARKS


@pytest.fixture(autouse=True)
def markets(transactional_db: None) -> None:
    cache.clear()
    make_settled_markets(90)


def test_all_charts_are_drawn_and_the_diagram_is_square(clean: Page, site: str) -> None:
    clean.goto(f"{site}/calibration/")
    for name in ("curve", "returns", "trail", "classes"):
        assert count_drawn_pixels(clean, f"[data-plot={name}]") > 500, name
    box = clean.locator("[data-plot=curve]").bounding_box()
    assert box
    assert abs(box["width"] - box["height"]) < 3


def test_a_click_on_a_bin_shows_its_markets_and_stays_on_the_page(clean: Page, site: str) -> None:
    clean.goto(f"{site}/calibration/")
    clean.evaluate("document.body.dataset.still = 'here'")
    canvas = clean.locator("[data-plot=curve]")
    box = canvas.bounding_box()
    assert box
    spot: Position = {"x": box["width"] * 0.6, "y": box["height"] / 2}
    canvas.hover(position=spot)
    expect(clean.locator("[data-readout]")).to_contain_text(re.compile("(40|50)¢ to .* markets"))
    canvas.click(position=spot)
    expect(clean.locator("#bin-title")).to_contain_text(re.compile("with a price of (40|50)–"))
    expect(clean).to_have_url(re.compile("bin=[45]"))
    assert clean.evaluate("document.body.dataset.still") == "here"
    assert clean.locator("#bin-markets tbody tr").count() > 5


def test_a_choice_draws_everything_anew(clean: Page, site: str) -> None:
    clean.goto(f"{site}/calibration/")
    clean.get_by_label("Price", exact=True).select_option("ask-no")
    expect(clean.locator(".page-head")).to_contain_text("ask of NO")
    expect(clean).to_have_url(re.compile("price=ask-no"))
    assert count_drawn_pixels(clean, "[data-plot=curve]") > 500
    clean.locator("#theme").click()
    assert count_drawn_pixels(clean, "[data-plot=returns]") > 500


@in_each_theme_and_width
def test_the_page_is_accessible_and_fits(page: Page, site: str, theme: Theme, width: int) -> None:
    set_theme_and_width(page, theme, width)
    assert_accessible(page, f"{site}/calibration/?bin=1", width=width)
