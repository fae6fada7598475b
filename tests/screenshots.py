"""Screenshots of the pages in light and dark, wide and narrow, in `var/screenshots/`.

Run `pytest tests/screenshots.py`; its name keeps it out of the ordinary test run.
"""

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from model_bakery import baker
from playwright.sync_api import Browser, Page

from accounts.models import ApiToken
from accounts.tests.factories import a_token
from backtests import runner
from backtests.requests import BacktestRequest, MarketSelection, submit
from backtests.rules.execution import ExecutionModel
from backtests.searches import runner as searches
from backtests.searches.requests import SearchRequest, store
from backtests.tests.factories import a_backtest, a_revision
from backtests.tests.record_builders import record_passes
from markets.intervals import Interval
from markets.models import (
    DiskUsage,
    Drift,
    FeeChange,
    Market,
    MarketHour,
    MarketSnapshot,
    Poll,
    Series,
    TapeDay,
    TapeSpan,
)
from markets.models.tape import Proof
from markets.models.trades import TakerSide
from markets.tests.factories import a_market, a_snapshot, a_sweep, a_trade, an_event
from markets.tests.settled_markets import make_settled_markets

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:No directory at"),
]

FOLDER = settings.BASE_DIR / "var" / "screenshots"
STAR = "KXHIGHNY-26NOV21-B52.5"
EVENTS = [
    (
        "KXHIGHNY-26NOV21",
        "Highest temperature in New York on 21 November",
        "Climate and Weather",
        [(f"B{t}.5", f"{t}° to {t + 1}°") for t in range(46, 58, 2)],
    ),
    (
        "KXFED-26DEC",
        "Fed funds rate after the December meeting",
        "Economics",
        [("T3.25", "Above 3.25%"), ("T3.50", "Above 3.50%"), ("T3.75", "Above 3.75%")],
    ),
    (
        "KXBTCD-26NOV2117",
        "Bitcoin price on 21 November at 5pm EST",
        "Crypto",
        [(f"T{n}", f"${n:,} or above") for n in range(88_000, 100_000, 1_500)],
    ),
    (
        "KXCPIYOY-26NOV",
        "Inflation over the year to November",
        "Economics",
        [(f"T{n}", f"Above {n}%") for n in ("2.6", "2.8", "3.0", "3.2")],
    ),
    (
        "KXNFLGAME-26NOV22BUFKC",
        "Buffalo at Kansas City",
        "Sports",
        [("BUF", "Buffalo"), ("KC", "Kansas City")],
    ),
    (
        "KXSENATEGA-28",
        "Party to win the Georgia senate seat",
        "Elections",
        [("D", "Democratic"), ("R", "Republican"), ("I", "Independent")],
    ),
    (
        "KXRAINSEA-26NOV",
        "Rain in Seattle this month",
        "Climate and Weather",
        [(f"T{n}", f"More than {n} inches") for n in range(4, 9)],
    ),
    (
        "KXGDP-26Q4",
        "Real GDP growth in the fourth quarter",
        "Economics",
        [(f"T{n}", f"Above {n}%") for n in ("1.0", "2.0", "3.0")],
    ),
    (
        "KXOSCARPIC-27",
        "Best picture at the Academy Awards",
        "Entertainment",
        [
            (f"N{n}", name)
            for n, name in enumerate(
                ("The Long Harvest", "Meridian", "A Quiet Coast", "Paper Lanterns")
            )
        ],
    ),
]


