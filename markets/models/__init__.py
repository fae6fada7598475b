"""What is recorded of the exchange, and the ledger of the recording itself.

Columns that mirror Kalshi keep Kalshi's word minus its unit suffix. Prices are dollars on the
YES scale, counts are contracts; a missing side of a book is NULL. Every instant is aware UTC.
"""

from markets.models.definitions import (
    Event,
    Market,
    Series,
    Status,
    Watch,
)
from markets.models.knowledge import (
    EventRevision,
    FeeChange,
    MarketRevision,
)
from markets.models.ledger import (
    ArchivedDay,
    BackfillSpan,
    Closure,
    Drift,
    HotPeriod,
    Poll,
    Sweep,
    Tier,
)
from markets.models.observations import (
    Candlestick,
    MarketSnapshot,
    OrderBookSnapshot,
    RawPayload,
    Source,
    Trade,
)

__all__ = [
    "ArchivedDay",
    "BackfillSpan",
    "Candlestick",
    "Closure",
    "Drift",
    "Event",
    "EventRevision",
    "FeeChange",
    "HotPeriod",
    "Market",
    "MarketRevision",
    "MarketSnapshot",
    "OrderBookSnapshot",
    "Poll",
    "RawPayload",
    "Series",
    "Source",
    "Status",
    "Sweep",
    "Tier",
    "Trade",
    "Watch",
]
