"""A few hundred settled markets with a quote a day before their close, for pages and pictures."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from model_bakery import baker

from markets.models import Event, FeeChange, Market, MarketRevision, MarketSnapshot, Series
from markets.tests.factories import CENT_GRID, a_snapshot

CATEGORIES = {"KXRAIN": "Climate and Weather", "KXBALL": "Sports", "KXRATE": "Economics"}
EACH = 4  # markets of an event
START = datetime(2026, 8, 1, tzinfo=UTC)


def make_settled_markets(events: int, *, seed: int = 5) -> None:
    """Store events of four markets, whose longshots come true less often than they cost."""
    chance = random.Random(seed)
    series = [_series(ticker, category) for ticker, category in CATEGORIES.items()]
    made = Event.objects.bulk_create(
        Event(
            ticker=f"{of.ticker}-{number:04}",
            series=of,
            title=f"{of.title} {number}",
            recorded_at=START,
        )
        for number, of in ((n, series[n % len(series)]) for n in range(events))
    )
    markets, quotes = [], []
    for number, event in enumerate(made):
        closes = START + timedelta(days=3 + number * 60 / events, minutes=chance.randrange(600))
        prices = [chance.betavariate(0.7, 0.9) for _ in range(EACH)]
        markets += [_market(event, n, p, closes, chance) for n, p in enumerate(prices)]
        quotes += [(p, closes) for p in prices]
    Market.objects.bulk_create(markets)
    MarketRevision.objects.bulk_create(
        MarketRevision(
            market=market,
            status="active",
            open_time=market.open_time,
            close_time=market.close_time,
            known_at=START,
            recorded_at=START,
        )
        for market in markets
    )
    MarketSnapshot.objects.bulk_create(
        _quote(market, price, closes, chance)
        for market, (price, closes) in zip(markets, quotes, strict=True)
    )


def _series(ticker: str, category: str) -> Series:
    series: Series = baker.make(Series, ticker=ticker, title=category, category=category)
    baker.make(
        FeeChange,
        series=series,
        fee_type="quadratic",
        fee_multiplier=1,
        effective_at=START,
        known_at=START,
        recorded_at=START,
    )
    return series


def _market(
    event: Event, number: int, price: float, closes: datetime, chance: random.Random
) -> Market:
    likely = price - 0.06 * (1 - price) if price < 0.3 else price + 0.02 * (1 - price)
    return Market(
        ticker=f"{event.ticker}-T{number}",
        event=event,
        yes_sub_title=f"Outcome {number}",
        status="finalized",
        result="yes" if chance.random() < likely else "no",
        open_time=closes - timedelta(days=2),
        close_time=closes,
        settlement_ts=closes + timedelta(hours=1),
        price_ranges=CENT_GRID,
        raw_data={},
        definition_mark=0,
        recorded_at=closes,
    )


def _quote(market: Market, price: float, closes: datetime, chance: random.Random) -> MarketSnapshot:
    width = chance.choice((1, 1, 2, 2, 4, 14))
    bid = min(max(round(100 * price) - width // 2, 1), 98 - width)
    ask = None if chance.random() < 0.05 else Decimal(bid + width) / 100
    at = closes - timedelta(days=1, minutes=chance.randrange(50))
    return a_snapshot(market, at, yes_bid=Decimal(bid) / 100, yes_ask=ask)
