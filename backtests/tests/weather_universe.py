"""A universe of recorded temperature markets: New York, spring 2026, hourly candlesticks."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from django.conf import settings

from backtests.data.candles import CandleRanges
from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    MONEY,
    SECOND,
    Grid,
    Ints,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
    microseconds,
)

FOLDER = Path(settings.BASE_DIR).parent / "shared/kalshi/recorded/weather_hourly_ariadne"
# The recording does not have the times at which results were known, nor the fees in force.
KNOWN_AFTER = timedelta(days=1)
PLAIN = Terms(0, 7, 100, 0, 1, assumed=True)
HOUR = 3_600 * SECOND
CENTS = Grid(0, ((0, DOLLAR, CONTRACT),))


def settled_markets() -> pd.DataFrame:
    """The settled markets, in the order of their tickers."""
    table = pd.read_parquet(FOLDER / "kalshi_markets_nyc.parquet")
    table["closed_at"] = table["close_time"].dt.tz_localize("UTC")
    table["known_at"] = table["closed_at"] + KNOWN_AFTER
    table["opened_at"] = table["open_time"].dt.tz_localize("UTC")
    return table[table["result"] != ""].sort_values("ticker", ignore_index=True)


def weather_universe(selection: pd.DataFrame) -> Universe:
    """A universe of the closes of hourly candlesticks, with unknown sizes."""
    candles = pd.read_parquet(FOLDER / "kalshi_candles_nyc.parquet")
    index = {ticker: market for market, ticker in enumerate(selection["ticker"])}
    candles = candles[candles["ticker"].isin(index)]
    candles = candles.assign(market=candles["ticker"].map(index))
    candles = candles.sort_values(["end_ts", "market"], ignore_index=True)
    market, at = candles["market"].to_numpy(), candles["end_ts"].to_numpy() * SECOND
    close_at = np.array([microseconds(each) for each in selection["closed_at"]])[market]
    unknown = np.full(len(candles), MISSING)
    volume = candles.groupby("market")["volume"].cumsum() * CONTRACT
    return Universe(
        quotes=Quotes(
            at=at,
            market=market,
            bid=_side(candles["yes_bid_close"], empty=0),
            ask=_side(candles["yes_ask_close"], empty=DOLLAR),
            bid_size=unknown,
            ask_size=unknown,
            last=_units(candles["price_close"]),
            volume=np.rint(volume.to_numpy()).astype(np.int64),
            close_at=close_at,
            tradable=at < close_at,
        ),
        listings=[
            Listing(
                ticker=row.ticker,
                event=row.event_ticker,
                series=row.event_ticker.partition("-")[0],
                mutually_exclusive=True,
            )
            for row in selection.itertuples()
        ],
        settlements=[_settlement(row.known_at, row.result) for row in selection.itertuples()],
        terms=[(PLAIN,)] * len(selection),
        grids=[(CENTS,)] * len(selection),
        candles=_ranges(candles, markets=len(selection)),
    )


def _ranges(candles: pd.DataFrame, *, markets: int) -> CandleRanges:
    """The trades of each hour: how many contracts, and at which prices."""
    traded = candles[candles["price_low"].notna() & (candles["volume"] > 0)]
    traded = traded.sort_values(["market", "end_ts"], ignore_index=True)
    at = traded["end_ts"].to_numpy() * SECOND
    return CandleRanges(
        spans=np.searchsorted(traded["market"].to_numpy(), np.arange(markets + 1)),
        since=at - HOUR,
        at=at,
        low=_units(traded["price_low"]),
        high=_units(traded["price_high"]),
        contracts=np.rint(traded["volume"].to_numpy() * CONTRACT).astype(np.int64),
    )


def _settlement(known_at: pd.Timestamp, result: str) -> Settlement:
    at = microseconds(known_at.to_pydatetime())
    return Settlement(at, at, MONEY if result == "yes" else 0, assumed=True)


def _side(prices: pd.Series, *, empty: int) -> Ints:
    units = _units(prices)
    return np.where(units == empty, MISSING, units)


def _units(prices: pd.Series) -> Ints:
    units: Ints = np.rint(prices.fillna(MISSING / DOLLAR).to_numpy() * DOLLAR).astype(np.int64)
    return units
