"""A browser for the tests that need one: Debian's Chromium, driven by Playwright."""

import os
import shutil

import pytest

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
