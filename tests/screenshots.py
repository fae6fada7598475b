"""Screenshots of the pages in light and dark, wide and narrow, in `var/screenshots/`.

Run `pytest tests/screenshots.py`; its name keeps it out of the ordinary test run.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from playwright.sync_api import Browser, Page

from accounts.models import ApiToken
from accounts.tests.factories import a_token
from markets.models import Import, Market, MarketHour
from markets.tests.settled_markets import make_settled_markets
from tests.pictured_record import (
    LOGGED,
    STAR,
    import_logs,
    populate,
    run_backtests,
    run_own_strategy,
    run_searches,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:No directory at"),
]

FOLDER = settings.BASE_DIR / "var" / "screenshots"
WIDTHS = (1440, 390)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
PASSWORD = "only for pictures"
WRONG = "strategy=fade-longshots&tickers=KXNONE-1&params.ceiling=0.3&start=2026-11-20T00:00"


class Camera:
    """A page of one width and theme, of which pictures are taken."""

    def __init__(self, page: Page, address: str, look: str) -> None:
        self.page = page
        self.address = address
        self.look = look

    def sign_in(self) -> None:
        self.page.goto(f"{self.address}/accounts/sign-in/?next=/markets/")
        self.page.get_by_label("Username").fill("ada")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.locator("main").get_by_role("button", name="Sign in").click()

    def take(self, name: str, path: str = "", *, full_page: bool = True) -> None:
        """Take a picture of the page, or of the one at a path."""
        if path:
            self.page.goto(self.address + path)
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=FOLDER / f"{name}-{self.look}.png", full_page=full_page)

    def take_all(self, paths: Mapping[str, str]) -> None:
        for name, path in paths.items():
            self.take(name, path)

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details.rules').forEach(d => d.open = true)")


def cameras(browser: Browser, address: str) -> Iterator[Camera]:
    """Yield a camera for each width and theme."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for theme in THEMES:
            page = browser.new_page(
                viewport={"width": width, "height": 900},
                color_scheme=theme,
                device_scale_factor=1.5,
            )
            yield Camera(page, address, f"{width}-{theme}")
            page.close()


def a_superuser() -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def test_pictures_of_backtests(browser: Browser, live_server: Any) -> None:
    runs = run_backtests(a_superuser())
    for camera in cameras(browser, live_server.url):
        camera.take("backtests-none", "/backtests/?status=queued", full_page=False)
        camera.sign_in()
        camera.take_all(
            {
                "backtests": "/backtests/",
                "backtest-new": "/backtests/new/",
                "backtest-running": f"/backtests/{runs['running']}/",
                "backtest-failed": f"/backtests/{runs['failed']}/",
                "backtest": f"/backtests/{runs['done']}/",
            }
        )
        camera.page.goto(f"{live_server.url}/backtests/new/?{WRONG}&execution=1&assumed_size=5")
        camera.page.get_by_role("button", name="Run").click()
        camera.page.evaluate("scrollTo(0, 0)")
        camera.take("backtest-wrong")


def test_pictures_of_searches(browser: Browser, live_server: Any) -> None:
    found = run_searches(a_superuser())
    for camera in cameras(browser, live_server.url):
        camera.take("searches-none", "/backtests/searches/?status=queued", full_page=False)
        camera.sign_in()
        camera.take_all(
            {
                "searches": "/backtests/searches/",
                "search-new": "/backtests/searches/new/",
                "search-running": f"/backtests/searches/{found['running']}/",
                "search-failed": f"/backtests/searches/{found['failed']}/",
                "search": f"/backtests/searches/{found['done']}/",
            }
        )


