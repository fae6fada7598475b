"""No page and no endpoint is broken by a word that was recorded, whatever it is.

Tickers are checked before they are recorded. Those of older versions were not, and titles, rules,
categories and names can be any text.
"""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urldefrag, urljoin

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils.http import urlencode
from model_bakery import baker

from backtests.models import BacktestResult
from backtests.tests.factories import a_backtest, a_fill
from markets.models import (
    Drift,
    Event,
    EventRevision,
    FeeChange,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Poll,
    Series,
)
from markets.tests.factories import a_snapshot, a_sweep, a_trade

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:No directory at")]

NOW = datetime.now(UTC)
TICKERS = (
    "KXA/B-1",
    "/KXA//",
    "..",
    "../../admin",
    ".",
    " ",
    "KX A",
    "KX\nA",
    "KX\r\nX-Header: 1",
    "KX\x07A",
    "KX?page=2",
    "KX#rows",
    "KX%2FA",
    "100%",
    "KX&status=all",
    "KX,KY",
    "KX+Y",
    "\\KX\\",
    "chart.json",
    "KX/chart.json",
    "KX\u00e9\u202e\U0001f600",
    '"><script>alert(1)</script>',
    "{{ 7|add:7 }}{% now %}",
    "=cmd|' /C calc'!A0",
    "K" * 200,
)
TEXTS = (
    "</script><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "{% url 'nowhere' %}{{ 7|add:7 }}",
    "\u202eright to left\u202c \U0001f600 e\u0301",
    "a\r\nb\tc\x0b\x1f\x7f\u2028\ufeff",
    "%s %(name)s %% {} {0}",
    "a&b=c#d?e/f+g;h,i",
    "x" * 2_000,
    "=1+1",
    "\\u0000 NULL 0x00",
    " ",
)
# Where a page is asked for a fragment of itself.
TARGETS = ("rows", "results", "quote", "history", "recording", "runs", "result")
FORMATS = ("csv", "parquet", "arrow", "columns")
HREF = re.compile(r'(?:href|hx-get|data-url|action)="([^"]*)"')


@pytest.fixture
def recorded() -> None:
    """One of everything under each hostile ticker, its texts hostile in turn."""
    baker.make(Poll, started_at=NOW, finished_at=NOW, error=TEXTS[0], warning=TEXTS[4])
    a_sweep("hot", NOW, skipped=list(TICKERS))
    for number, ticker in enumerate(TICKERS):
        record(ticker, TEXTS[number % len(TEXTS)])
        Drift.objects.create(
            kind="shape", where=ticker, first_seen_at=NOW, last_seen_at=NOW, sample=TEXTS[0]
        )


def record(ticker: str, text: str) -> None:
    series = Series.objects.create(
        ticker=ticker,
        title=text,
        category=text[:200],
        tags=[text, ticker],
        frequency=text[:100],
        fee_type=text[:100],
        settlement_sources=[{"name": text, "url": "javascript:alert(1)"}],
        contract_url=text,
        refreshed_at=NOW,
    )
    event = Event.objects.create(
        ticker=ticker,
        series=series,
        title=text,
        sub_title=text,
        strike_period=text[:200],
        collateral_return_type=text[:50],
        recorded_at=NOW,
    )
    market = a_hostile_market(ticker, event, text)
    # Siblings link to each other, and one may be harmless.
    a_hostile_market(f"KXGOOD-{event.pk}", event, text)
    known: dict[str, Any] = {"known_at": NOW - timedelta(days=1), "recorded_at": NOW}
    baker.make(EventRevision, event=event, title=text, sub_title=text, **known)
    baker.make(
        MarketRevision, market=market, status="active", result=text[:50], open_time=None, **known
    )
    baker.make(FeeChange, series=series, fee_type=text[:100], effective_at=NOW, **known)
    snapshot = a_snapshot(market, NOW, yes_bid=Decimal("0.42"), raw_data={text[:90]: text})
    snapshot.save()
    baker.make(
        OrderBookSnapshot,
        market=market,
        timestamp=NOW,
        bid_prices=[Decimal("0.42")],
        bid_sizes=[Decimal(3)],
        ask_prices=[],
        ask_sizes=[],
    )
    a_trade(market, NOW, ticker)
    result = a_backtest(series=[ticker], tickers=[ticker, text[:200]], strategy=text[:100])
    a_fill(result, ticker=ticker)


def a_hostile_market(ticker: str, event: Event, text: str) -> Market:
    market: Market = baker.make(
        Market,
        ticker=ticker,
        event=event,
        title=text,
        yes_sub_title=text,
        no_sub_title=text,
        rules_primary=text,
        rules_secondary=text,
        status="active",
        result=text[:50],
        strike_type=text[:50],
        price_level_structure=text[:100],
        price_ranges=[],
        raw_data={"title": text},
        definition_mark=0,
        recorded_at=NOW,
        quoted_at=NOW,
        yes_bid=Decimal("0.42"),
    )
    return market


# --- every address ------------------------------------------------------------------------------