def populate() -> None:
    chance = random.Random(7)
    now = datetime.now(UTC)
    for ticker, title, category, outcomes in EVENTS:
        event = an_event(title, ticker=ticker, category=category)
        event.series.title = title.split(" on ")[0]
        event.series.fee_type, event.series.fee_multiplier = "quadratic", 1
        event.series.save()
        event.mutually_exclusive = not outcomes[0][0].startswith("T")
        event.save()
        closes = now + timedelta(
            hours=chance.choice((3, 9, 20, 70, 400, 5000)), minutes=chance.randrange(60)
        )
        for place, (suffix, name) in enumerate(outcomes):
            likely = math.exp(-(((place + 0.5) / len(outcomes) - 0.45) ** 2) * 9) * 0.8
            a_quoted_market(chance, event, suffix, name=name, likely=likely, closes=closes)
    runs = []
    for tick in range(0, 86_400, 5):
        if not 30_000 < tick < 36_000:
            runs.append(a_run_at(now - timedelta(seconds=tick + 0.5), chance))
    Poll.objects.bulk_create(runs)
    a_sweep("universe", now - timedelta(seconds=24), markets=79_812)
    a_sweep("hot", now - timedelta(seconds=2), markets=500)
    a_sweep("order books", now - timedelta(seconds=21), markets=50)
    sizes = {
        "markets_marketsnapshot": 31_400_000_000,
        "markets_market": 412_000_000,
        "markets_payloadblock": 291_000_000,
        "markets_orderbooksnapshot": 188_000_000,
    }
    for hours, share in ((24, 0.92), (0, 1)):
        held = {table: round(size * share) for table, size in sizes.items()}
        DiskUsage.objects.create(
            measured_at=now - timedelta(hours=hours),
            sizes=held,
            grown=held,
            free_bytes=160_000_000_000,
        )
    Drift.objects.create(
        kind=Drift.Departure.FIELD,
        where="market.settlement_floor_note",
        first_seen_at=now - timedelta(days=2),
        last_seen_at=now - timedelta(seconds=40),
        count=18_204,
        sample="null",
    )
    star = Market.objects.get(ticker=STAR)
    walk(star, chance, now)
    record_trades(star, chance, now)


def a_run_at(at: datetime, chance: random.Random) -> Poll:
    return Poll(
        ages={
            "hot": {"p50": 4.98, "p95": 5.02, "max": 5.03},
            "universe": {"p50": 31.2, "p95": 34.9, "max": 36.4},
            "order books": {"p50": 49.9, "p95": 50.2, "max": 50.2},
        },
        started_at=at,
        finished_at=at + timedelta(seconds=chance.uniform(0.6, 1.1)),
        markets=chance.randrange(900, 2400),
        snapshots=chance.randrange(20, 300),
        requests=chance.randrange(5, 12),
    )


def a_quoted_market(chance, event, suffix, *, name, likely, closes) -> None:
    mid = round(min(max(likely * chance.uniform(0.7, 1.2), 0.02), 0.97), 2)
    width = chance.choice((0.01, 0.01, 0.01, 0.02, 0.03, 0.06, 0.14))
    bid, ask = max(mid - width / 2, 0.01), min(mid + width / 2, 0.99)
    traded = mid + chance.uniform(-0.02, 0.02)
    busy = Decimal(int(chance.paretovariate(0.6) * 120))
    one_sided = chance.random()
    a_market(
        f"{event.ticker}-{suffix}",
        event=event,
        yes_sub_title=name,
        yes_bid=None if one_sided < 0.08 else Decimal(f"{bid:.2f}"),
        yes_ask=None if one_sided > 0.92 else Decimal(f"{ask:.2f}"),
        last_price=Decimal(f"{min(max(traded, 0.01), 0.99):.2f}"),
        previous_price=Decimal(f"{min(max(traded + chance.gauss(0, 0.04), 0.01), 0.99):.2f}"),
        volume_24h=busy,
        volume=busy * 7,
        open_interest=busy * 3,
        close_time=closes,
        is_hot=busy > 1000,
        quoted_at=datetime.now(UTC) - timedelta(seconds=chance.randrange(2, 3000)),
        rules_primary="Resolves to Yes if the official report of that day says so.",
        can_close_early=True,
        expected_expiration_time=closes + timedelta(hours=2),
        latest_expiration_time=closes + timedelta(days=7),
    )


