"""Writing parsed rows of imports into the record."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from markets.importing.import_writer import ImportWriter
from markets.importing.undo import undo
from markets.kalshi.fields import Count, Price
from markets.kalshi.order_books import Level, OrderBook
from markets.models import (
    Event,
    FeeChange,
    Import,
    ImportedSpan,
    ListedMarket,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Series,
    Source,
    Trade,
)
from markets.models.imports import AlreadyImported, ImportState, ImportTaken, Kind
from markets.models.order_books import ObservedOrderBook
from markets.models.trades import PublicTrade, TradeOrigin, TradesWritten
from markets.tests.factories import a_market, a_trade
from markets.tests.import_builders import START, an_import, batch, imported, quote

pytestmark = pytest.mark.django_db
TICKER = "KXOWN-26NOV20-T40"
IDS = OWN, OTHER = uuid4(), uuid4()


def line_of(row: MarketSnapshot | Trade) -> int:
    assert row.sequence is not None
    return row.sequence % 2**36


class TestQuotes:
    def test_a_quote_is_a_snapshot_with_its_import_and_line(self):
        row = imported(Kind.QUOTES, [(TICKER, 1.5, quote(42, 45, volume=123_456_789_012))])

        snapshot = MarketSnapshot.objects.get()

        assert snapshot.market.ticker == TICKER
        assert snapshot.timestamp == START + timedelta(seconds=1.5)
        assert (snapshot.yes_bid, snapshot.yes_ask) == (Decimal("0.42"), Decimal("0.45"))
        assert snapshot.yes_bid_size == Decimal(100)
        assert snapshot.volume == Decimal("1234567890.12")
        assert (snapshot.last_price, snapshot.open_interest) == (None, None)
        assert (snapshot.source, snapshot.sequence) == (Source.IMPORT, row.pk << 36 | 2)
        assert MarketSnapshot.objects.by_id(snapshot.pk) == snapshot

    def test_two_rows_of_one_second_both_survive_in_the_order_of_the_file(self):
        imported(Kind.QUOTES, [(TICKER, 1, quote(42, 45)), (TICKER, 1, quote(42, 45))])

        snapshots = MarketSnapshot.objects.oldest_first()

        assert [line_of(each) for each in snapshots] == [2, 3]

    def test_a_side_that_nobody_quotes_and_sizes_that_nobody_knows_stay_unknown(self):
        imported(Kind.QUOTES, [(TICKER, 1, {"yes_bid": 4200}), (TICKER, 2, {"yes_ask": 10_000})])

        first, second = MarketSnapshot.objects.oldest_first()

        assert (first.yes_bid, first.yes_ask, first.yes_bid_size) == (Decimal("0.42"), None, None)
        assert (second.yes_bid, second.yes_ask) == (None, Decimal(1))
        assert first.quality == second.quality == 8

    def test_oddities_of_a_quote_are_flagged(self):
        rows = [(TICKER, 1, quote(50, 45)), (TICKER, 2, quote(45, 45)), (TICKER, 3, quote(44, 45))]
        imported(Kind.QUOTES, rows)

        assert [each.quality for each in MarketSnapshot.objects.oldest_first()] == [1, 2, 0]

    def test_a_market_on_record_keeps_its_newest_quote(self):
        market = a_market(TICKER)
        imported(Kind.QUOTES, [(TICKER.lower(), 1, quote(10, 11))])

        known = Market.objects.get()

        assert (known.yes_bid, known.quoted_at) == (market.yes_bid, market.quoted_at)
        assert MarketSnapshot.objects.get().market == known

    def test_rows_of_a_market_are_counted_with_their_first_and_last_instant(self):
        row = imported(Kind.QUOTES, [(TICKER, 9, quote(42, 45)), (TICKER, 1, quote(42, 45))])

        span = ImportedSpan.objects.get()

        assert (span.import_row, span.rows) == (row, 2)
        assert (span.first_at, span.last_at) == (
            START + timedelta(seconds=1),
            START + timedelta(seconds=9),
        )


class TestContinuing:
    def test_an_interrupted_import_goes_on_after_its_line_without_doubles(self):
        first, second = [(TICKER, 1, quote(42, 45))] * 2, [(TICKER, 2, quote(43, 45))]
        row = an_import(sha256="a" * 64)
        writer = ImportWriter(row)
        writer.write(batch(Kind.QUOTES, first))
        writer.interrupt()

        again = an_import(sha256="a" * 64)
        writer = ImportWriter(again)
        writer.write(batch(Kind.QUOTES, first))
        writer.write(batch(Kind.QUOTES, second, first_line=4))
        writer.finish()

        assert again == row
        assert (again.rows, again.line, again.state) == (3, 4, ImportState.FINISHED)
        assert MarketSnapshot.objects.count() == 3

    def test_a_file_that_is_imported_already_is_refused(self):
        row = an_import(sha256="a" * 64)
        ImportWriter(row).finish()

        with pytest.raises(AlreadyImported, match=f"import {row.pk} already"):
            an_import(sha256="a" * 64)
        assert an_import(sha256="a" * 64, unit="cents") != row

    def test_of_two_writers_of_one_import_the_later_one_stops(self):
        row = an_import()
        one, other = ImportWriter(row), ImportWriter(Import.objects.get())
        one.write(batch(Kind.QUOTES, [(TICKER, 1, quote(42, 45))]))

        with pytest.raises(ImportTaken):
            other.write(batch(Kind.QUOTES, [(TICKER, 1, quote(42, 45))]))
        assert MarketSnapshot.objects.count() == 1

    def test_refused_and_repeated_rows_are_counted(self):
        row = an_import()
        ImportWriter(row).write(
            batch(Kind.QUOTES, [(TICKER, 1, quote(42, 45))], refused=["a", "b"], duplicates=[7])
        )

        assert (row.rows, row.refused, row.duplicates) == (1, 2, 1)


class TestPlaceholders:
    def test_a_market_that_is_not_on_record_becomes_a_placeholder_in_no_list(self):
        imported(Kind.QUOTES, [(TICKER, 1, quote(42, 45))])

        market = Market.objects.get()

        assert market.is_placeholder
        assert market.event.ticker == "KXOWN-26NOV20"
        assert market.event.series.ticker == "KXOWN"
        assert not ListedMarket.objects.exists()
        assert not Market.objects.open().exists()
        assert not Market.objects.awaiting_settlement(at=datetime.now(UTC)).exists()
        assert not Series.objects.unread().exists()
        assert not Market.objects.search([TICKER]).exists()

    def test_definitions_fill_placeholders_and_leave_what_the_exchange_described(self):
        described = a_market("KXRAIN-26NOV21")
        row = {"title": "Hot in Oslo", "event_ticker": "HOT", "series_ticker": "H",
               "floor_strike": "40.5", "mutually_exclusive": 1, "category": "Climate"}  # fmt: skip
        imported(Kind.MARKETS, [(TICKER, None, row), (described.ticker, None, row)])

        filled = Market.objects.get(ticker=TICKER)
        described.refresh_from_db()

        assert (filled.title, filled.floor_strike) == ("Hot in Oslo", Decimal("40.5"))
        assert (filled.event.ticker, filled.event.mutually_exclusive) == ("HOT", True)
        assert filled.event.series.category == "Climate"
        assert described.title != "Hot in Oslo"
        assert filled.is_placeholder

    def test_a_stated_event_takes_the_place_of_the_guessed_one(self):
        imported(Kind.QUOTES, [(TICKER, 1, quote(42, 45))])
        imported(Kind.MARKETS, [(TICKER.lower(), None, {"event_ticker": "HOT"})])

        assert Market.objects.get().event.ticker == "HOT"
        assert [event.ticker for event in Event.objects.all()] == ["HOT"]
        assert [series.ticker for series in Series.objects.all()] == ["HOT"]

    def test_stated_fees_are_assumed_where_none_are_on_record(self):
        row = imported(
            Kind.QUOTES, [(TICKER, 1, quote(42, 45))], fee_type="quadratic", fee_multiplier="0.5"
        )
        market = Market.objects.get()

        [assumed] = FeeChange.objects.schedule(
            [market.pk], start=START, end=START, imports=[row.pk]
        )[market.pk]
        [unknown] = FeeChange.objects.schedule([market.pk], start=START, end=START)[market.pk]

        assert (assumed.fee_type, assumed.fee_multiplier) == ("quadratic", Decimal("0.5"))
        assert assumed.assumed
        assert unknown.fee_multiplier is None


class TestTrades:
    def trade(self, **values):
        return {"yes_price": 4200, "count": 150, "taker_side": 1, "is_block_trade": 0, **values}

    def test_a_trade_without_a_uuid_gets_one_of_its_line(self):
        own = uuid4()
        rows = [(TICKER, 1, self.trade(trade_id=id)) for id in (str(own), "abc", "")]
        row = imported(Kind.TRADES, rows)

        trades = list(Trade.objects.order_by("sequence"))

        assert [line_of(each) for each in trades] == [2, 3, 4]
        assert trades[0].trade_id == own
        assert len({each.trade_id for each in trades}) == 3
        assert trades[1].count == Decimal("1.5")
        assert (trades[1].taker_outcome_side, trades[1].source) == ("yes", "IMPORT")
        assert row.rows == 3

    def test_an_import_has_its_own_row_of_a_trade_on_record(self):
        known = a_trade(a_market(TICKER), START)
        row = imported(Kind.TRADES, [(TICKER, 0, self.trade(trade_id=str(known.trade_id)))])

        own = Trade.objects.get(sequence__isnull=False)

        assert (row.rows, row.duplicates) == (1, 0)
        assert own.trade_id != known.trade_id
        assert Trade.objects.recorded().get() == known

    def test_the_record_learns_of_an_imported_trade_and_leaves_the_import_its_own(self):
        row = imported(Kind.TRADES, [(TICKER, 1, self.trade(trade_id=str(OWN)))])

        written = self.record(self.recorded())

        assert written.trades == 1
        assert Trade.objects.recorded().get().trade_id == OWN
        assert Trade.objects.from_source("IMPORT").get().trade_id != OWN
        undo(row)
        assert Trade.objects.get().source == "TAPE"

    def test_a_trade_that_gives_its_id_away_has_the_one_of_its_line(self):
        twins = [(TICKER, 1, self.trade(trade_id=each)) for each in (str(OWN), "")]
        imported(Kind.TRADES, twins[:1])
        imported(Kind.TRADES, [twins[1], twins[0]])
        self.record(self.recorded())

        first, without_id, second = Trade.objects.from_source("IMPORT").order_by("sequence")

        for each in (first, without_id, second):
            assert each.trade_id.version == 7
            assert each.trade_id.int & (2**62 - 1) == each.sequence
            assert each.trade_id.int >> 80 == START.timestamp() * 1000 + 1000
        assert (first.trade_id.int ^ without_id.trade_id.int) >> 64 == 0

    def test_two_imports_of_one_trade_each_have_it(self):
        files = [[(TICKER, at, self.trade(trade_id=str(id))) for at, id in enumerate(IDS[:count])]
                 for count in (1, 2)]  # fmt: skip
        january, both = (imported(Kind.TRADES, rows) for rows in files)
        assert [(row.rows, row.duplicates) for row in (january, both)] == [(1, 0), (2, 0)]
        span = both.spans.get()
        assert (span.rows, span.first_at) == (2, START)

        undo(january)

        ids = [Market.objects.get().pk]
        tape = Trade.objects.columns(ids, START, START + timedelta(hours=1), imports=[both.pk])
        assert len(tape["at"]) == 2

    def test_a_trade_that_an_import_repeats_is_written_once(self):
        row = an_import(Kind.TRADES)
        writer = ImportWriter(row)
        trade = (TICKER, 1, self.trade(trade_id=str(OWN)))
        writer.write(batch(Kind.TRADES, [trade, trade]))
        writer.write(batch(Kind.TRADES, [trade], first_line=4))

        assert (row.rows, row.duplicates) == (1, 2)
        assert row.spans.get().rows == 1

    def record(self, *trades: PublicTrade) -> TradesWritten:
        return Trade.objects.record(trades, source=TradeOrigin.TAPE, recorded_at=START)

    def recorded(self) -> PublicTrade:
        at = START + timedelta(seconds=1)
        return PublicTrade(OWN, Market.objects.get().pk, at, at, 150, 4200, 1, False)

    def test_nobody_reads_imported_trades_without_naming_the_import(self):
        row = imported(Kind.TRADES, [(TICKER, 1, self.trade())])
        ids, end = [Market.objects.get().pk], START + timedelta(hours=1)

        assert not len(Trade.objects.columns(ids, START, end)["at"])
        assert len(Trade.objects.columns(ids, START, end, imports=[row.pk])["at"]) == 1
        assert not Trade.objects.recorded().exists()


class TestBooks:
    def test_a_book_comes_with_its_quote(self):
        sides = {"bids": [(4200, 1000), (4100, 2050)], "asks": [(4500, 300)]}
        imported(Kind.BOOKS, [(TICKER, 1, sides), (TICKER, 2, {"bids": [(100, 100)]})])

        first, second = OrderBookSnapshot.objects.order_by("timestamp")
        quoted, one_sided = MarketSnapshot.objects.oldest_first()

        assert first.bid_prices == [Decimal("0.42"), Decimal("0.41")]
        assert first.bid_sizes == [Decimal(10), Decimal("20.5")]
        assert (second.ask_prices, second.ask_sizes) == ([], [])
        assert (quoted.yes_bid, quoted.yes_ask_size) == (Decimal("0.42"), Decimal(3))
        assert (one_sided.yes_bid_size, one_sided.yes_ask) == (Decimal(1), None)
        assert first.sequence == quoted.sequence
        assert not OrderBookSnapshot.objects.recorded().exists()

    def test_two_imports_of_one_book_each_have_it_beside_the_recorded_one(self):
        rows = [(TICKER, 1, {"bids": [(4200, 1000)], "asks": []})]
        one, other = imported(Kind.BOOKS, rows), imported(Kind.BOOKS, rows)
        market = Market.objects.get()
        level = Level(Price(Decimal("0.42")), Count(Decimal(10)))
        at = START + timedelta(seconds=1)

        new = OrderBookSnapshot.objects.record(
            [ObservedOrderBook(market.pk, at, OrderBook((level,), ()))]
        )

        assert (one.rows, other.rows, new) == (1, 1, 1)
        undo(one)
        assert OrderBookSnapshot.objects.readable([other.pk]).count() == 2

    def test_each_import_has_its_own_books_even_of_one_instant(self):
        book = {"bids": [(4200, 1000)]}
        one, other = (imported(Kind.BOOKS, [(TICKER, 1, book)]) for _ in range(2))

        undo(one)

        assert (one.rows, other.rows) == (1, 1)
        assert OrderBookSnapshot.objects.get().sequence == other.pk << 36 | 2

    def test_of_several_books_of_one_instant_the_last_line_counts(self):
        books = [{"bids": [(price, 1000)]} for price in (4200, 4300, 4200)]
        row = imported(Kind.BOOKS, [(TICKER, 1, book) for book in books])

        day = (START - timedelta(hours=1), START + timedelta(hours=1))
        [found] = OrderBookSnapshot.objects.levels(Market.objects.get().pk, *day, imports=[row.pk])

        assert row.rows == 3
        assert found[1] == [0.42]


class TestSettlements:
    def test_a_settlement_is_a_revision_that_counts_for_its_import_alone(self):
        row = imported(Kind.SETTLEMENTS, [(TICKER, 60, {"result": "yes"})])
        market, later = Market.objects.get(), datetime.now(UTC)

        histories = MarketRevision.objects.histories
        [revision] = histories([market.pk], recorded_by=later, imports=[row.pk])[market.pk]

        assert (revision.result, revision.settlement_value) == ("yes", Decimal(1))
        assert not revision.known_at_assumed
        assert not histories([market.pk], recorded_by=later)
        assert not MarketRevision.objects.for_market(market).exists()

    def test_a_settlement_without_a_time_is_marked_as_assumed(self):
        imported(Kind.SETTLEMENTS, [(TICKER, None, {"settlement_value": 240_000})])

        revision = MarketRevision.objects.get()

        assert (revision.result, revision.settlement_value) == ("scalar", Decimal("0.24"))
        assert revision.known_at_assumed

    def test_of_two_results_without_a_time_the_first_is_written(self):
        results = [(TICKER, None, {"result": word}) for word in ("yes", "no")]
        row = imported(Kind.SETTLEMENTS, results)

        assert MarketRevision.objects.get().result == "yes"
        assert (row.rows, row.duplicates, row.spans.get().rows) == (1, 1, 1)

    def test_the_exchange_s_own_result_stays_alone(self):
        a_market(TICKER, result="no", status="finalized")
        row = imported(Kind.SETTLEMENTS, [(TICKER, 60, {"result": "yes"})])

        assert (row.rows, row.duplicates) == (0, 1)
        assert not MarketRevision.objects.exists()
