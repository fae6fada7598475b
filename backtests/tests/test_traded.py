"""The candlesticks and the tape behind the quotes of a run, as loaded from the record."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from backtests.data.universe import instant, microseconds
from backtests.tests.record_builders import (
    END,
    HOUR,
    MINUTE,
    START,
    load_universe,
    record_market,
    record_passes,
    record_quote,
    record_revision,
)
from markets.models import (
    BackfillSpan,
    Candlestick,
    HotPeriod,
    Poll,
    Series,
    Source,
    TapeSpan,
    Trade,
    TradeOrigin,
)
from markets.models.trades import TakerSide
from markets.storage import partitions

pytestmark = pytest.mark.django_db

T = START + HOUR


@pytest.fixture
def market():
    market = record_market()
    record_revision(market, START)
    return market


def candle(
    market,
    at,
    low="0.4100",
    high="0.4400",
    *,
    volume="12.50",
    period=1,
    recorded_at=END,
    **quotes,
):
    Candlestick.objects.create(
        market=market,
        period_interval=period,
        end_period_ts=at,
        price_low=low and Decimal(low),
        price_high=high and Decimal(high),
        volume=Decimal(volume),
        recorded_at=recorded_at,
        **{name: Decimal(price) for name, price in quotes.items()},
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
            (0, since, at, 4_100, 4_400, 1_250, -1, -1)
            for since, at in zip(begun, ended, strict=True)
        ]

    def test_of_those_that_end_together_the_shortest_counts(self, market):
        backfilled(market, T)
        candle(market, T, period=60, low="0.1000")
        candle(market, T, volume="0", low=None, high=None)
        assert loaded(market) == []

    def test_a_best_price_that_moved_beyond_its_opening_is_told_though_nothing_traded(self, market):
        moved = [
            {"yes_ask_open": "0.4500", "yes_ask_low": "0.4200"},
            {"yes_ask_low": "0.4200", "yes_bid_open": "0.4000", "yes_bid_high": "0.4100"},
            {"yes_ask_open": "0.4200", "yes_ask_low": "0.4200", "yes_bid_open": "0.4000"},
        ]
        for n, quotes in enumerate(moved):
            backfilled(market, T + n * MINUTE)
            candle(market, T + n * MINUTE, volume="0", low=None, high=None, **quotes)
        told = [columns[3:] for columns in loaded(market)]
        assert told == [(-1, -1, 0, 4_200, -1), (-1, -1, 0, 4_200, 4_100)]

    def test_contracts_without_a_range_of_prices_are_not_told(self, market):
        backfilled(market, T)
        candle(market, T, low=None, yes_ask_low="0.4200")
        [(*_, contracts, ask_low, _)] = loaded(market)
        assert (contracts, ask_low) == (0, 4_200)

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


def trade(market, at, *, price=4_200, contracts=100, side=TakerSide.YES, **others):
    Trade.objects.create(
        trade_id=uuid4(),
        market=market,
        created_time=at,
        known_at=others.pop("known_at", at),
        recorded_at=others.pop("recorded_at", at),
        price=price,
        contracts=contracts,
        taker_side=side,
        source_code=TradeOrigin.TAPE,
        is_block_trade=others.pop("is_block_trade", False),
    )


def span(start, end, **values):
    TapeSpan.objects.create(start=start, end=end, **{"is_whole": True, "proof": "joined", **values})


def trades_of(*markets, **others):
    """Market, instant, price, contracts and taker of each trade of a universe's tape."""
    tape = load_universe(*markets, **others).known_tape()
    columns = (tape.market, tape.at, tape.price, tape.contracts, tape.taker)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.fixture
def trade_days():
    partitions.create_missing(partitions.TRADES, [START.date(), END.date()])