def walk(market: Market, chance: random.Random, now: datetime) -> None:
    """Store a day of quotes about every minute, with a gap in the recording."""
    price, width, volume, observed = 0.31, 0.02, 40_000.0, []
    for second in range(86_400, 0, -45):
        price = min(max(price + chance.gauss(0, 0.004) + 0.00006, 0.03), 0.95)
        width = 0.02 if chance.random() < 0.9 else chance.choice((0.01, 0.03, 0.05))
        volume += max(0, chance.gauss(-10, 60))
        if 30_000 < second < 36_000:
            continue
        at = now - timedelta(seconds=second)
        quote = {
            "yes_bid": Decimal(f"{price - width / 2:.2f}"),
            "yes_ask": Decimal(f"{price + width / 2 + 0.001:.2f}"),
            "last_price": Decimal(f"{price + chance.uniform(-1, 1) * width / 2:.2f}"),
            "volume": Decimal(int(volume)),
        }
        observed.append(a_snapshot(market, at, **quote))
    MarketSnapshot.objects.bulk_create(observed)
    Market.objects.filter(pk=market.pk).update(
        quoted_at=at, previous_price=Decimal("0.31"), volume_24h=Decimal(18_250), **quote
    )


def record_trades(market: Market, chance: random.Random, now: datetime) -> None:
    """Store an hour of trades, and a tape of two days that was not read for two minutes."""
    for n in range(40):
        a_trade(
            market,
            now - timedelta(seconds=90 * n + chance.randrange(60)),
            f"{market.ticker} {n}",
            contracts=100 * chance.randrange(1, 60) + 50 * (n % 7 == 0),
            price=100 * chance.randrange(18, 22),
            taker_side=chance.choice([TakerSide.YES, TakerSide.NO]),
            is_block_trade=n == 12,
        )
    hours = [timedelta(hours=each) for each in (48, 9.5, 9.5 - 1 / 30)]
    read, missed, joined_at = (now - each for each in hours)
    TapeSpan.objects.mark(Interval(read, missed), TapeSpan(is_whole=True, proof=Proof.JOINED))
    TapeSpan.objects.mark_open(Interval(missed, joined_at), tried_at=now - timedelta(minutes=4))
    TapeSpan.objects.mark(Interval(joined_at, now), TapeSpan(is_whole=True, proof=Proof.JOINED))
    for days, markets, agreeing in ((1, 6_208, 6_208), (2, 6_544, 6_541)):
        TapeDay.objects.create(
            day=(now - timedelta(days=days)).date(),
            markets=markets,
            agreeing=agreeing,
            volume=markets * 91_250,
            contracts=markets * 91_250 - (markets - agreeing) * 400,
            share=1.0 if days == 1 else 0.9986,
            compared_at=now - timedelta(days=days - 1, hours=3),
        )


def recorded_longshots(chance: random.Random, start: datetime) -> None:
    """Store four days of forty events a day, each with three markets that mostly end with NO."""
    quotes = []
    for number in range(160):
        opened = start + timedelta(hours=number * 96 / 160)
        closed = opened + timedelta(hours=8)
        event = an_event(f"Rain in town {number}", ticker=f"KXTOWN-{number}")
        event.series, _ = Series.objects.get_or_create(ticker="KXTOWN", title="Rain in towns")
        event.save()
        for place in range(3):
            market = a_market(
                f"{event.ticker}-T{place}", event=event, status="finalized", close_time=closed
            )
            value, happens = chance.uniform(0.03, 0.4), chance.random() < 0.1
            a_revision(market, opened, closed, status="active")
            result = "yes" if happens else "no"
            a_revision(market, opened, closed, status="finalized", result=result, known_at=closed)
            for step in range(48):
                value = min(max(value + chance.gauss(0, 0.01), 0.02), 0.9)
                bid = Decimal(f"{value:.2f}")
                quote = {"yes_bid": bid, "yes_ask": bid + Decimal("0.02")}
                at = opened + timedelta(minutes=10 * step, seconds=number)
                quotes.append(a_snapshot(market, at, yes_bid_size=50, yes_ask_size=50, **quote))
    MarketSnapshot.objects.bulk_create(quotes)
    terms: Any = {"known_at": start, "recorded_at": start, "effective_at": start}
    series = Series.objects.get(ticker="KXTOWN")
    baker.make(FeeChange, series=series, fee_type="quadratic", fee_multiplier=1, **terms)


