"""Import hourly trades of the markets on the next Fed decision."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from markets.importing.record_writer import (
    ImportedEvent,
    ImportedMarket,
    ImportResult,
    OnProgress,
    store_candles,
    store_definitions,
)
from markets.importing.table_reader import RESULTS, TableRow, read_table
from markets.models.candlesticks import Candle

OHLC = ("open", "low", "high", "close")
STRIKES = ("C26", "C25", "H0", "H25", "H26")
DECISIONS = (
    "ticker", "event_ticker", "title", "yes_sub_title", "open_time", "close_time", "result",
)  # fmt: skip
TRADED = ("open", "low", "high", "close", "mean", "volume", "open_interest")
DECISION_HOURS = ("timestamp", *(f"{name}_{strike}" for strike in STRIKES for name in TRADED))


def import_fed(folder: Path, on_progress: OnProgress) -> ImportResult:
    """Import hourly trades. The table does not name the decision, which is always the next one."""
    market_rows = read_table(folder / "kalshi_markets_fed.csv", DECISIONS)
    definitions = [_decision(row) for row in market_rows]
    events = {
        each.event: ImportedEvent(
            ticker=each.event,
            series=each.series,
            title=each.title,
            category="Economics",
            mutually_exclusive=True,
        )
        for each in definitions
    }
    ids, new, differing = store_definitions(list(events.values()), definitions)
    closes = sorted({(each.close_time, each.event) for each in definitions})
    on_progress(0, "reading trades of Fed decisions")
    candle_rows = read_table(folder / "fed_oct_candles_wide.csv", DECISION_HOURS)
    candles = [candle for row in candle_rows for candle in _decision_hour(row, closes, ids)]
    candlesticks, snapshots, differing_candles = store_candles(
        candles, on_progress=on_progress, activity="writing trades of Fed decisions"
    )
    return ImportResult(
        new,
        candlesticks,
        snapshots,
        differing + differing_candles,
        note="These are trades without quotes, so no order can fill.",
    )


def _decision(row: TableRow) -> ImportedMarket:
    event = row.ticker("event_ticker")
    return ImportedMarket(
        ticker=row.ticker("ticker"),
        event=event,
        series=event.partition("-")[0],
        open_time=row.instant("open_time"),
        close_time=row.instant("close_time"),
        result=row.text("result", RESULTS),
        title=row.text("title"),
        yes_sub_title=row.text("yes_sub_title"),
        scheduled=True,
    )


def _decision_hour(
    row: TableRow, closes: Sequence[tuple[datetime, str]], ids: Mapping[str, int]
) -> Iterator[Candle]:
    at = row.instant("timestamp")
    event = next((event for close, event in closes if close >= at), None)
    if event is None:
        raise row.error("timestamp", "no decision comes after this time")
    for strike in STRIKES:
        ticker = f"{event}-{strike}"
        if ticker not in ids:
            raise row.error("timestamp", f"the market {ticker} is in no table")
        volume = row.count(f"volume_{strike}")
        traded = tuple(row.price(f"{name}_{strike}") for name in OHLC)
        mean = row.price(f"mean_{strike}", rounded=True)
        nothing = (None,) * len(OHLC)
        yield Candle(
            market_id=ids[ticker],
            end_period_ts=at,
            yes_bid=nothing,
            yes_ask=nothing,
            # Where nothing traded, the table repeats the previous trade.
            price=(*traded, mean, None) if volume else (*nothing, None, traded[-1]),
            volume=volume,
            open_interest=row.count(f"open_interest_{strike}"),
            quality=0,
        )