@pytest.mark.usefixtures("trade_days")
class TestTape:
    def test_trades_count_where_the_tape_is_whole(self, market):
        record_quote(market, T)
        span(T, T + HOUR)
        span(T + HOUR, T + 2 * HOUR, is_whole=False)
        trade(market, T + MINUTE, side=TakerSide.NO)
        trade(market, T + HOUR + MINUTE)
        assert trades_of(market) == [(0, microseconds(T + MINUTE), 4_200, 100, -1)]

    def test_what_was_negotiated_is_not_among_them(self, market):
        record_quote(market, T)
        span(T, T + HOUR)
        trade(market, T + MINUTE, is_block_trade=True)
        assert trades_of(market) == []

    def test_the_tape_tells_of_a_market_from_its_first_live_quote_on(self, market):
        record_quote(market, T + 2 * MINUTE)
        span(T, T + HOUR)
        trade(market, T + MINUTE)
        trade(market, T + 3 * MINUTE)
        tape = load_universe(market).known_tape()
        assert tape.at.tolist() == [microseconds(T + 3 * MINUTE)]
        assert tape.since.tolist() == [microseconds(T + 2 * MINUTE)]

    def test_a_market_of_which_all_trades_were_fetched_needs_no_tape(self, market):
        record_quote(market, T + 2 * MINUTE)
        BackfillSpan.objects.create(
            market=market, kind="trades", start=T, end=T + HOUR, finished_at=END, done_until=END
        )
        trade(market, T + MINUTE)
        assert len(trades_of(market)) == 1

    def test_a_second_around_a_trade_that_was_recorded_later_is_not_whole(self, market):
        record_quote(market, T)
        span(T, T + HOUR)
        late, second = T + 2 * MINUTE, timedelta(seconds=1)
        trade(market, T + MINUTE)
        trade(market, late, recorded_at=END + 10 * HOUR)
        trade(market, late + second)
        trade(market, T + 3 * MINUTE)
        tape = load_universe(market).known_tape()
        assert tape.at.tolist() == [microseconds(T + n * MINUTE) for n in (1, 3)]
        assert tape.since.tolist() == [microseconds(T), microseconds(late + second) + 1]
        assert tape.until.tolist() == [
            microseconds(late - second) - 1,
            microseconds(T + HOUR) - 1,
        ]

    def test_what_was_read_later_is_no_evidence_for_a_run_of_before(self, market):
        record_quote(market, T)
        span(T, T + HOUR)
        span(T + HOUR, T + 2 * HOUR, known_at=END + HOUR)
        trade(market, T + MINUTE)
        trade(market, T + HOUR + MINUTE, recorded_at=END + HOUR)
        assert len(trades_of(market, known_by=END + 2 * HOUR)) == 2
        before = load_universe(market, known_by=END).known_tape()
        assert before.at.tolist() == [microseconds(T + MINUTE)]
        assert before.until.tolist() == [microseconds(T + HOUR) - 1]

    def test_a_market_that_was_out_of_scope_has_no_tape_then(self, market):
        other = record_market("KXSNOW-26OCT02")
        record_revision(other, START)
        for each in (market, other):
            record_quote(each, T)
            trade(each, T + MINUTE)
            trade(each, T + HOUR + MINUTE)
        span(T, T + HOUR, series=["SKXRAIN"])
        span(T + HOUR, T + 2 * HOUR)
        assert [(m, at) for m, at, *_ in trades_of(market, other)] == [
            (0, microseconds(T + MINUTE)),
            (0, microseconds(T + HOUR + MINUTE)),
            (1, microseconds(T + HOUR + MINUTE)),
        ]

    def test_a_category_lets_a_market_through_while_it_was_observed(self, market):
        record_quote(market, T)
        record_quote(market, T + 40 * MINUTE)
        record_passes(T, T + 20 * MINUTE)
        record_passes(T + 40 * MINUTE, T + HOUR)
        span(T, T + HOUR, categories=["Climate"])
        for n in (5, 30, 50):
            trade(market, T + n * MINUTE)
        # A series may have had another category than today's.
        for category in ("Climate", "Sports"):
            Series.objects.update(category=category)
            tape = load_universe(market).known_tape()
            assert tape.at.tolist() == [microseconds(T + n * MINUTE) for n in (5, 50)]
            looked_until = T + 18.5 * MINUTE
            assert looked_until < instant(int(tape.until[0])) < looked_until + MINUTE
            assert instant(int(tape.since[1])) == T + 40 * MINUTE

    def test_what_was_filled_in_later_does_not_observe_a_market(self, market):
        for at in (T, T + 40 * MINUTE):
            record_quote(market, at)
        record_passes(T, T + 20 * MINUTE)
        record_passes(T + 40 * MINUTE, T + HOUR)
        for n in range(20, 40):
            record_quote(market, T + n * MINUTE + timedelta(seconds=1), source=Source.BACKFILL)
        span(T, T + HOUR, categories=["Climate"])
        for n in (5, 30, 50):
            trade(market, T + n * MINUTE)
        tape = load_universe(market).known_tape()
        assert tape.at.tolist() == [microseconds(T + n * MINUTE) for n in (5, 50)]

    def test_what_was_read_later_goes_by_the_category_of_today(self, market):
        record_quote(market, T)
        trade(market, T + MINUTE)
        span(T, T + HOUR, categories=["Climate"], known_at=T + 2 * HOUR)
        assert len(trades_of(market)) == 1
        Series.objects.update(category="Sports")
        assert trades_of(market) == []

    def test_a_named_series_needs_no_category_and_no_look(self, market):
        record_quote(market, T)
        trade(market, T + 30 * MINUTE)
        span(T, T + HOUR, series=["SKXRAIN"], categories=["Sports"])
        assert len(trades_of(market)) == 1

    def test_the_hot_list_alone_proves_a_market_while_it_was_hot(self, market):
        record_quote(market, T)
        span(T, T + HOUR, extent="hot")
        span(T + HOUR, T + 2 * HOUR, extent="hot", known_at=T + 3 * HOUR)
        HotPeriod.objects.create(
            market=market, started_at=T + 10 * MINUTE, ended_at=T + 20 * MINUTE
        )
        HotPeriod.objects.create(market=market, started_at=T + 50 * MINUTE)
        for n in (9, 11, 20, 51, 61):
            trade(market, T + n * MINUTE)
        tape = load_universe(market).known_tape()
        assert tape.at.tolist() == [microseconds(T + n * MINUTE) for n in (11, 51)]
        assert tape.since.tolist() == [microseconds(T + n * MINUTE) for n in (10, 50)]
        assert tape.until.tolist() == [microseconds(T + n * MINUTE) - 1 for n in (19, 60)]

    def test_a_hot_market_of_a_category_is_proved_while_it_was_observed(self, market):
        record_quote(market, T)
        record_passes(T, T + 20 * MINUTE)
        HotPeriod.objects.create(market=market, started_at=T)
        span(T, T + HOUR, extent="hot", categories=["Climate"])
        for n in (5, 30):
            trade(market, T + n * MINUTE)
        assert load_universe(market).known_tape().at.tolist() == [microseconds(T + 5 * MINUTE)]

    def test_the_tape_of_combos_is_whole_where_they_were_stored(self):
        combo = record_market("KXMVECROSS-26OCT02")
        record_revision(combo, START)
        record_quote(combo, T)
        span(T, T + HOUR)
        span(T + HOUR, T + 2 * HOUR, with_combos=True)
        trade(combo, T + MINUTE)
        trade(combo, T + HOUR + MINUTE)
        assert [at for _, at, *_ in trades_of(combo)] == [microseconds(T + HOUR + MINUTE)]

    def test_trades_are_moved_to_the_clock_of_the_record(self, market):
        record_quote(market, T)
        span(T, T + HOUR)
        trade(market, T + MINUTE)
        Poll.objects.create(started_at=T, clock_skew=timedelta(seconds=2.5))
        tape = load_universe(market).known_tape()
        assert tape.at.tolist() == [microseconds(T + MINUTE) + 2_000_000]
        assert tape.known_at.tolist() == tape.at.tolist()
