"""Imports beside what was recorded of the same markets: one source at a time, and told."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from uuid import UUID, uuid4

import pytest

from backtests import runner
from backtests.data.universe import Universe, microseconds
from backtests.loading import load
from backtests.models import BacktestResult, SnapshotSources
from backtests.requests import BacktestRequest, MarketSelection
from backtests.tests.record_builders import record_market, record_quote, record_revision
from kalshi_insights.arrays import Ints
from kalshi_insights.bad_input import BadInput
from markets.importing.undo import undo
from markets.kalshi.fields import Count, Price
from markets.kalshi.order_books import Level, OrderBook
from markets.models import (
    BackfillSpan,
    Candlestick,
    Import,
    Market,
    OrderBookSnapshot,
    Source,
    Trade,
    TradeOrigin,
)
from markets.models.imports import Kind
from markets.models.order_books import ObservedOrderBook
from markets.models.trades import PublicTrade
from markets.tests.import_builders import START, imported, quote

pytestmark = pytest.mark.django_db
TICKER = "KXOWN-26NOV20-T40"
END = START + timedelta(hours=2)
LATER = END + timedelta(days=365)
# The better one comes later.
SOURCES = Source.BACKFILL, Source.IMPORT, Source.POLL


@pytest.fixture
def market() -> Market:
    market = record_market(TICKER, open_time=START, close_time=LATER)
    record_revision(market, START)
    return market


def selection(*imports: Import, sources: str = SnapshotSources.BEST) -> MarketSelection:
    ids = [each.pk for each in imports]
    return MarketSelection(start=START, end=END, tickers=[TICKER], imports=ids, sources=sources)


def loaded(*imports: Import, **values: str) -> Universe:
    return load(selection(*imports, **values), known_by=LATER)


def seconds(at: Ints) -> list[float]:
    return [each / 1_000_000 for each in (at - microseconds(START)).tolist()]


def at(second: float):
    return START + timedelta(seconds=second)


def quotes(*times: float, **said) -> Import:
    return imported(Kind.QUOTES, [(TICKER, each, quote(42, 45)) for each in times], **said)


def trade_row(price: int, id: UUID | None = None) -> dict:
    own = {"trade_id": str(id)} if id else {}
    return {"yes_price": price, "count": 100, "taker_side": 1, "is_block_trade": 0, **own}


def trades(price: int, *times: float, ids: Mapping[float, UUID] | None = None) -> Import:
    rows = [(TICKER, each, trade_row(price, (ids or {}).get(each))) for each in times]
    return imported(Kind.TRADES, rows)


def record_trades(market: Market, *times: float, ids: Mapping[float, UUID] | None = None) -> None:
    """Record trades at a price of 42 cents."""
    known = ids or {each: uuid4() for each in times}
    Trade.objects.record(
        [
            PublicTrade(known[each], market.pk, at(each), at(each), 100, 4_200, 1, False)
            for each in times
        ],
        source=TradeOrigin.BACKFILL,
        recorded_at=START,
    )


def fetch_all(market: Market, first: float, last: float) -> None:
    """Record that no trade of a time is missing; its ends are not part of it."""
    BackfillSpan.objects.create(
        market=market, kind="trades", start=at(first), end=at(last), finished_at=END, done_until=END
    )


def told(universe: Universe) -> list[tuple[float, int]]:
    """Return the second and the price of each trade."""
    tape = universe.known_tape()
    return list(zip(seconds(tape.at), tape.price.tolist(), strict=True))


def whole(universe: Universe) -> list[tuple[float, float]]:
    tape = universe.known_tape()
    return list(zip(seconds(tape.since), seconds(tape.until), strict=True))


class TestTrades:
    """An instant has the trades of one source: the record's, else the first named import's."""

    def test_an_import_without_ids_repeats_no_trade_of_a_whole_tape(self, market):
        record_quote(market, START)
        record_trades(market, 10, 20, 30)
        fetch_all(market, 0, 60)
        row = trades(4_500, 10, 20, 30)

        assert told(loaded(row)) == [(10, 4_200), (20, 4_200), (30, 4_200)]

    def test_it_fills_in_where_the_record_is_not_whole(self, market):
        record_quote(market, START)
        record_trades(market, 10, 20, 70)
        fetch_all(market, 0, 15)
        row = trades(4_500, 10, 20, 90)

        universe = loaded(row)

        assert told(universe) == [(10, 4_200), (20, 4_500), (90, 4_500)]
        assert whole(universe) == [(0.000001, 90)]
        assert universe.origins.of("trades") == {"backfilled": 1, "imported": 2}

    def test_of_two_imports_the_first_named_counts_within_its_time(self, market):
        record_quote(market, START)
        one, other = trades(4_500, 10, 20), trades(4_600, 10, 15, 20, 30)

        assert told(loaded(one, other)) == [(10, 4_500), (20, 4_500), (30, 4_600)]
        assert [price for _, price in told(loaded(other, one))] == [4_600] * 4
        assert whole(loaded(one, other)) == [(10, 30)]

    @pytest.mark.parametrize("comes_first", [True, False])
    def test_imports_alone_have_all_their_trades_whatever_is_on_record(self, market, comes_first):
        ids = {each: uuid4() for each in (10.0, 20.0)}
        record_quote(market, START)
        fetch_all(market, 0, 60)
        if not comes_first:
            record_trades(market, 10, 20, ids=ids)
        named = quotes(0, 60), trades(4_500, 10, 20, 25, ids=ids)
        if comes_first:
            record_trades(market, 10, 20, ids=ids)

        universe = loaded(*named, sources=SnapshotSources.IMPORTED)

        assert told(universe) == [(10, 4_500), (20, 4_500), (25, 4_500)]
        assert [price for _, price in told(loaded(*named))] == [4_200, 4_200]
        undo(named[1])
        assert [price for _, price in told(loaded(named[0]))] == [4_200, 4_200]

    def test_an_import_has_its_trades_when_another_one_of_them_is_undone(self, market):
        record_quote(market, START)
        ids = {each: uuid4() for each in (10.0, 20.0)}
        january, both = trades(4_500, 10, ids=ids), trades(4_600, 10, 20, ids=ids)

        assert told(loaded(both)) == [(10, 4_600), (20, 4_600)]
        undo(january)
        assert told(loaded(both)) == [(10, 4_600), (20, 4_600)]

    def test_one_that_was_undone_leaves_the_record_whole(self, market):
        record_quote(market, START)
        ids = {10.0: uuid4()}
        row = trades(4_500, 10, ids=ids)
        record_trades(market, 10, ids=ids)
        fetch_all(market, 0, 60)

        undo(row)

        assert told(loaded()) == [(10, 4_200)]


class TestBooks:
    def books(self, *rows: tuple[float, int]) -> Import:
        levels = [(TICKER, at, {"bids": [(price, 100)], "asks": []}) for at, price in rows]
        return imported(Kind.BOOKS, levels)

    def record(self, market: Market, second: float, price: str = "0.42") -> None:
        book = OrderBook((Level(Price(Decimal(price)), Count(Decimal(1))),), ())
        OrderBookSnapshot.objects.record([ObservedOrderBook(market.pk, at(second), book)])

    def read(self, universe: Universe) -> list[tuple[float, int]]:
        found = universe.books.of(0)
        return list(zip(seconds(found.at), found.bids.price.tolist(), strict=True))

    def test_recorded_ones_count_alone_from_the_first_to_the_last(self, market):
        record_quote(market, START)
        self.record(market, 20)
        row = self.books((10, 4_500), (20, 4_500), (30, 4_600))

        universe = loaded(row)

        assert self.read(universe) == [(10, 4_500), (20, 4_200), (30, 4_600)]
        assert universe.origins.of("order books") == {"imported": 2, "recorded live": 1}

    def test_books_recorded_outside_of_a_run_keep_imports_out_too(self, market):
        record_quote(market, START)
        for second, price in ((-30, "0.41"), (60, "0.42"), (7300, "0.43")):
            self.record(market, second, price)
        row = self.books((-10, 4_500), (90, 4_500))

        assert self.read(loaded(row)) == [(-30, 4_100), (60, 4_200)]

    def test_the_levels_counted_are_those_that_are_read(self, market):
        for second, price in ((-30, "0.41"), (60, "0.42"), (7300, "0.43")):
            self.record(market, second, price)
        row = self.books((-10, 4_500), (90, 4_500), (95, 4_600))

        found = OrderBookSnapshot.objects.count_levels(market.pk, START, END, imports=[row.pk])

        assert found == 2

    def test_imports_alone_have_none_of_the_record(self, market):
        record_quote(market, START)
        self.record(market, 20)
        row = self.books((10, 4_500))

        universe = loaded(row, sources=SnapshotSources.IMPORTED)

        assert self.read(universe) == [(10, 4_500)]


Told = tuple[int, Source, Decimal | None]  # the second, the source and the open interest


def rows_at_random(dice: Random) -> list[Told]:
    """Make rows of three sources, at most one of each at a second."""
    times = [(second, source) for second in range(9) for source in SOURCES]
    chosen = sorted(dice.sample(times, 9))
    return [(*time, dice.choice([None, Decimal(1), Decimal(2)])) for time in chosen]


def changes_of(rows: list[Told]) -> list[tuple[float, int]]:
    """Return the changes of open interest in the rows that a run reads, row by row."""

    def is_inside(second: int, better: Source) -> bool:
        own = [each for each, source, _ in rows if source == better]
        return bool(own) and min(own) <= second <= max(own)

    found: list[tuple[float, int]] = []
    for second, source, interest in rows:
        better = SOURCES[SOURCES.index(source) + 1 :]
        if interest is not None and not any(is_inside(second, each) for each in better):
            contracts = int(interest * 100)
            if not found or found[-1][1] != contracts:
                found.append((second, contracts))
    return found


def as_imported(interest: Decimal | None) -> dict[str, int]:
    return {} if interest is None else {"open_interest": int(interest * 100)}


class TestQuotes:
    def test_open_interest_of_imports_alone_is_theirs(self, market):
        record_quote(market, at(5), open_interest=Decimal(7))
        record_quote(market, at(6), open_interest=Decimal(8), source=Source.BACKFILL)
        rows = [(TICKER, at, quote(42, 45, open_interest=900)) for at in (0, 10)]
        row = imported(Kind.QUOTES, rows)

        alone, best = loaded(row, sources=SnapshotSources.IMPORTED), loaded(row)

        assert alone.interest.of(0).contracts.tolist() == [900]
        assert best.interest.of(0).contracts.tolist() == [900, 700, 900]
        assert seconds(best.interest.of(0).at) == [0, 5, 10]

    def test_open_interest_changes_as_in_the_rows_that_count_and_nowhere_else(self):
        markets, rows, dice = [], [], Random(7)
        for number in range(30):
            market = record_market(f"{TICKER}-{number}", open_time=START, close_time=LATER)
            record_revision(market, START)
            markets.append(market)
            rows.append(rows_at_random(dice))
            for second, source, interest in rows[-1]:
                if source != Source.IMPORT:
                    bid = f"0.{10 + second}00"
                    record_quote(market, at(second), bid, source=source, open_interest=interest)
        row = imported(
            Kind.QUOTES,
            [
                (market.ticker, second, quote(1, 2, **as_imported(interest)))
                for market, own in zip(markets, rows, strict=True)
                for second, source, interest in own
                if source == Source.IMPORT
            ],
        )
        chosen = replace(selection(row), tickers=[market.ticker for market in markets])

        universe = load(chosen, known_by=LATER)

        places = {each.ticker: place for place, each in enumerate(universe.listings)}
        for market, own in zip(markets, rows, strict=True):
            found = universe.interest.of(places[market.ticker])
            pairs = list(zip(seconds(found.at), found.contracts.tolist(), strict=True))
            assert pairs == changes_of(own), own

    def test_a_candlestick_tells_nothing_of_an_imported_quote_at_its_end(self, market):
        for each in (60, 120):
            Candlestick.objects.create(
                market=market, period_interval=1, end_period_ts=at(each), recorded_at=END,
                price_low=Decimal("0.41"), price_high=Decimal("0.44"), volume=Decimal(5),
            )  # fmt: skip
        record_quote(market, at(120), source=Source.BACKFILL)
        row = quotes(0, 60)

        assert seconds(loaded(row).known_candles().at) == [120]
        assert loaded(row, sources=SnapshotSources.IMPORTED).candles is None

    def test_a_recorded_quote_does_not_stand_because_an_import_was_recorded_on_change(self, market):
        for each in (20, 40):
            record_quote(market, at(each), bid=f"0.{each}00")
        row = quotes(0, 30, 60, 90, recording="on-change")

        observed = seconds(loaded(row).observations().of_market(0))

        assert observed == [*range(21), 40, *range(60, 91)]


class TestUndoneMeanwhile:
    """An undo marks its import, and a run that reads on tells so instead of a result."""

    def request(self, *imports: Import) -> BacktestResult:
        request = BacktestRequest(strategy="always-no", selection=selection(*imports))
        return BacktestResult.objects.queue(request.validated(now=LATER), user=None, now=LATER)

    @pytest.mark.parametrize("moment", ["reading quotes", "running the strategy"])
    def test_the_run_fails_and_says_why(self, market, moment):
        row = quotes(0, 60, 120)
        queued = self.request(row)

        def undo_then(progress: float, doing: str) -> None:
            if doing == moment and progress > 0:
                Import.objects.filter(pk=row.pk).mark_undoing()

        with pytest.raises(BadInput, match=f"Import {row.pk} is being undone: its data is gone"):
            runner.compute(queued, on_progress=undo_then)

    def test_what_a_strategy_asks_for_afterwards_is_not_read(self, market):
        row = quotes(0, 60)
        universe = loaded(row)
        undo(row)

        for read in (universe.interest, universe.books):
            with pytest.raises(BadInput, match="was undone"):
                read.of(0)


class TestOrigins:
    def test_a_result_tells_the_origin_of_each_kind_if_anything_was_imported(self, market):
        record_quote(market, at(10), open_interest=Decimal(7))
        record_trades(market, 5, 12)
        fetch_all(market, 0, 60)
        row = quotes(0, 60)
        results = imported(Kind.SETTLEMENTS, [(TICKER, 3_600, {"result": "yes"})])

        universe = loaded(row, results)

        assert universe.interest.of(0).contracts.tolist() == [700]
        assert list(universe.origins.sentences()) == [
            "The quotes are of several origins: 1 recorded live, 2 imported.",
            "All results were imported.",
            "All trades were backfilled.",
            "All values of open interest were recorded live.",
        ]
        assert list(loaded().origins.sentences()) == []
