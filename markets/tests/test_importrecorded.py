"""Imports of small tables made here, and of the recorded research tables."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pandas as pd
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from backtests.data.universe import MISSING
from backtests.loading import load
from backtests.requests import MarketSelection
from markets.importing.research_tables import FORMATS, find_tables, import_tables
from markets.models import (
    Candlestick,
    Event,
    FeeChange,
    ImportedPeriod,
    Market,
    MarketSnapshot,
    Series,
)

pytestmark = pytest.mark.django_db
OPENED = datetime(2026, 3, 1, 15, tzinfo=UTC)
CLOSED = datetime(2026, 3, 3, 5, tzinfo=UTC)
FIRST, SECOND = "KXWARM-26MAR02-T70", "KXWARM-26MAR02-T69"
GAME = "KXBALL-26MAR02ABCDEF-ABC"
DECISION = "KXRATE-26MAR"


def run_import(folder, *options):
    out = StringIO()
    call_command("importrecorded", str(folder), *options, stdout=out)
    return out.getvalue()


def import_error(folder, *options):
    with pytest.raises(CommandError) as caught:
        run_import(folder, *options)
    return str(caught.value)


def without_zone(at):
    return pd.Timestamp(at.replace(tzinfo=None))


# --- small tables ---------------------------------------------------------------------------------


def weather_tables(folder, *, candles=None, markets=None):
    """Write two markets of one event; one of them has a result."""
    weather = folder / "weather_hourly_ariadne"
    weather.mkdir()
    event = {
        "event_ticker": "KXWARM-26MAR02",
        "series_ticker": "KXWARM",
        "title": "How warm on March 2?",
        "category": "Weather",
        "mutually_exclusive": True,
    }
    known = [
        {
            "ticker": ticker,
            "event_ticker": "KXWARM-26MAR02",
            "yes_sub_title": "71° or above",
            "open_time": without_zone(OPENED),
            "close_time": without_zone(CLOSED),
            "result": result,
            "strike_type": "greater",
            "floor_strike": floor,
            "cap_strike": None,
            "_series_ticker": "KXWARM",
            **(markets or {}),
        }
        for ticker, result, floor in ((FIRST, "yes", 70.0), (SECOND, "", 69.0))
    ]
    hours = [candle_row(FIRST, 1), candle_row(FIRST, 2), candle_row(SECOND, 1)]
    pd.DataFrame([event]).to_parquet(weather / "kalshi_events_nyc.parquet")
    pd.DataFrame(known).to_parquet(weather / "kalshi_markets_nyc.parquet")
    pd.DataFrame(candles or hours).to_parquet(weather / "kalshi_candles_nyc.parquet")
    return folder


def candle_row(ticker, hour, **values):
    sides = {"yes_bid": 0.42, "yes_ask": 0.45, "price": 0.44}
    prices = {
        f"{side}_{name}": price
        for side, price in sides.items()
        for name in ("open", "low", "high", "close")
    }
    return {
        "ticker": ticker,
        "end_ts": int((OPENED + timedelta(hours=hour)).timestamp()),
        **prices,
        "price_mean": 0.4351,
        "price_prev": None,
        "volume": 12.0,
        "open_interest": 30.0,
        **values,
    }


def baseball_table(folder, **values):
    row = {
        "ticker": GAME,
        "event": "KXBALL-26MAR02ABCDEF",
        "yes_team": "Abc",
        "close_bid": 42,
        "close_ask": 44,
        "volume": 20.0,
        "open_interest": 41.0,
        "result": "no",
        "settled_ts": int(OPENED.timestamp()),
        **values,
    }
    games = folder / "mlb_closing"
    games.mkdir()
    pd.DataFrame([row]).to_csv(games / "kalshi_history_to_2026-06-30.csv", index=False)
    return folder


def fed_tables(folder, **values):
    strikes = ("C26", "C25", "H0", "H25", "H26")
    markets = [
        {
            "ticker": f"{event}-{strike}",
            "event_ticker": event,
            "title": "What will they decide?",
            "yes_sub_title": strike,
            "open_time": "2026-01-01T14:00:00Z",
            "close_time": close,
            "result": "",
        }
        for event, close in (
            (DECISION, "2026-03-18T17:59:00Z"),
            ("KXRATE-26MAY", "2026-05-01T18:00:00Z"),
        )
        for strike in strikes
    ]
    hour: dict[str, object] = {"timestamp": "2026-03-18 13:00:00-04:00"}
    for strike in strikes:
        traded = dict.fromkeys(("open", "low", "high", "close", "mean"), 0.2)
        hour |= {f"{name}_{strike}": price for name, price in traded.items()}
        hour |= {
            f"volume_{strike}": 0.0 if strike == "H26" else 5.0,
            f"open_interest_{strike}": 9.0,
        }
    later = hour | {"timestamp": "2026-03-18 14:00:00-04:00"}
    fed = folder / "fed_eco395"
    fed.mkdir()
    pd.DataFrame(markets).to_csv(fed / "kalshi_markets_fed.csv", index=False)
    pd.DataFrame([hour, later | values]).to_csv(fed / "fed_oct_candles_wide.csv", index=False)
    return folder


def asks_table(folder, *rows):
    """Write asks of both sides of a game an hour before it begins, or these rows."""
    begins = OPENED + timedelta(hours=1)
    asks = folder / "sports_asks_cockpit"
    asks.mkdir()
    both = [{"side": "yes", "entry_ask_tenths": 490}, {"side": "no", "entry_ask_tenths": 525}]
    shared = {
        "created_iso": OPENED.isoformat(),
        "ticker": GAME,
        "event_ticker": "KXBALL-26MAR02ABCDEF",
        "series_ticker": "KXBALL",
        "depth_at_ask": 12.5,
        "commence_ms": int(begins.timestamp() * 1000),
        "market_result": "yes",
    }
    table = pd.DataFrame([shared | row for row in rows or both])
    table.to_csv(asks / "asks_with_results_2026-08-07_16.csv.gz", index=False)
    return folder


def test_weather_becomes_candles_quotes_and_results(tmp_path):
    output = run_import(weather_tables(tmp_path))
    assert (
        "weather_hourly_ariadne: 2 new markets, 3 new candlesticks and 3 new snapshots." in output
    )
    market = Market.objects.get(ticker=FIRST)
    assert (market.event.mutually_exclusive, market.floor_strike) == (True, 70)
    snapshot = market.snapshots.earliest("timestamp")
    assert (snapshot.source, snapshot.timestamp) == ("BACKFILL", OPENED + timedelta(hours=1))
    assert (snapshot.yes_bid, snapshot.yes_ask) == (Decimal("0.42"), Decimal("0.45"))
    assert (snapshot.yes_bid_size, snapshot.volume) == (None, None)
    assert Candlestick.objects.get(market__ticker=SECOND).price_mean == Decimal("0.4351")


def test_what_is_imported_is_found_by_its_titles(tmp_path):
    run_import(weather_tables(tmp_path))
    assert {m.ticker for m in Market.objects.search(["warm", "march"])} == {FIRST, SECOND}
    assert Event.objects.search(["how warm"]).get().ticker == "KXWARM-26MAR02"
    assert Series.objects.search(["kxwarm"]).get().ticker == "KXWARM"


def test_what_tables_do_not_tell_is_assumed_and_marked(tmp_path):
    run_import(weather_tables(tmp_path))
    opening, ending = Market.objects.get(ticker=FIRST).revisions.all()
    assert (opening.known_at, opening.close_time, opening.result) == (OPENED, CLOSED, "")
    assert (ending.known_at, ending.result) == (CLOSED + timedelta(days=1), "yes")
    assert opening.known_at_assumed
    assert ending.known_at_assumed
    assert Market.objects.get(ticker=SECOND).revisions.count() == 1
    fees = FeeChange.objects.get()
    assert (fees.fee_type, fees.fee_multiplier, fees.known_at_assumed) == ("quadratic", 1, True)


def test_a_bid_of_nothing_and_an_ask_of_a_dollar_are_nobody_s(tmp_path):
    empty = candle_row(FIRST, 1, yes_bid_close=0.0, yes_ask_close=1.0)
    run_import(weather_tables(tmp_path, candles=[empty]))
    universe = load(
        MarketSelection(start=OPENED, end=CLOSED, tickers=[FIRST]), known_by=datetime.now(UTC)
    )
    assert (universe.quotes.bid[0], universe.quotes.ask[0]) == (MISSING, MISSING)


def test_the_same_again_changes_nothing(tmp_path):
    for make in (weather_tables, baseball_table, fed_tables):
        make(tmp_path)
    run_import(tmp_path)
    before = MarketSnapshot.objects.count()
    assert (
        run_import(tmp_path).count(": 0 new markets, 0 new candlesticks and 0 new snapshots.") == 3
    )
    assert MarketSnapshot.objects.count() == before


def test_what_the_record_has_otherwise_stays_and_is_counted(tmp_path, capsys):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        folder.mkdir()
    run_import(weather_tables(before))
    run_import(before)
    assert "differ" not in capsys.readouterr().err
    candles = [candle_row(FIRST, 1, yes_bid_close=0.3), candle_row(FIRST, 2)]
    run_import(weather_tables(after, candles=candles, markets={"result": "no"}))
    # The results of both markets, and one candle.
    stdout = capsys.readouterr().err
    assert "3 results or candlesticks differ from those on record, which stay" in stdout
    assert Market.objects.get(ticker=FIRST).result == "yes"
    assert Candlestick.objects.filter(yes_bid_close=Decimal("0.3")).count() == 0


def test_fees_that_are_on_record_stay(tmp_path):
    run_import(weather_tables(tmp_path))
    FeeChange.objects.update(fee_type="quadratic_with_maker_fees")
    run_import(tmp_path)
    assert FeeChange.objects.get().fee_type == "quadratic_with_maker_fees"


def test_a_game_has_its_last_book_when_it_starts(tmp_path):
    assert "mlb_closing: 1 new markets, 0 new candlesticks and 1 new snapshots." in run_import(
        baseball_table(tmp_path)
    )
    market = Market.objects.get(ticker=GAME)
    snapshot = market.snapshots.get()
    assert (snapshot.timestamp, snapshot.yes_bid, snapshot.yes_ask) == (
        OPENED,
        Decimal("0.42"),
        Decimal("0.44"),
    )
    assert market.revisions.last().known_at == OPENED + timedelta(days=1)


def test_asks_of_both_sides_are_one_quote_before_a_game_that_begins_when_it_was_said(tmp_path):
    assert "sports_asks_cockpit: 1 new markets, 0 new candlesticks and 1 new snapshots." in (
        run_import(asks_table(tmp_path))
    )
    snapshot = MarketSnapshot.objects.select_related("market__event").get()
    # Whoever asks 52.5 cents for NO bids 47.5 for YES.
    assert (snapshot.yes_bid, snapshot.yes_ask) == (Decimal("0.475"), Decimal("0.49"))
    assert snapshot.yes_bid_size == snapshot.yes_ask_size == Decimal("12.5")
    assert snapshot.timestamp == OPENED
    assert snapshot.market.result == "yes"
    assert snapshot.market.event.strike_date == OPENED + timedelta(hours=1)


def test_a_side_that_was_not_recorded_is_unknown(tmp_path):
    run_import(asks_table(tmp_path, {"side": "no", "entry_ask_tenths": 525}))
    snapshot = MarketSnapshot.objects.get()
    assert (snapshot.yes_bid, snapshot.yes_ask) == (Decimal("0.475"), None)
    assert (snapshot.yes_bid_size, snapshot.yes_ask_size) == (Decimal("12.5"), None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side": "both"}, "line 2, column side: 'both' is not one of 'yes', 'no'"),
        ({"entry_ask_tenths": 1001}, "line 2, column entry_ask_tenths: 1001 is not a price"),
        ({"commence_ms": "soon"}, "line 2, column commence_ms: 'soon' is not a"),
    ],
)
def test_an_ask_that_cannot_be_read_is_named_by_line_and_column(tmp_path, values, message):
    row = {"side": "yes", "entry_ask_tenths": 490} | values
    error = import_error(asks_table(tmp_path, row))
    assert f"asks_with_results_2026-08-07_16.csv.gz, {message}" in error
    assert not MarketSnapshot.objects.exists()


def test_the_fed_s_trades_are_those_of_the_decision_that_comes_next(tmp_path):
    run_import(fed_tables(tmp_path))
    hours = Candlestick.objects.order_by("end_period_ts", "market__ticker")
    assert [candle.market.event.ticker for candle in hours[::5]] == [DECISION, "KXRATE-26MAY"]
    traded = hours.get(market__ticker=f"{DECISION}-C25")
    assert (traded.price_close, traded.yes_bid_close) == (Decimal("0.2"), None)
    quiet = hours.get(market__ticker=f"{DECISION}-H26")
    assert (quiet.price_close, quiet.price_previous) == (None, Decimal("0.2"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"yes_bid_close": 1.5}, "line 1, column yes_bid_close: 1.5 is not a price"),
        ({"yes_ask_low": 0.12345}, "line 1, column yes_ask_low: 0.12345 is finer than"),
        ({"volume": -1.0}, "line 1, column volume: -1.0 is not a count"),
        ({"volume": 0.125}, "line 1, column volume: 0.125 is not a count"),
        ({"open_interest": 1e16}, "line 1, column open_interest: 1e+16 is not a count"),
        ({"end_ts": 0}, "line 1, column end_ts: 1970-01-01 is before the exchange existed"),
        ({"end_ts": "noon"}, "line 1, column end_ts: 'noon' is not a time"),
        ({"ticker": "KXNONE"}, "line 1, column ticker: the market KXNONE is in no table"),
        ({"ticker": "KX/NONE"}, "line 1, column ticker: 'KX/NONE' is not a ticker"),
    ],
)
def test_a_candle_that_cannot_be_read_is_named_by_line_and_column(tmp_path, values, message):
    weather_tables(tmp_path, candles=[candle_row(FIRST, 1) | values])
    error = import_error(tmp_path)
    assert f"weather_hourly_ariadne: kalshi_candles_nyc.parquet, {message}" in error
    assert not MarketSnapshot.objects.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"close_bid": "x"}, "line 2, column close_bid: 'x' is not a number"),
        ({"result": "maybe"}, "line 2, column result: 'maybe' is not one of 'yes', 'no', ''"),
        ({"settled_ts": None}, "line 2, column settled_ts: "),
    ],
)
def test_a_game_that_cannot_be_read_is_named_by_line_and_column(tmp_path, values, message):
    assert f"kalshi_history_to_2026-06-30.csv, {message}" in import_error(
        baseball_table(tmp_path, **values)
    )
    assert not MarketSnapshot.objects.exists()


def test_a_column_or_a_file_that_is_missing_is_named(tmp_path):
    baseball_table(tmp_path)
    file = tmp_path / "mlb_closing" / "kalshi_history_to_2026-06-30.csv"
    pd.read_csv(file).drop(columns="close_ask").to_csv(file, index=False)
    assert (
        import_error(tmp_path)
        == "mlb_closing: kalshi_history_to_2026-06-30.csv: missing column close_ask"
    )
    file.unlink()
    assert "kalshi_history_to_2026-06-30.csv: " in import_error(tmp_path)


def test_a_folder_of_something_else_is_refused_with_what_there_could_be(tmp_path):
    assert all(name in import_error(tmp_path) for name in FORMATS)


# --- how far apart rows are ---------------------------------------------------------------------


def stated_periods():
    return list(
        ImportedPeriod.objects.order_by("recorded_at").values_list(
            "market__ticker", "starts_at", "ends_at", "gap_after"
        )
    )


def test_the_period_of_rows_without_candlesticks_is_recorded_where_it_is_stated(tmp_path):
    baseball_table(tmp_path)
    run_import(tmp_path)
    assert stated_periods() == []
    assert "A row counts as fresh for 1,800 seconds" in run_import(tmp_path, "--gap-after", "600")
    assert stated_periods() == [(GAME, OPENED, OPENED, 600)]


def test_the_last_word_about_a_period_counts_and_is_written_once(tmp_path):
    baseball_table(tmp_path)
    for seconds in ("600", "600", "60", "60"):
        run_import(tmp_path, "--gap-after", seconds)
    assert [seconds for *_, seconds in stated_periods()] == [600, 60]
    run_import(tmp_path)
    assert len(stated_periods()) == 2


def test_of_several_tables_the_period_is_that_of_rows_without_candlesticks(tmp_path):
    for make in (weather_tables, baseball_table, fed_tables):
        make(tmp_path)
    run_import(tmp_path, "--gap-after", "600")
    assert {ticker for ticker, *_ in stated_periods()} == {GAME}


def test_candlesticks_have_a_period_of_their_own_so_that_none_can_be_stated(tmp_path):
    error = import_error(weather_tables(tmp_path), "--gap-after", "600")
    assert error == (
        "--gap-after: weather_hourly_ariadne has candlesticks alone, whose own period counts"
    )
    assert not MarketSnapshot.objects.exists()


@pytest.mark.parametrize(
    "text", ["0", "-5", "1.5", "soon", "", "nan", "31536001", "9" * 30, "10 s", "١٢"]
)
def test_a_period_that_makes_no_sense_is_refused_by_its_option(tmp_path, text):
    error = import_error(baseball_table(tmp_path), f"--gap-after={text}")
    assert "--gap-after" in error
    assert f"{text!r} is not a whole number of seconds from 1 to 31,536,000" in error
    assert not MarketSnapshot.objects.exists()


# --- recorded tables ------------------------------------------------------------------------------

RECORDED = settings.BASE_DIR.parent / "shared" / "kalshi" / "recorded"
needs_recordings = [
    pytest.mark.recorded,
    pytest.mark.skipif(
        not RECORDED.is_dir(), reason="the recordings (../shared/kalshi/recorded) are not here"
    ),
]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        pytest.param("weather_hourly_ariadne", (840, 31_375, 31_375), marks=needs_recordings),
        pytest.param("mlb_closing", (3_477, 0, 3_477), marks=needs_recordings),
        pytest.param("fed_eco395", (100, 20_450, 20_450), marks=needs_recordings),
        pytest.param("sports_asks_cockpit", (1_217, 0, 6_357), marks=needs_recordings),
    ],
)
def test_every_line_that_was_recorded_is_read(name, counts):
    (folder,) = find_tables(RECORDED / name)
    assert import_tables(folder, lambda share, doing: None)[:3] == counts
