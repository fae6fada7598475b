"""The candlesticks and the tape behind the quotes of a run, as loaded from the record."""

from decimal import Decimal

import pytest

from backtests.data.universe import microseconds
from backtests.tests.record_builders import (
    END,
    HOUR,
    MINUTE,
    START,
    load_universe,
    record_market,
    record_quote,
    record_revision,
)
from markets.models import Candlestick, Source

pytestmark = pytest.mark.django_db

T = START + HOUR


@pytest.fixture
def market():
    market = record_market()
    record_revision(market, START)
    return market


def candle(market, at, low="0.4100", high="0.4400", *, volume="12.50", period=1, recorded_at=END):
    Candlestick.objects.create(
        market=market,
        period_interval=period,
        end_period_ts=at,
        price_low=low and Decimal(low),
        price_high=high and Decimal(high),
        volume=Decimal(volume),
        recorded_at=recorded_at,
    )


def backfilled(market, at):
    record_quote(market, at, source=Source.BACKFILL, yes_bid_size=None, yes_ask_size=None)


def loaded(*markets, **others):
    """Market, begin, end, low, high and contracts of each candlestick of a universe."""
    candles = load_universe(*markets, **others).known_candles()
    columns = (column.tolist() for column in candles[1:])
    owners = [
        m for m, n in enumerate((candles.spans[1:] - candles.spans[:-1]).tolist()) for _ in range(n)
    ]
    return list(zip(owners, *columns, strict=True))


class TestCandlesticks:
    def test_those_behind_backfilled_quotes_tell_what_traded_at_which_prices(self, market):
        for n in range(3):
            backfilled(market, T + n * MINUTE)
            candle(market, T + n * MINUTE, volume="0" if n == 1 else "12.50")
        begun = [microseconds(T + n * MINUTE) for n in (-1, 1)]
        ended = [microseconds(T + n * MINUTE) for n in (0, 2)]
        assert loaded(market) == [
            (0, since, at, 4_100, 4_400, 1_250) for since, at in zip(begun, ended, strict=True)
        ]

    def test_of_those_that_end_together_the_shortest_counts(self, market):
        backfilled(market, T)
        candle(market, T, period=60, low="0.1000")
        candle(market, T, volume="0", low=None, high=None)
        assert loaded(market) == []

    def test_quotes_that_were_recorded_live_have_none(self, market):
        record_quote(market, T)
        candle(market, T)
        assert loaded(market) == []

    def test_what_was_recorded_later_is_not_known(self, market):
        backfilled(market, T)
        candle(market, T, recorded_at=END + 10 * HOUR)
        assert loaded(market) == []

    def test_markets_keep_their_own(self):
        markets = [record_market(f"KXRAIN-26OCT02-{n}") for n in range(2)]
        for n, market in enumerate(markets):
            record_revision(market, START)
            backfilled(market, T)
            candle(market, T, low=f"0.4{n}00")
        assert [(owner, low) for owner, _, _, low, *_ in loaded(*reversed(markets))] == [
            (0, 4_000),
            (1, 4_100),
        ]