def patterns(
    resolver: URLResolver, namespaces: tuple[str, ...] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the parameters of every address of the site."""
    inner = (*namespaces, resolver.namespace) if resolver.namespace else namespaces
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from patterns(entry, inner)
        elif entry.name:
            yield ":".join((*inner, entry.name)), parameters(entry)


def parameters(entry: URLPattern) -> list[str]:
    converters = getattr(entry.pattern, "converters", {})
    return list(converters or entry.pattern.regex.groupindex)


PATTERNS = sorted(
    (name, tuple(names))
    for name, names in patterns(get_resolver())
    # The admin's pages of models are looked at by model.
    if not name.startswith("admin:") or not names
)


PARTS = ("api:", "admin:", "markets:", "backtests:", "account")


def values(name: str, parameter: str) -> list[Any]:
    """Return the values of a parameter that name something on record."""
    found: dict[str, list[Any]] = {
        "ticker": [*TICKERS, "KXGOOD"],
        "uuid": list(MarketSnapshot.objects.values_list("pk", flat=True)),
        "name": ["fade-longshots", "=1+1"],
        # A link to a new password, which is not one of ours.
        "uidb36": ["1"],
        "key": ["set-password"],
    }
    if parameter == "id":
        model = Poll if "poll" in name else BacktestResult
        return list(model._default_manager.values_list("pk", flat=True))
    return found[parameter]


def addresses(name: str, names: tuple[str, ...]) -> Iterator[str]:
    if not names:
        yield reverse(name)
        return
    for given in zip(*(values(name, parameter) for parameter in names), strict=True):
        # A segment of the API's addresses has no slash; see the test of those below.
        if not (name.startswith("api:") and "/" in str(given)):
            yield reverse(name, kwargs=dict(zip(names, given, strict=True)))


def queries(name: str, names: tuple[str, ...], number: int) -> Iterator[str]:
    """Yield a format of a time series, each in its turn, or the words of a list."""
    if name.startswith("api:market-") and names:
        yield f"?{urlencode({'format': FORMATS[number // 2 % len(FORMATS)]})}"
    elif not names and not name.startswith("admin:"):
        for word in (*TICKERS[:4], *TICKERS[7:12], TEXTS[0], TEXTS[4]):
            yield f"?{urlencode(dict.fromkeys(('q', 'event', 'series', 'category'), word))}"


def body(response: Any) -> bytes:
    """Read a response to its end, where a stream would break."""
    return b"".join(response.streaming_content) if response.streaming else response.content


def test_the_addresses_of_the_site_are_found() -> None:
    names = {name for name, _ in PATTERNS}
    assert names > {
        "markets:detail",
        "markets:chart",
        "backtests:detail",
        "api:market-candlesticks",
    }
    assert names > {"api:event-detail", "api:series-detail", "markets:recorder", "admin:index"}
    assert all(name.startswith(PARTS) for name in names)


@pytest.mark.parametrize("part", PARTS)
def test_no_address_is_broken_by_what_is_recorded(
    part: str, recorded: None, admin_client: Client
) -> None:
    for place, (name, names) in enumerate(PATTERNS):
        found = list(enumerate(addresses(name, names) if name.startswith(part) else ()))
        # Each ticker meets every second address, and each address every second ticker.
        for number, address in found[place % 2 :: 2] if names else found:
            for query in ("", *queries(name, names, number)):
                check(admin_client.get(f"{address}{query}"), address + query)
            # Pages answer with fragments of themselves, each asked for in its turn.
            if part in ("markets:", "backtests:"):
                for target in TARGETS[number % 3 :: 3] if names else TARGETS:
                    headers = {"HX-Request": "true", "HX-Target": target}
                    check(admin_client.get(address, headers=headers), f"{address} #{target}")


def check(response: Any, what: str) -> None:
    assert response.status_code < 500, what
    content = body(response)
    if response["Content-Type"].startswith("text/html"):
        assert b"<script>alert" not in content, what
        assert b'" onmouseover="alert' not in content, what


def test_no_page_of_the_admin_is_broken_by_what_is_recorded(
    recorded: None, admin_client: Client
) -> None:
    for number, model in enumerate(admin.site._registry):
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for word in ("", TICKERS[0], TICKERS[9], TEXTS[0]):
            address = f"{reverse(f'{name}_changelist')}?{urlencode({'q': word})}"
            check(admin_client.get(address), address)
        # Each text meets every third model; all of them together meet all of it.
        for row in list(model._default_manager.all()[: len(TEXTS)])[number % 3 :: 3]:
            address = reverse(f"{name}_change", args=[row.pk])
            check(admin_client.get(address), address)


def test_every_market_has_its_page_and_its_chart(recorded: None, client: Client) -> None:
    for ticker in TICKERS:
        page = client.get(Market.objects.get(ticker=ticker).get_absolute_url())
        assert page.status_code == 200
        assert html.escape(ticker) in page.content.decode()
        assert client.get(reverse("markets:chart", args=[ticker])).json()["bid"] == [0.42]


def test_every_link_of_a_list_and_of_its_markets_leads_somewhere(
    recorded: None, client: Client
) -> None:
    lists = ("/markets/?status=all", "/markets/?status=all&page=2", "/recorder/", "/backtests/")
    near = {link for page in lists for link in links(client, page)}
    markets = {link for link in near if link.startswith("/markets/") and "?" not in link}
    assert len(markets) > len(TICKERS)
    hostile = sorted(link for link in markets if "KXGOOD" not in link)
    for address in near.union(*(links(client, market) for market in hostile[::2])):
        assert client.get(address, follow=True).status_code == 200, address


def links(client: Client, page: str) -> set[str]:
    """Return where a page leads on this site, as a browser would resolve it."""
    found = map(html.unescape, HREF.findall(client.get(page, follow=True).content.decode()))
    resolved = (urldefrag(urljoin(page, link)).url for link in found)
    return {link for link in resolved if link.startswith("/") and not link.startswith("/static/")}


def test_the_api_lists_a_ticker_with_a_slash_and_has_no_address_for_it(
    recorded: None, client: Client
) -> None:
    for ticker in (ticker for ticker in TICKERS if "/" in ticker):
        for resource in ("series", "events", "markets"):
            listed = client.get(f"/api/v1/{resource}/", {"limit": 1000}).json()["results"]
            assert ticker in {row["ticker"] for row in listed}
            response = client.get(f"/api/v1/{resource}/{ticker}/")
            assert response.status_code in (301, 404), ticker
