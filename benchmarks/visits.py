"""First visits and refreshes of the pages in Chromium: bytes on the wire, and the first paint.

Without an argument a site of its own is measured, with 2,000 recorded markets. An address measures
a site that runs already, such as `make demo`:

    python -m kalshi_insights.embedded --folder var/bench -- python -m benchmarks.visits ADDRESS
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from playwright.sync_api import Browser, CDPSession, Page, Response, sync_playwright

from benchmarks import measure, titled_universe
from benchmarks.api import running_server
from benchmarks.measure import percentile, report
from tests.conftest import ARGUMENTS, CHROMIUM

MARKETS = 2_000
VISITS = 15
REFRESHES = 10
FIRST_VISIT, REFRESH = 250, 15  # kB
FIRST_PAINT = 400  # milliseconds
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
RESPONSE = "performance.getEntriesByType('navigation')[0].responseEnd"


class Visit(NamedTuple):
    kilobytes: float
    response: float  # milliseconds until the page has arrived
    paint: float


def main() -> None:
    if sys.argv[1:]:
        measure_site(sys.argv[1].rstrip("/"))
        return
    measure.migrate()
    titled_universe.create(MARKETS)
    with running_server() as web:
        measure_site(f"http://127.0.0.1:{web.port}")


def measure_site(site: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        paths = addresses(browser, site)
        # The first visitors find nothing compiled and nothing compressed yet.
        for path in paths:
            visit(browser, site + path)
        for path in paths:
            report_visits(path, [visit(browser, site + path) for _ in range(VISITS)])
        report_refreshes(browser, f"{site}/markets/", "rows")
        report_refreshes(browser, site + paths[1], "quote")
        report_refreshes(browser, f"{site}/recorder/", "runs")
        browser.close()


def addresses(browser: Browser, site: str) -> list[str]:
    """The pages to visit; the first market of the list, and the newest finished backtest if any."""
    with opened(browser) as (page, _):
        page.goto(f"{site}/markets/")
        market = page.locator(".market-link").first.get_attribute("href") or ""
        page.goto(f"{site}/backtests/?status=done")
        results = page.locator(".market-link").all()
        result = [results[0].get_attribute("href") or ""] if results else []
    return ["/markets/", market, *result, "/backtests/", "/recorder/", "/accounts/sign-in/"]


@contextmanager
def opened(browser: Browser) -> Iterator[tuple[Page, CDPSession]]:
    """A page with a cache of its own, and the session that tells of its network."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    yield page, session
    context.close()


def visit(browser: Browser, address: str) -> Visit:
    with opened(browser) as (page, session):
        received = lengths(session)
        page.goto(address)
        page.wait_for_load_state("networkidle")
        paint, response = page.evaluate(PAINT), page.evaluate(RESPONSE)
    return Visit(sum(received) / 1000, response, paint)


def lengths(session: CDPSession) -> list[float]:
    """A list that grows by the bytes of each response, headers included, as it arrives."""
    received: list[float] = []

    def count(event: Any) -> None:
        received.append(event["encodedDataLength"])

    session.on("Network.loadingFinished", count)
    return received


def report_visits(path: str, visits: Sequence[Visit]) -> None:
    paints = [each.paint for each in visits]
    responses = [each.response for each in visits]
    report(
        f"{path[:40]}: first visit, the largest of {len(visits)}",
        f"{max(each.kilobytes for each in visits):.0f} kB",
        target=f"target {FIRST_VISIT} kB",
    )
    report(
        "  first contentful paint, p50",
        f"{percentile(paints, 0.5):.0f} ms",
        ratio=f"p95 {percentile(paints, 0.95):.0f} ms; the page itself arrived after"
        f" {percentile(responses, 0.5):.0f} ms",
        target=f"target {FIRST_PAINT} ms",
    )


def report_refreshes(browser: Browser, address: str, name: str) -> None:
    """Wait for the refreshes of an open page, which come at its own pace."""

    def is_refresh(response: Response) -> bool:
        return response.request.headers.get("hx-target") == name

    with opened(browser) as (page, _):
        page.goto(address)
        sizes = []
        for _ in range(REFRESHES):
            with page.expect_response(is_refresh) as refreshed:
                refreshed.value.finished()
            parts = refreshed.value.request.sizes()
            sizes.append((parts["responseHeadersSize"] + parts["responseBodySize"]) / 1000)
    report(
        f"a refresh of {name}, p50",
        f"{percentile(sizes, 0.5):.1f} kB",
        ratio=f"all: {', '.join(f'{each:.1f}' for each in sizes)}",
        target=f"target {REFRESH} kB",
    )


if __name__ == "__main__":
    main()