def run_backtests() -> dict[str, int]:
    """Create a finished, a failed and a running backtest, and return their ids."""
    now = datetime.now(UTC)
    start = now - timedelta(days=5)
    recorded_longshots(random.Random(3), start)
    # Two outages of the recorder, of ten minutes and of two hours.
    hours = [timedelta(hours=each) for each in (-3, 30, 30 + 1 / 6, 70, 72, 120)]
    for began, ended in zip(hours[::2], hours[1::2], strict=True):
        record_passes(start + began, start + ended)
    user = User.objects.create_superuser("ada", password="only for pictures")
    selection = MarketSelection(series=["KXTOWN"], start=start, end=now - timedelta(hours=6))
    for name, execution in (
        ("mean-reversion", ExecutionModel(make=True)),
        ("fade-longshots", ExecutionModel(make=True, latency_seconds=1.5)),
    ):
        request = BacktestRequest(strategy=name, selection=selection, execution=execution)
        done = submit(request, user=user, now=now)
        runner.run(done.pk)
    words = {"series": ["KXTOWN"], "user": user}
    failed = a_backtest(
        "failed",
        strategy="momentum",
        error="The strategy raised ZeroDivisionError: division by zero (momentum.py, line 31)",
        **words,
    )
    doing = "running it with fewest fills"
    running = a_backtest("running", strategy="favourite-hold", progress=0.62, doing=doing, **words)
    return {"done": done.pk, "failed": failed.pk, "running": running.pk}


def run_searches() -> dict[str, int]:
    """Create a finished search and one under way on the markets of `run_backtests`."""
    now = datetime.now(UTC)
    selection = MarketSelection(
        series=["KXTOWN"], start=now - timedelta(days=5), end=now - timedelta(hours=6)
    )
    request = SearchRequest(
        run=BacktestRequest(strategy="fade-longshots", selection=selection),
        varied={"ceiling": "0.1:0.4:0.05", "belief": "0.5:1.1:0.1", "contracts": [5, 10]},
        folds=3,
    )
    done, running = (store(request, user=User.objects.get(), now=now) for _ in range(2))
    while searches.run_chunk(done.pk):
        pass
    for _ in range(3):
        searches.run_chunk(running.pk)
    return {"done": done.pk, "running": running.pk}


def signed_in(page: Page, address: str) -> None:
    page.goto(f"{address}/accounts/sign-in/?next=/markets/")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill("only for pictures")
    page.locator("main").get_by_role("button", name="Sign in").click()


