"""The record, the runs and the files that the screenshots show."""

import math
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from model_bakery import baker

from backtests import runner
from backtests.models import BacktestResult, Search
from backtests.requests import BacktestRequest, MarketSelection, submit
from backtests.rules.execution import ExecutionModel
from backtests.searches import runner as searches
from backtests.searches.requests import SearchRequest, store
from backtests.tests.factories import a_backtest, a_revision
from backtests.tests.own_strategies import write
from backtests.tests.record_builders import record_passes
from markets.intervals import Interval
from markets.models import (
    DiskUsage,
    Drift,
    FeeChange,
    Market,
    MarketSnapshot,
    Poll,
    Series,
    TapeDay,
    TapeSpan,
)
from markets.models.tape import Proof
from markets.models.trades import TakerSide
from markets.tests.factories import a_market, a_snapshot, a_sweep, a_trade, an_event

STAR = "KXHIGHNY-26NOV21-B52.5"
LOGGED = "KXRAINLOG-26NOV30-T2"
OWN_STRATEGY = '''\
"""Buys NO of towns where rain is dear, and says why."""

from typing import ClassVar

from backtests.strategies.base import CONTRACTS, Parameter, Schema, Strategy, bt


class TownMaker(Strategy):
    name = "town-maker"
    version = "3"
    summary = "Buys NO of towns where rain costs more than it should."
    schema: ClassVar[Schema] = {
        "fair": Parameter(
            default=0.15, least=0.0, most=1.0, unit="dollars",
            help="What rain in a town is worth, whatever the forecast says.",
        ),
        "contracts": CONTRACTS,
    }
    analyzers: ClassVar = {
        "trades": bt.analyzers.TradeAnalyzer,
        "drawdown": bt.analyzers.DrawDown,
    }

    def start(self):
        self.sent = set()

    def next(self):
        for feed in self.fresh:
            self.plot("fair value", feed, self.p.fair)
            self.state_probability(feed, self.p.fair / 2)
            if feed.listing.ticker in self.sent or feed.bid[0] < self.p.fair:
                continue
            self.sent.add(feed.listing.ticker)
            cents = 100 * (feed.bid[0] - self.p.fair)
            reason = f"the bid is {cents:.0f} cents above the fair value"
            self.sell(data=feed, size=self.p.contracts, reason=reason)
'''
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


def record_towns() -> datetime:
    """Record five days of towns with two outages, of ten minutes and of two hours."""
    start = datetime.now(UTC) - timedelta(days=5)
    recorded_longshots(random.Random(3), start)
    hours = [timedelta(hours=each) for each in (-3, 30, 30 + 1 / 6, 70, 72, 120)]
    for began, ended in zip(hours[::2], hours[1::2], strict=True):
        record_passes(start + began, start + ended)
    return start


def run_backtests(user: User) -> dict[str, int]:
    """Create a finished, a failed and a running backtest, and return their ids."""
    start, now = record_towns(), datetime.now(UTC)
    selection = MarketSelection(series=["KXTOWN"], start=start, end=now - timedelta(hours=6))
    for name, execution in (
        ("mean-reversion", ExecutionModel(make=True)),
        ("fade-longshots", ExecutionModel(make=True, latency_seconds=1.5)),
    ):
        request = BacktestRequest(strategy=name, selection=selection, execution=execution)
        done = submit(request, user=user, now=now)
        runner.run(done.pk)
    words: dict[str, Any] = {"series": ["KXTOWN"], "user": user}
    failed = a_backtest(
        "failed",
        strategy="momentum",
        error="The strategy raised ZeroDivisionError: division by zero (momentum.py, line 31)",
        **words,
    )
    doing = "running it with fewest fills"
    running = a_backtest("running", strategy="favourite-hold", progress=0.62, doing=doing, **words)
    return {"done": done.pk, "failed": failed.pk, "running": running.pk}


def run_searches(user: User) -> dict[str, int]:
    """Create a finished, a failed and a running search, and return their ids."""
    start, now = record_towns(), datetime.now(UTC)
    selection = MarketSelection(series=["KXTOWN"], start=start, end=now - timedelta(hours=6))
    varied = {"ceiling": "0.1:0.4:0.05", "belief": "0.5:1.1:0.1", "contracts": [5, 10]}
    run = BacktestRequest(strategy="fade-longshots", selection=selection)
    request = SearchRequest(run=run, varied=varied, folds=3)
    done, running, failed = (store(request, user=user, now=now) for _ in range(3))
    while searches.run_chunk(done.pk):
        pass
    for _ in range(3):
        searches.run_chunk(running.pk)
    Search.objects.fail(failed.pk, "The worker ended in the middle of chunk 3, twice.", now=now)
    return {"done": done.pk, "failed": failed.pk, "running": running.pk}


# --- strategies and data of one's own -------------------------------------------------------------


def run_own_strategy(folder: Path) -> int:
    """Install a strategy that works and one that does not, and return the first one's result."""
    folder.mkdir(mode=0o755)
    path = write(folder, "town_maker.py", OWN_STRATEGY)
    write(folder, "town_broken.py", "import numpyy\n")
    start = record_towns()
    events = [f"KXTOWN-{number}" for number in range(0, 60, 3)]
    call_command(
        "runbacktest", "--file", str(path), "--event", *events, "--start", start.isoformat(),
        stdout=StringIO(),
    )  # fmt: skip
    return BacktestResult.objects.get().pk


def import_logs(folder: Path) -> None:
    """Import a week of a bot's quotes and trades, and a file of which rows are refused."""
    chance, now = random.Random(11), datetime.now(UTC)
    price, quotes, trades = (
        0.4,
        ["ticker,timestamp,yes_bid,yes_ask"],
        ["ticker,timestamp,price,count"],
    )
    for minute in range(0, 7 * 1_440, 5):
        price = min(max(price + chance.gauss(0, 0.012), 0.05), 0.95)
        at = (now - timedelta(days=7) + timedelta(minutes=minute)).isoformat(timespec="seconds")
        quotes.append(f"{LOGGED},{at},{price - 0.02:.2f},{price + 0.02:.2f}")
        if minute % 60 == 0:
            trades.append(f"{LOGGED},{at},{price:.2f},{chance.randrange(1, 90)}")
    late = [*quotes[:200], f"{LOGGED},yesterday,0.40,0.44", f"{LOGGED},{at},0.60,0.40"]
    for kind, name, rows in (
        ("quotes", "bot-2026-11.csv", quotes),
        ("trades", "bot-trades-2026-11.csv", trades),
        ("quotes", "a-friends-very-long-name-of-a-file-with-quotes-of-rain.csv", late),
    ):
        path = write(folder, name, "\n".join([*rows, ""]))
        call_command("importdata", kind, str(path), stdout=StringIO())
