"""What the tests of pages in a real browser share."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

MARKS = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:No directory at"),
    # pytest-base-url's own way of making a fixture.
    pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods"),
]

Theme = Literal["light", "dark"]
in_each_look = pytest.mark.parametrize(
    ("theme", "width"), [("light", 1440), ("dark", 1440), ("dark", 390)]
)


def wear(page: Page, theme: Theme, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)


def must_be_readable(page: Page, address: str, *, width: int) -> None:
    """Without a grave fault of accessibility, and no wider than the window."""
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert grave(page) == [], address
    assert page.evaluate("document.documentElement.scrollWidth") <= width, address


def grave(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def inked(page: Page, canvas: str = "canvas") -> int:
    """How many pixels of a chart are not blank."""
    count: int = page.locator(canvas).evaluate(
        """(canvas) => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return data.filter((value, i) => i % 4 === 3 && value > 0).length;
        }"""
    )
    return count
