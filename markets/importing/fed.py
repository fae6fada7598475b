"""Trades of the Fed's decision that comes next."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from markets.importing.records import Definition, Family, Imported, Tell, define, record_candles
from markets.importing.tables import RESULTS, Row, read
from markets.models.candlesticks import Candle

OHLC = ("open", "low", "high", "close")
STRIKES = ("C26", "C25", "H0", "H25", "H26")
DECISIONS = (
    "ticker", "event_ticker", "title", "yes_sub_title", "open_time", "close_time", "result",
)  # fmt: skip
TRADED = ("open", "low", "high", "close", "mean", "volume", "open_interest")
DECISION_HOURS = ("timestamp", *(f"{name}_{strike}" for strike in STRIKES for name in TRADED))


def import_fed(folder: Path, tell: Tell) -> Imported:
    """Hourly trades of the decision that came next, which the table does not name."""
    definitions = [_decision(row) for row in read(folder / "kalshi_markets_fed.csv", DECISIONS)]
    families = {
        each.event: Family(
            event=each.event,
            series=each.series,
            title=each.title,
            category="Economics",
            mutually_exclusive=True,
        )
        for each in definitions
    }
    ids, new = define(list(families.values()), definitions)
    closes = sorted({(each.close_time, each.event) for each in definitions})
    tell(0, "reading trades of the Fed's decisions")
    rows = read(folder / "fed_oct_candles_wide.csv", DECISION_HOURS)
    candles = [candle for row in rows for candle in _decision_hour(row, closes, ids)]
    written = record_candles(candles, tell=tell, doing="writing trades of the Fed's decisions")
    return Imported(new, *written, note="Trades without books: nothing can be filled on them.")


def _decision(row: Row) -> Definition:
    event = row.text("event_ticker")
    return Definition(
        ticker=row.text("ticker"),
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
    row: Row, closes: Sequence[tuple[datetime, str]], ids: Mapping[str, int]
) -> Iterator[Candle]:
    at = row.instant("timestamp")
    event = next((event for close, event in closes if close >= at), None)
    if event is None:
        raise row.fault("timestamp", "no decision comes after it")
    for strike in STRIKES:
        ticker = f"{event}-{strike}"
        if ticker not in ids:
            raise row.fault("timestamp", f"no table has the market {ticker}")
        volume = row.count(f"volume_{strike}")
        traded = tuple(row.price(f"{name}_{strike}") for name in OHLC)
        mean = row.price(f"mean_{strike}", places=6)
        nothing = (None,) * len(OHLC)
        yield Candle(
            market_id=ids[ticker],
            end_period_ts=at,
            yes_bid=nothing,
            yes_ask=nothing,
            # Where nothing traded, the table repeats what did before.
            price=(*traded, mean, None) if volume else (*nothing, None, traded[-1]),
            volume=volume,
            open_interest=row.count(f"open_interest_{strike}"),
            quality=0,
        )
