"""Query parameters of the exchange's listings, under the exchange's own names."""

from collections.abc import Sequence
from typing import TypedDict


class Pagination(TypedDict, total=False):
    cursor: str
    limit: int


class ComboFilters(Pagination, total=False):
    """Filters of `/events/multivariate`."""

    with_nested_markets: bool


class EventFilters(ComboFilters, total=False):
    """Filters of `/events`; `status` is one of unopened, open, closed and settled."""

    status: str
    series_ticker: str
    tickers: Sequence[str]


class HistoricalMarketFilters(Pagination, total=False):
    """Filters of `/historical/markets`, of which the exchange accepts one at a time."""

    tickers: Sequence[str]
    series_ticker: str
    event_ticker: str
    mve_filter: str


class MarketFilters(HistoricalMarketFilters, total=False):
    """Filters of `/markets`; `status` is one of unopened, open, paused, closed and settled.

    Times are Unix seconds, and only one kind of them may be given. Closing times go with no
    status or "closed", settling times with no status or "settled". `min_updated_ts` follows
    definitions, not quotes, and may be combined with `mve_filter="exclude"` only.
    """

    status: str
    min_updated_ts: int
    min_close_ts: int
    max_close_ts: int
    min_settled_ts: int
    max_settled_ts: int


class TradeFilters(Pagination, total=False):
    """Filters of the trades; times are Unix seconds."""

    ticker: str
    min_ts: int
    max_ts: int


class CandlestickFilters(TypedDict):
    """Required parameters of candlesticks: Unix seconds, and a period of 1, 60 or 1440 minutes."""

    start_ts: int
    end_ts: int
    period_interval: int
