"""The record of the exchange, and the recorder's account of itself.

Columns that mirror Kalshi keep Kalshi's word minus its unit suffix. Prices are dollars on the
YES scale, counts are contracts; a missing side of a book is NULL. Every instant is aware UTC.
"""

from markets.models.candlesticks import Candlestick
from markets.models.disk import DiskUsage
from markets.models.events import Event, Series
from markets.models.hours import MarketHour, PastPrice
from markets.models.imported_periods import ImportedPeriod
from markets.models.imports import Import, ImportedSpan
from markets.models.listed_markets import ListedMarket
from markets.models.markets import Market, Status
from markets.models.order_books import OrderBookSnapshot
from markets.models.raw_payloads import PayloadBlock
from markets.models.recording import BackfillSpan, Closure, Drift, Poll, Tier
from markets.models.revisions import EventRevision, FeeChange, MarketRevision
from markets.models.search import EventSearchText, MarketSearchText, SeriesSearchText
from markets.models.snapshots import MarketSnapshot, Source
from markets.models.storage import ArchivedDay
from markets.models.sweeps import HotPeriod, Sweep
from markets.models.tape import TapeSpan
from markets.models.tape_days import TapeDay
from markets.models.trades import Trade, TradeOrigin
from markets.models.waiting_trades import WaitingTrade
from markets.models.watches import Watch

__all__ = [
    "ArchivedDay",
    "BackfillSpan",
    "Candlestick",
    "Closure",
    "DiskUsage",
    "Drift",
    "Event",
    "EventRevision",
    "EventSearchText",
    "FeeChange",
    "HotPeriod",
    "Import",
    "ImportedPeriod",
    "ImportedSpan",
    "ListedMarket",
    "Market",
    "MarketHour",
    "MarketRevision",
    "MarketSearchText",
    "MarketSnapshot",
    "OrderBookSnapshot",
    "PastPrice",
    "PayloadBlock",
    "Poll",
    "Series",
    "SeriesSearchText",
    "Source",
    "Status",
    "Sweep",
    "TapeDay",
    "TapeSpan",
    "Tier",
    "Trade",
    "TradeOrigin",
    "WaitingTrade",
    "Watch",
]
