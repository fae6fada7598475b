"""Shared checks of pages in a real browser."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

MARKS = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:No directory at"),
    # pytest-base-url defines a fixture in a way that pytest warns of.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

Theme = Literal["light", "dark"]
in_each_theme_and_width = pytest.mark.parametrize(
    ("theme", "width"), [("light", 1440), ("dark", 360)]
)


def set_theme_and_width(page: Page, theme: Theme, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)


def assert_accessible(page: Page, address: str, *, width: int) -> None:
    """Check that a page has no serious accessibility violation and fits the window's width."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    found = serious_violations(page)
    assert not found, (address, found)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def serious_violations(page: Page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in violations
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def count_drawn_pixels(page: Page, canvas: str = "canvas") -> int:
    """Count the pixels of a chart that are not blank."""
    count: int = page.locator(canvas).evaluate(
        """(canvas) => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return data.filter((value, i) => i % 4 === 3 && value > 0).length;
        }"""
    )
    return count
