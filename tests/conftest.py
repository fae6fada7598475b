"""Fixtures for browser tests, which use Debian's Chromium through Playwright."""

import os
import shutil
from collections.abc import Iterator

import pytest
import structlog
from django.test import Client
from playwright.sync_api import ConsoleMessage, Page
from pytest_django.live_server_helper import LiveServer

from backtests.tests.factories import a_user

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    if not CHROMIUM and os.environ.get("CI"):
        pytest.fail("No Chromium on PATH, and CI requires one: apt-get install chromium")
    if not CHROMIUM:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    # Playwright keeps an event loop in this thread, which Django takes for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    return {"executable_path": CHROMIUM, "args": ARGUMENTS}


@pytest.fixture
def logging_as_it_is() -> Iterator[None]:
    """For tests that run the settings again, which would part later tests from their logs."""
    kept = structlog.get_config()
    yield
    structlog.configure(**kept)


@pytest.fixture
def site(live_server: LiveServer) -> str:
    """The address of the running site, which uses the test's database."""
    address: str = live_server.url
    return address


@pytest.fixture
def clean(page: Page) -> Iterator[Page]:
    """A page that must not log errors; violations of the content security policy are errors."""
    errors: list[str] = []

    def collect(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    page.on("console", collect)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []


@pytest.fixture
def signed_in(clean: Page, site: str, client: Client) -> Page:
    """The same for a user who may run backtests."""
    client.force_login(a_user())
    session = client.cookies["sessionid"].value
    clean.context.add_cookies([{"name": "sessionid", "value": session, "url": site}])
    return clean