def test_pictures_of_own_strategies(
    browser: Browser, live_server: Any, tmp_path: Path, settings: Any
) -> None:
    a_superuser()
    settings.STRATEGIES_PATH = tmp_path / "strategies"
    done = run_own_strategy(settings.STRATEGIES_PATH)
    for camera in cameras(browser, live_server.url):
        camera.sign_in()
        camera.take("own-new", "/backtests/new/?strategy=town-maker")
        camera.take("own-broken", "/backtests/new/?strategy=town_broken")
        camera.page.goto(f"{live_server.url}/backtests/{done}/")
        camera.unfold()
        camera.take("own-result")


def test_pictures_of_imports(browser: Browser, live_server: Any, tmp_path: Path) -> None:
    a_superuser()
    import_logs(tmp_path)
    first, *_ = Import.objects.order_by("pk")
    market = Market.objects.get(ticker=LOGGED).get_absolute_url()
    for camera in cameras(browser, live_server.url):
        camera.sign_in()
        camera.take("imports", "/admin/markets/import/")
        camera.take("import", f"/admin/markets/import/{first.pk}/change/")
        camera.take("imported-market", market)
        camera.take("imported-chart", f"{market}?import={first.pk}")
        camera.page.get_by_role("button", name="1w").click()
        camera.take("imported-week")


def test_pictures_of_calibration(browser: Browser, live_server: Any) -> None:
    cache.clear()
    for camera in cameras(browser, live_server.url):
        camera.take("calibration-none", "/calibration/", full_page=False)
    cache.clear()
    make_settled_markets(500)
    for camera in cameras(browser, live_server.url):
        camera.take_all(
            {
                "calibration": "/calibration/",
                "calibration-bin": "/calibration/?bin=2&bins=20",
                "calibration-wrong": "/calibration/?max_age=old",
                "calibration-unusable": "/calibration/?source=backfilled",
            }
        )


@pytest.mark.parametrize("look", range(len(WIDTHS) * len(THEMES)))
def test_pictures_of_accounts(browser: Browser, live_server: Any, look: int) -> None:
    user = a_superuser()
    now = datetime.now(UTC)
    for name, scope, days in (("nightly study", "backtest", 90), ("dashboard", "read", 12)):
        a_token(user, scope, name=name, expiry=now + timedelta(days=days))
    a_token(user, "operate", name="old laptop")
    ApiToken.objects.filter(name="nightly study").update(last_used_at=now - timedelta(minutes=3))
    ApiToken.objects.filter(name="old laptop").update(expiry=now - timedelta(days=3))
    camera = next(islice(cameras(browser, live_server.url), look, None))
    page = camera.page
    camera.take("sign-in", "/accounts/sign-in/")
    for _ in range(settings.AXES_FAILURE_LIMIT):
        page.get_by_label("Username").fill("bob")
        page.get_by_label("Password").fill("wrong")
        page.locator("main").get_by_role("button", name="Sign in").click()
        if page.get_by_role("alert").count():
            camera.take("sign-in-wrong")
    camera.take("sign-in-locked")
    camera.sign_in()
    camera.take("tokens", "/accounts/tokens/")
    page.get_by_label("Name").fill("a notebook")
    page.get_by_role("button", name="Make a token").click()
    page.locator("#account summary").click()
    camera.take("token-made")
    camera.take("password", "/accounts/password/")


def test_pictures_of_the_record(browser: Browser, live_server: Any, settings: Any) -> None:
    settings.SIMULATED = True
    populate()
    MarketHour.objects.rebuild(now=datetime.now(UTC))
    for camera in cameras(browser, live_server.url):
        camera.take("markets", "/markets/", full_page=False)
        camera.take("markets-odd", "/markets/?ordering=price&page=9&q=kx", full_page=False)
        camera.take_all(
            {
                "overview": "/",
                "event": "/events/KXHIGHNY-26NOV21/",
                "event-ladder": "/events/KXBTCD-26NOV2117/",
                "markets-filtered": "/markets/?spread_max=0.05&two_sided=true",
                "market": f"/markets/{STAR}/",
                "recorder": "/recorder/",
                "missing": "/markets/KXNONE-1/",
            }
        )
