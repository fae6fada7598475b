"""Trading: what is on record of the trades behind the quotes of a run."""

from collections.abc import Sequence
from datetime import datetime

from backtests.data.candles import CandleRanges
from backtests.data.first_observations import search
from backtests.data.observed_rows import QuotedInstants
from backtests.data.universe import Ints
from backtests.record import record
from backtests.requests import MarketSelection
from kalshi_insights.arrays import np


def candles(
    ids: Sequence[int], quoted: QuotedInstants, selection: MarketSelection, *, known_by: datetime
) -> CandleRanges | None:
    """The candlesticks behind backfilled quotes; None where there are none."""
    if not quoted.backfilled.any():
        return None
    columns = record.candlesticks.ranges(ids, selection.start, selection.end, recorded_by=known_by)
    market = _numbered(ids, columns["market"])
    place = search(quoted.at, quoted.starts[market], quoted.starts[market + 1], columns["at"])
    kept = place < quoted.starts[market + 1]
    kept[kept] = quoted.backfilled[place[kept]] & (quoted.at[place[kept]] == columns["at"][kept])
    rows = np.flatnonzero(kept)[np.argsort(market[kept], kind="stable")]
    spans = np.searchsorted(market[rows], np.arange(len(ids) + 1))
    return CandleRanges(spans, *(columns[name][rows] for name in CandleRanges._fields[1:]))


def _numbered(ids: Sequence[int], markets: Ints) -> Ints:
    """The place in `ids` of each market."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, markets, sorter=order)]