WRONG = "strategy=fade-longshots&tickers=KXNONE-1&params.ceiling=0.3&start=2026-11-20T00:00"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pictures_of_backtests(
    browser: Browser, live_server, theme: Literal["light", "dark"], width: int
) -> None:
    runs = run_backtests()
    found = run_searches()
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=theme, device_scale_factor=1.5
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.goto(f"{live_server.url}/backtests/?status=queued")
    page.screenshot(path=FOLDER / f"backtests-none-{width}-{theme}.png")
    signed_in(page, live_server.url)
    for name, path in {
        "backtests": "/backtests/",
        "backtest-new": "/backtests/new/",
        "backtest-running": f"/backtests/{runs['running']}/",
        "backtest-failed": f"/backtests/{runs['failed']}/",
        "backtest": f"/backtests/{runs['done']}/",
        "searches": "/backtests/searches/",
        "search-new": "/backtests/searches/new/",
        "search-running": f"/backtests/searches/{found['running']}/",
        "search": f"/backtests/searches/{found['done']}/",
    }.items():
        page.goto(live_server.url + path)
        page.wait_for_timeout(700)
        page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=name != "backtests")
    page.goto(f"{live_server.url}/backtests/new/?{WRONG}&execution=1&assumed_size=5")
    page.get_by_role("button", name="Run").click()
    page.wait_for_timeout(500)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=FOLDER / f"backtest-wrong-{width}-{theme}.png", full_page=True)
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pictures_of_calibration(
    browser: Browser, live_server, theme: Literal["light", "dark"], width: int
) -> None:
    cache.clear()
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=theme, device_scale_factor=1.5
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.goto(f"{live_server.url}/calibration/")
    page.screenshot(path=FOLDER / f"calibration-none-{width}-{theme}.png")
    cache.clear()
    make_settled_markets(500)
    for name, query in {
        "calibration": "",
        "calibration-bin": "?bin=2&bins=20",
        "calibration-wrong": "?max_age=old",
    }.items():
        page.goto(f"{live_server.url}/calibration/{query}")
        page.wait_for_timeout(500)
        page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png", full_page=True)
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pictures_of_accounts(
    browser: Browser, live_server, theme: Literal["light", "dark"], width: int
) -> None:
    user = User.objects.create_superuser("ada", password="only for pictures")
    now = datetime.now(UTC)
    for name, scope, days in (("nightly study", "backtest", 90), ("dashboard", "read", 12)):
        a_token(user, scope, name=name, expiry=now + timedelta(days=days))
    a_token(user, "operate", name="old laptop")
    ApiToken.objects.filter(name="nightly study").update(last_used_at=now - timedelta(minutes=3))
    ApiToken.objects.filter(name="old laptop").update(expiry=now - timedelta(days=3))
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=theme, device_scale_factor=1.5
    )
    FOLDER.mkdir(parents=True, exist_ok=True)

    def picture(name: str) -> None:
        page.wait_for_timeout(300)
        page.screenshot(path=FOLDER / f"{name}-{width}-{theme}.png")

    page.goto(f"{live_server.url}/accounts/sign-in/")
    picture("sign-in")
    for _ in range(settings.AXES_FAILURE_LIMIT):
        page.get_by_label("Username").fill("bob")
        page.get_by_label("Password").fill("wrong")
        page.locator("main").get_by_role("button", name="Sign in").click()
        if page.get_by_role("alert").count():
            picture("sign-in-wrong")
    picture("sign-in-locked")
    signed_in(page, live_server.url)
    page.goto(f"{live_server.url}/accounts/tokens/")
    picture("tokens")
    page.get_by_label("Name").fill("a notebook")
    page.get_by_role("button", name="Make a token").click()
    page.locator("#account summary").click()
    picture("token-made")
    page.goto(f"{live_server.url}/accounts/password/")
    picture("password")
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_pictures(
    browser: Browser, live_server, settings, theme: Literal["light", "dark"], width: int
) -> None:
    settings.SIMULATED = True
    populate()
    MarketHour.objects.rebuild(now=datetime.now(UTC))
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=theme, device_scale_factor=2
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, path in {
        "overview": "/",
        "event": "/events/KXHIGHNY-26NOV21/",
        "event-ladder": "/events/KXBTCD-26NOV2117/",
        "markets": "/markets/",
        "markets-filtered": "/markets/?spread_max=0.05&two_sided=true",
        "markets-odd": "/markets/?ordering=price&page=9&q=kx",
        "market": f"/markets/{STAR}/",
        "recorder": "/recorder/",
        "missing": "/markets/KXNONE-1/",
    }.items():
        page.goto(live_server.url + path)
        page.wait_for_load_state("networkidle")
        page.screenshot(
            path=FOLDER / f"{name}-{width}-{theme}.png",
            full_page=name in ("overview", "event", "event-ladder", "market", "recorder"),
        )
    page.close()
