"""What a listing may be narrowed by, in the exchange's own names."""

from collections.abc import Sequence
from typing import TypedDict


class Paging(TypedDict, total=False):
    cursor: str
    limit: int


class EventFilters(Paging, total=False):
    """`status` is a filter's word: unopened, open, closed, settled."""

    status: str
    series_ticker: str
    tickers: Sequence[str]
    with_nested_markets: bool


class HistoricalFilters(Paging, total=False):
    """The exchange takes one of these, not several."""

    tickers: Sequence[str]
    series_ticker: str
    event_ticker: str
    mve_filter: str


class MarketFilters(HistoricalFilters, total=False):
    """`status` is a filter's word: unopened, open, paused, closed, settled.

    Times in Unix seconds, of one kind only: of closing with no status or "closed", of settling
    with none or "settled". `min_updated_ts` knows definitions, not quotes, and goes with nothing
    but `mve_filter="exclude"`.
    """

    status: str
    min_updated_ts: int
    min_close_ts: int
    max_close_ts: int
    min_settled_ts: int
    max_settled_ts: int


class TradeFilters(Paging, total=False):
    """Times in Unix seconds."""

    ticker: str
    min_ts: int
    max_ts: int


class Span(TypedDict):
    """Times in Unix seconds; a period of 1, 60 or 1440 minutes."""

    start_ts: int
    end_ts: int
    period_interval: int
