"""Hourly candles of weather markets."""

from collections.abc import Mapping
from pathlib import Path

from markets.importing.records import (
    Definition,
    Family,
    Imported,
    Tell,
    define,
    id_of,
    quality,
    record_candles,
)
from markets.importing.tables import RESULTS, Row, read
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


def import_weather(folder: Path, tell: Tell) -> Imported:
    """Hourly candles. Every market of a series closes at its hour, which was known beforehand."""
    events, markets, candles = (
        read(folder / f"kalshi_{name}_nyc.parquet", columns)
        for name, columns in (
            ("events", WEATHER_EVENTS),
            ("markets", WEATHER_MARKETS),
            ("candles", WEATHER_CANDLES),
        )
    )
    definitions = [_weather_market(row) for row in markets]
    wanted = {each.event for each in definitions}
    families = [_family(row) for row in events if row.text("event_ticker") in wanted]
    ids, new = define(families, definitions)
    tell(0, "reading candles of the weather")
    read_candles = [_weather_candle(row, ids) for row in candles]
    written = record_candles(read_candles, tell=tell, doing="writing candles of the weather")
    return Imported(new, *written, note="No sizes are known: a run needs an assumed size.")


def _family(row: Row) -> Family:
    return Family(
        event=row.text("event_ticker"),
        series=row.text("series_ticker"),
        title=row.text("title"),
        category=row.text("category"),
        mutually_exclusive=bool(row.values["mutually_exclusive"]),
    )


def _weather_market(row: Row) -> Definition:
    return Definition(
        ticker=row.text("ticker"),
        event=row.text("event_ticker"),
        series=row.text("_series_ticker"),
        open_time=row.instant("open_time"),
        close_time=row.instant("close_time"),
        result=row.text("result", RESULTS),
        yes_sub_title=row.text("yes_sub_title"),
        strike_type=row.text("strike_type"),
        floor_strike=row.number("floor_strike"),
        cap_strike=row.number("cap_strike"),
        scheduled=True,
    )


def _weather_candle(row: Row, ids: Mapping[str, int]) -> Candle:
    bid, ask, traded = (tuple(row.price(f"{side}_{name}") for name in OHLC) for side in SIDES)
    mean, previous = row.price("price_mean", places=6), row.price("price_prev")
    return Candle(
        market_id=id_of(row, ids),
        end_period_ts=row.instant("end_ts"),
        yes_bid=bid,
        yes_ask=ask,
        price=(*traded, mean, previous),
        volume=row.count("volume"),
        open_interest=row.count("open_interest"),
        quality=quality(bid[-1], ask[-1]),
    )
