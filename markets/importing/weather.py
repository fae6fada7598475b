"""Import hourly candles of weather markets."""

from collections.abc import Mapping
from pathlib import Path

from markets.importing.record_writer import (
    ImportedEvent,
    ImportedMarket,
    ImportResult,
    OnProgress,
    market_id_of,
    quality_flags,
    store_candles,
    store_definitions,
)
from markets.importing.table_reader import RESULTS, TableRow, read_table
from markets.models.candlesticks import Candle

SIDES = ("yes_bid", "yes_ask", "price")
OHLC = ("open", "low", "high", "close")
WEATHER_EVENTS = ("event_ticker", "series_ticker", "title", "category", "mutually_exclusive")
WEATHER_MARKETS = (
    "ticker", "event_ticker", "yes_sub_title", "open_time", "close_time", "result", "strike_type",
    "floor_strike", "cap_strike", "_series_ticker",
)  # fmt: skip
WEATHER_CANDLES = (
    "ticker", "end_ts", "price_mean", "price_prev", "volume", "open_interest",
    *(f"{side}_{name}" for side in SIDES for name in OHLC),
)  # fmt: skip


def import_weather(folder: Path, on_progress: OnProgress) -> ImportResult:
    """Import hourly candles. The markets close at hours that were announced beforehand."""
    event_rows, market_rows, candle_rows = (
        read_table(folder / f"kalshi_{name}_nyc.parquet", columns)
        for name, columns in (
            ("events", WEATHER_EVENTS),
            ("markets", WEATHER_MARKETS),
            ("candles", WEATHER_CANDLES),
        )
    )
    definitions = [_weather_market(row) for row in market_rows]
    with_markets = {each.event for each in definitions}
    events = [
        _weather_event(row) for row in event_rows if row.ticker("event_ticker") in with_markets
    ]
    ids, new, differing = store_definitions(events, definitions)
    on_progress(0, "reading weather candles")
    candles = [_weather_candle(row, ids) for row in candle_rows]
    candlesticks, snapshots, differing_candles = store_candles(
        candles, on_progress=on_progress, activity="writing weather candles"
    )
    return ImportResult(
        new,
        candlesticks,
        snapshots,
        differing + differing_candles,
        note="Sizes are unknown, so a backtest needs an assumed size.",
    )


def _weather_event(row: TableRow) -> ImportedEvent:
    return ImportedEvent(
        ticker=row.ticker("event_ticker"),
        series=row.ticker("series_ticker"),
        title=row.text("title"),
        category=row.text("category"),
        mutually_exclusive=bool(row.values["mutually_exclusive"]),
    )


def _weather_market(row: TableRow) -> ImportedMarket:
    return ImportedMarket(
        ticker=row.ticker("ticker"),
        event=row.ticker("event_ticker"),
        series=row.ticker("_series_ticker"),
        open_time=row.instant("open_time"),
        close_time=row.instant("close_time"),
        result=row.text("result", RESULTS),
        yes_sub_title=row.text("yes_sub_title"),
        strike_type=row.text("strike_type"),
        floor_strike=row.number("floor_strike"),
        cap_strike=row.number("cap_strike"),
        scheduled=True,
    )


def _weather_candle(row: TableRow, ids: Mapping[str, int]) -> Candle:
    bid, ask, traded = (tuple(row.price(f"{side}_{name}") for name in OHLC) for side in SIDES)
    mean, previous = row.price("price_mean", rounded=True), row.price("price_prev")
    return Candle(
        market_id=market_id_of(row, ids),
        end_period_ts=row.instant("end_ts"),
        yes_bid=bid,
        yes_ask=ask,
        price=(*traded, mean, previous),
        volume=row.count("volume"),
        open_interest=row.count("open_interest"),
        quality=quality_flags(bid[-1], ask[-1]),
    )
