"""Files of the shapes that many people have."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.importing.parsed_rows import MISSING
from markets.importing.reading.description import Description
from markets.importing.reading.preview import described_rows
from markets.importing.reading.source_file import SourceFile
from markets.models.imports import Kind
from markets.models.observations import microseconds

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
NANOSECONDS = microseconds(NOON) * 1000


@pytest.fixture
def read(tmp_path):
    """Write a table as CSV or Parquet, read it by a preset, and describe its rows."""

    def read(table, kind, preset, *, form="csv", **said):
        path = tmp_path / f"table.{form}"
        table = pd.DataFrame(table)
        table.to_csv(path, index=False) if form == "csv" else table.to_parquet(path)
        file = SourceFile(path, Description(kind=Kind(kind), preset=preset, **said), now=NOW)
        survey = file.survey()
        rows = [row for batch in file.rows() for row in described_rows(batch.rows)]
        assert not survey.refused
        return [row.split("  ", 1)[1] for row in rows]

    return read


FORMS = pytest.mark.parametrize("form", ["csv", "parquet"])

# --- prediction-market-analysis -------------------------------------------------------------------

PMA_MARKETS = {
    "ticker": ["KXA-26-T1", "KXA-26-T2"],
    "event_ticker": ["KXA-26"] * 2,
    "market_type": ["binary"] * 2,
    "title": ["Above one?", "Above two?"],
    "yes_sub_title": ["One", "Two"],
    "no_sub_title": ["One", "Two"],
    "status": ["finalized", "open"],
    "yes_bid": pd.array([0, 41], "Int64"),
    "yes_ask": pd.array([None, 44], "Int64"),
    "no_bid": pd.array([None, 56], "Int64"),
    "no_ask": pd.array([100, 59], "Int64"),
    "last_price": pd.array([None, 42], "Int64"),
    "volume": [12, 340],
    "volume_24h": [0, 8],
    "open_interest": [5, 60],
    "result": ["yes", ""],
    "created_time": pd.to_datetime(["2026-11-01T00:00:00Z"] * 2),
    "open_time": pd.to_datetime(["2026-11-01T00:00:00Z"] * 2),
    "close_time": pd.to_datetime(["2026-11-19T00:00:00Z", "2026-12-01T00:00:00Z"]),
    "_fetched_at": pd.to_datetime(["2026-11-20T12:00:00"] * 2),
}


@FORMS
def test_the_largest_collection_gives_definitions_quotes_and_results(read, form):
    preset = "prediction-market-analysis"
    first, second = read(PMA_MARKETS, "markets", preset, form=form)
    assert first == (
        "KXA-26-T1  2026-11-20 12:00:00Z  open_time 2026-11-01 00:00:00Z"
        "  close_time 2026-11-19 00:00:00Z  settlement_value 1  event_ticker KXA-26"
        "  title Above one?  yes_sub_title One  no_sub_title One  result yes"
    )
    assert "result" not in second
    assert read(PMA_MARKETS, "quotes", preset, form=form) == [
        "KXA-26-T1  2026-11-20 12:00:00Z  volume 12  open_interest 5",
        "KXA-26-T2  2026-11-20 12:00:00Z  yes_bid 0.41  yes_ask 0.44  last_price 0.42"
        "  volume 340  open_interest 60",
    ]
    assert read(PMA_MARKETS, "settlements", preset, form=form) == [
        "KXA-26-T1  settlement_value 1  result yes"
    ]


@FORMS
def test_the_largest_collection_gives_trades(read, form):
    table = {
        "trade_id": ["6b1d0c52-5c0f-5f0a-9f5e-0d6c7d3c8a11"],
        "ticker": ["KXA-26-T1"],
        "count": [7],
        "yes_price": [41],
        "no_price": [59],
        "taker_side": ["no"],
        "created_time": pd.to_datetime(["2026-11-20T12:00:00.5Z"]),
        "_fetched_at": pd.to_datetime(["2026-11-21T12:00:00Z"]),
    }
    assert read(table, "trades", "prediction-market-analysis", form=form) == [
        "KXA-26-T1  2026-11-20 12:00:00.5Z  yes_price 0.41  count 7  taker_side no"
        "  is_block_trade no  trade_id 6b1d0c52-5c0f-5f0a-9f5e-0d6c7d3c8a11"
    ]


# --- predictiondata -------------------------------------------------------------------------------


def captured(form, rows=1, **columns):
    exchange = ["2026-11-20T11:59:59.9Z"] * rows
    return {
        "exchange": ["kalshi"] * rows,
        "ticker": ["KXA-26-T1"] * rows,
        "local_timestamp": [NANOSECONDS + n for n in range(rows)],
        "exchange_timestamp": exchange if form == "csv" else pd.to_datetime(exchange),
        **columns,
    }


@FORMS
def test_an_archive_gives_the_top_of_books(read, form):
    table = captured(form, bid_price=[0.41], bid_size=[100.0], ask_price=[None], ask_size=[None])
    assert read(table, "quotes", "predictiondata", form=form) == [
        "KXA-26-T1  2026-11-20 12:00:00Z  yes_bid 0.41  yes_bid_size 100"
    ]


@FORMS
def test_an_archive_gives_the_best_levels_of_books(read, form):
    table = captured(
        form,
        bid_prices=["0.41,0.4,0.39"],
        bid_sizes=["100,20.5,3"],
        ask_prices=["0.43"],
        ask_sizes=["7"],
    )
    assert read(table, "books", "predictiondata", form=form) == [
        "KXA-26-T1  2026-11-20 12:00:00Z  bids 0.41 × 100, 0.4 × 20.5, 0.39 × 3  asks 0.43 × 7"
    ]


@FORMS
def test_of_all_messages_of_an_archive_whole_books_and_changes_make_books(read, form):
    table = captured(
        form,
        rows=2,
        message_type=["snapshot", "price_level_update"],
        price_level_update_price=[None, 0.41],
        price_level_update_quantity=[None, 5.0],
        price_level_update_side=[None, "bid"],
        snapshot_bid_prices=["0.41,0.4", None],
        snapshot_bid_sizes=["100,20", None],
        snapshot_ask_prices=["", None],
        snapshot_ask_sizes=["", None],
    )
    assert read(table, "books", "predictiondata", form=form) == [
        "KXA-26-T1  2026-11-20 12:00:00Z  bids 0.41 × 100, 0.4 × 20  asks none",
        "KXA-26-T1  2026-11-20 12:00:00Z  bids 0.41 × 5, 0.4 × 20  asks none",
    ]


@FORMS
def test_an_archive_gives_trades_at_the_exchange_s_time_or_else_at_its_own(read, form):
    table = captured(
        form, rows=2, price=[0.41, 0.42], quantity=[3.0, 1.0], taker_side=["bid", "ask"]
    )
    table["exchange_timestamp"] = [table["exchange_timestamp"][0], None]
    assert read(table, "trades", "predictiondata", form=form) == [
        "KXA-26-T1  2026-11-20 11:59:59.9Z  yes_price 0.41  count 3  taker_side yes"
        "  is_block_trade no",
        "KXA-26-T1  2026-11-20 12:00:00Z  yes_price 0.42  count 1  taker_side no"
        "  is_block_trade no",
    ]


# --- logs of bots, downloads ----------------------------------------------------------------------


def test_a_bot_s_log_gives_quotes_of_best_bids_in_cents(read):
    table = {"time": ["2026-11-20 07:00:00"], "ticker": ["KXA-1"], "yes_bid": [41], "no_bid": [56]}
    assert read(table, "quotes", "bot-log", time_zone="America/New_York") == [
        "KXA-1  2026-11-20 12:00:00Z  yes_bid 0.41  yes_ask 0.44"
    ]


@pytest.mark.parametrize("names", [
    ("Ticker", "Result", "Settled At"),
    ("market_ticker", "market_result", "settled_time"),
    ("Market Ticker", "Market Result", "Settlement TS"),
])  # fmt: skip
def test_a_download_of_settlements_is_known_by_its_header(read, names):
    values = (["KXA-1", "KXA-2"], ["yes", "no"], ["2026-11-20T12:00:00Z"] * 2)
    table = {"revenue": [100, 0], **dict(zip(names, values, strict=True))}
    assert read(table, "settlements", "kalshi-download") == [
        "KXA-1  2026-11-20 12:00:00Z  settlement_value 1  result yes",
        "KXA-2  2026-11-20 12:00:00Z  settlement_value 0  result no",
    ]


# --- tables that `importrecorded` reads -----------------------------------------------------------


def test_hourly_candles_of_weather_give_the_quotes_at_their_close(read):
    table = {
        "ticker": ["KXWARM-1"],
        "end_ts": [int(NOON.timestamp())],
        "yes_bid_close": [0.4],
        "yes_ask_close": [0.43],
        "price_close": [None],
        "volume": [3],
        "open_interest": [10],
    }
    assert read(table, "quotes", "weather_hourly_ariadne", form="parquet") == [
        "KXWARM-1  2026-11-20 12:00:00Z  yes_bid 0.4  yes_ask 0.43  open_interest 10"
    ]


def test_games_of_baseball_give_a_quote_a_definition_and_a_result(read):
    table = {
        "ticker": ["KXBALL-1"],
        "event": ["KXBALL"],
        "yes_team": ["The Bears"],
        "close_bid": [40],
        "close_ask": [43],
        "volume": [3],
        "open_interest": [10],
        "result": ["no"],
        "settled_ts": ["2026-11-20 12:00:00"],
    }
    assert read(table, "quotes", "mlb_closing") == [
        "KXBALL-1  2026-11-20 12:00:00Z  yes_bid 0.4  yes_ask 0.43  volume 3  open_interest 10"
    ]
    assert read(table, "markets", "mlb_closing") == [
        "KXBALL-1  settlement_value 0  event_ticker KXBALL  yes_sub_title The Bears  result no"
    ]
    assert read(table, "settlements", "mlb_closing") == ["KXBALL-1  settlement_value 0  result no"]


# --- round trips ----------------------------------------------------------------------------------

# Quotes as a pair of prices in tenths of a cent, either of them unknown, and a time.
PRICE = st.one_of(st.none(), st.integers(1, 999))
ROWS = st.lists(
    st.tuples(PRICE, PRICE, st.integers(0, 10_000_000)).filter(
        lambda row: row[0] is None or row[1] is None or row[0] <= row[1]
    ),
    min_size=1,
    max_size=8,
    unique=True,
).filter(lambda rows: any(each for bid, ask, _ in rows for each in (bid, ask)))


def rendered(bid, ask, seconds, shape):
    """Write a quote in a shape: its unit, its scale and the way of its times."""
    bid, ask = (None if each is None else Decimal(each).scaleb(-3) for each in (bid, ask))
    if shape["scale"] == "no":
        bid, ask = (None if each is None else 1 - each for each in (ask, bid))
    if shape["unit"] == "cents":
        bid, ask = (None if each is None else each * 100 for each in (bid, ask))
    at = NOON - timedelta(seconds=seconds)
    parts = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}
    form = shape["time_format"]
    written = at.isoformat() if form == "iso" else str(int(at.timestamp()) * parts[form])
    return ["KXA-1", written, *("" if each is None else f"{each:f}" for each in (bid, ask))]


@settings(max_examples=40, deadline=None)
@given(
    rows=ROWS,
    shape=st.fixed_dictionaries(
        {
            "unit": st.sampled_from(["dollars", "cents"]),
            "scale": st.sampled_from(["yes", "no"]),
            "time_format": st.sampled_from(["iso", "s", "ms", "us", "ns"]),
        }
    ),
)
def test_rows_in_any_shape_are_read_as_what_they_mean(tmp_path_factory, rows, shape):
    path = tmp_path_factory.mktemp("shapes") / "rows.csv"
    lines = [rendered(bid, ask, seconds, shape) for bid, ask, seconds in rows]
    if shape["unit"] == "cents" and all(
        float(each or 0) <= 1 for line in lines for each in line[2:]
    ):
        return  # taken for dollars, and refused
    pd.DataFrame(lines, columns=["ticker", "time", "bid", "ask"]).to_csv(path, index=False)
    source = SourceFile(path, Description(kind=Kind.QUOTES, **shape), now=NOW)
    assert source.survey().rows == len(rows)
    [batch] = source.rows()
    expected = [
        (*(MISSING if each is None else each * 10 for each in (bid, ask)), seconds)
        for bid, ask, seconds in rows
    ]
    numbers = batch.rows.numbers
    passed = (microseconds(NOON) - batch.rows.at) // 1_000_000
    found = zip(numbers["yes_bid"].tolist(), numbers["yes_ask"].tolist(), passed, strict=True)
    assert list(found) == expected


LEVEL = st.tuples(st.integers(1, 99), st.integers(1, 10**6))  # cents, and 1/100 contract
SIDE = st.lists(LEVEL, unique_by=lambda level: level[0], max_size=5)


@settings(max_examples=20, deadline=None)
@given(sides=st.tuples(SIDE, SIDE))
def test_books_are_read_back_from_lists_in_any_order(tmp_path_factory, sides):
    path = tmp_path_factory.mktemp("books") / "rows.csv"
    texts = [
        ",".join(f"{Decimal(level[n]).scaleb(-2)}" for level in side)
        for side in sides
        for n in (0, 1)
    ]
    names = ["bid_prices", "bid_sizes", "ask_prices", "ask_sizes"]
    table = pd.DataFrame([["KXA-1", NOON.isoformat(), *texts]], columns=["ticker", "time", *names])
    table.to_csv(path, index=False)
    [batch] = SourceFile(path, Description(kind=Kind.BOOKS, unit="dollars"), now=NOW).rows()
    for name, side, sign in zip(("bids", "asks"), sides, (-1, 1), strict=True):
        levels = batch.rows.levels[name]
        found = list(zip(levels.prices.tolist(), levels.sizes.tolist(), strict=True))
        assert found == sorted(
            ((price * 100, size) for price, size in side), key=lambda each: sign * each[0]
        )
