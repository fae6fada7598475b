"""Trading: what is on record of the trades behind the quotes of a run."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce
from typing import NamedTuple, Self

from backtests.data.candles import CandleRanges
from backtests.data.first_observations import search
from backtests.data.observed_rows import QuotedInstants
from backtests.data.origins import BACKFILLED, IMPORTED, LIVE, Origins, counted
from backtests.data.origins import TRADES as TOLD_TRADES
from backtests.data.stretches import Stretches, joined, stretches_of
from backtests.data.tape import TradeTape
from backtests.data.universe import Bools, Ints, microseconds
from backtests.models import SnapshotSources
from backtests.record import record
from backtests.requests import MarketSelection
from kalshi_insights.arrays import np
from markets.coverage.gap_arrays import GapArrays
from markets.intervals import Interval
from markets.models.imports import Kind
from markets.models.observations import MICROSECOND
from markets.models.tape import WholeTape
from markets.models.trades import TradeOrigin
from markets.observed import AFTER_ALL

TRADES = "trades"  # the kind of a backfill of trades
NOWHERE = WholeTape((), ())
RECORD = 0  # no import has this id
# The times in which no trade of markets is missing, by the import that has them, or `RECORD`.
Sources = Mapping[int, Stretches]
TRADE_ORIGINS: Mapping[int, str] = {
    TradeOrigin.TAPE: LIVE,
    TradeOrigin.BACKFILL: BACKFILLED,
    TradeOrigin.IMPORT: IMPORTED,
}
AROUND = 1_000_000  # what is not whole before and after a trade that counts as missing
# The recorder may go on looking at a market for so long after it has stopped storing its trades.
LOOKS_ON = 60_000_000


class UnseenTimes(NamedTuple):
    """Times of markets, from `since` on and before `until`, for which no look vouches."""

    market: Ints
    since: Ints
    until: Ints

    @classmethod
    def of(cls, silences: GapArrays) -> Self:
        """Make them of the recorder's silences."""
        market = np.repeat(np.arange(len(silences.spans) - 1), np.diff(silences.spans))
        return cls(market, silences.since - LOOKS_ON, silences.until)

    def shifted(self, by: timedelta) -> Self:
        """Return the same by another clock."""
        ahead = by // MICROSECOND
        # What has no end keeps none.
        until = np.where(self.until == AFTER_ALL, AFTER_ALL, self.until + ahead)
        return self._replace(since=self.since + ahead, until=until)


def candles(
    ids: Sequence[int], quoted: QuotedInstants, selection: MarketSelection, *, known_by: datetime
) -> CandleRanges | None:
    """The candlesticks behind backfilled quotes; None where there are none."""
    # An imported quote may be of the instant of a candlestick, which it knows nothing of.
    fetched = quoted.backfilled & (quoted.imports == 0)
    if not fetched.any():
        return None
    columns = record.candlesticks.ranges(ids, selection.start, selection.end, recorded_by=known_by)
    market = _numbered(ids, columns["market"])
    place = search(quoted.at, quoted.starts[market], quoted.starts[market + 1], columns["at"])
    kept = place < quoted.starts[market + 1]
    kept[kept] = fetched[place[kept]] & (quoted.at[place[kept]] == columns["at"][kept])
    rows = np.flatnonzero(kept)[np.argsort(market[kept], kind="stable")]
    spans = np.searchsorted(market[rows], np.arange(len(ids) + 1))
    return CandleRanges(spans, *(columns[name][rows] for name in CandleRanges._fields[1:]))


def tape(
    tickers: Mapping[int, str],
    quoted: QuotedInstants,
    selection: MarketSelection,
    origins: Origins,
    *,
    known_by: datetime,
) -> TradeTape | None:
    """The public trades of the markets where none is missing; None where that is nowhere.

    `tickers` has those of the markets by id, in their order. Instants are those of the record's
    clock. Each instant of a market has the trades of one source: of the record where its tape is
    whole, else of the first named import whose first trade of the market comes before it and whose
    last one after it. What was recorded after `known_by` counts as missing: a second before and
    after each such trade is not whole.
    """
    ids, is_alone = list(tickers), selection.sources == SnapshotSources.IMPORTED
    # An import alone goes by no clock but its own.
    skew = timedelta() if is_alone else record.polls.clock_skew(selection.start, selection.end)
    sources = _imported(ids, selection)
    if not is_alone:
        recorded = _recorded(tickers, quoted, selection, known_by=known_by, skew=skew)
        sources = {RECORD: recorded, **sources}
    if not any(len(each.since) for each in sources.values()):
        return None
    columns = dict(
        record.trades.columns(
            ids,
            selection.start,
            selection.end,
            imports=selection.imports,
            only_imported=is_alone,
        )
    )
    columns["market"] = _numbered(ids, columns["market"])
    sources = _one_for_each_time(_without_late(sources, columns, microseconds(known_by)))
    kept = np.flatnonzero(_are_told(sources, columns))
    origins.add(TOLD_TRADES, counted(columns["source"][kept], TRADE_ORIGINS))
    return _tape(columns, kept, joined(list(sources.values())), ahead=skew // MICROSECOND)


def _tape(columns: Mapping[str, Ints], kept: Ints, whole: Stretches, *, ahead: int) -> TradeTape:
    kept = kept[np.lexsort((columns["market"][kept], columns["at"][kept]))]
    at = columns["at"][kept] + ahead
    price, contracts, taker = (columns[name][kept] for name in ("price", "contracts", "taker"))
    known_at = np.maximum(columns["known_at"][kept], at)
    market, spans = columns["market"][kept], whole.spans
    since, until = whole.since + ahead, whole.until + ahead
    return TradeTape(at, market, price, contracts, taker, known_at, spans, since, until)


# --- sources of trades --------------------------------------------------------------------------


def _without_late(sources: Sources, columns: Mapping[str, Ints], known_by: int) -> Sources:
    """Cut out the surroundings of trades that came later."""
    late = columns["recorded_at"] > known_by
    if not late.any():
        return sources
    found = {}
    for source, whole in sources.items():
        rows = late & (columns["import"] == source)
        at = columns["at"][rows]
        found[source] = whole.without(columns["market"][rows], at - AROUND, at + AROUND + 1)
    return found


def _one_for_each_time(sources: Sources) -> Sources:
    """Leave to each source the times of markets that no source before it has."""
    found: dict[int, Stretches] = {}
    for source, whole in sources.items():
        found[source] = reduce(Stretches.outside, found.values(), whole)
    return found


def _are_told(sources: Sources, columns: Mapping[str, Ints]) -> Bools:
    """Return which trades lie in a time of their own source."""
    told = np.zeros(len(columns["at"]), np.bool_)
    for source, whole in sources.items():
        rows = np.flatnonzero(columns["import"] == source)
        told[rows] = whole.covering(columns["market"][rows], columns["at"][rows]) >= 0
    return told


def _imported(ids: Sequence[int], selection: MarketSelection) -> Sources:
    """The times in the window from the first to the last trade of each market, by import in the
    order of their naming."""
    number, nothing = {id: n for n, id in enumerate(ids)}, np.zeros(len(ids), np.int64)
    first, last = microseconds(selection.start), microseconds(selection.end) - 1
    rows: dict[int, list[tuple[int, int, int]]] = {id: [] for id in selection.imports}
    for own in record.imported_spans.times(selection.imports, ids, selection.start, selection.end):
        if own.kind == Kind.TRADES:
            time = number[own.market_id], max(own.first, first), min(own.last, last)
            rows[own.import_id].append(time)
    return {id: stretches_of([], nothing, nothing - 1, own) for id, own in rows.items()}


def _recorded(
    tickers: Mapping[int, str],
    quoted: QuotedInstants,
    selection: MarketSelection,
    *,
    known_by: datetime,
    skew: timedelta,
) -> Stretches:
    """The times in which the record has all trades: followed live, or fetched afterwards."""
    ids, start, end = list(tickers), selection.start, selection.end
    window = Interval(start, end)
    followed = record.tape_spans.whole_for(
        ids, list(tickers.values()), window, known_by=known_by, skew=skew
    )
    rows = record.backfill_spans.whole(TRADES, ids, start, end, known_by=known_by)
    number = {id: n for n, id in enumerate(ids)}
    own = [(number[id], microseconds(a) + 1, microseconds(b)) for id, a, b in rows]
    if uncertain := [each for each in followed if each.while_observed]:
        silences = record.recorder_silences(ids, start, end, known_by=known_by)
        unseen = UnseenTimes.of(silences).shifted(-skew)
        own += _followed(uncertain, [], quoted, window).without(*unseen).rows()
    certain = [each for each in followed if not each.while_observed]
    return _followed(certain, own, quoted, window)


def _followed(
    followed: Sequence[WholeTape],
    own: list[tuple[int, int, int]],
    quoted: QuotedInstants,
    window: Interval,
) -> Stretches:
    """The stretches of the tape of the exchange, which holds the trades of markets that were
    recorded live then; joined with markets' own ones."""
    (_, since), (until, _) = quoted.backfilled_times()
    until = np.minimum(until - 1, microseconds(window.end) - 1)
    # Nearly always, most markets share their times, and the others are few.
    first, *others = sorted(followed, key=lambda each: -len(each.places)) or [NOWHERE]
    further = [
        (n, max(a, int(since[n])), min(b, int(until[n])))
        for each in others
        for n in each.places
        for a, b in _inclusive(each.times)
    ]
    sharing = np.isin(np.arange(len(since)), first.places)
    begins = np.where(sharing, since, AFTER_ALL)
    return stretches_of(_inclusive(first.times), begins, until, [*own, *further])


def _inclusive(intervals: Sequence[Interval]) -> list[tuple[int, int]]:
    return [(microseconds(start), microseconds(end) - 1) for start, end in intervals]


def _numbered(ids: Sequence[int], markets: Ints) -> Ints:
    """The place in `ids` of each market."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, markets, sorter=order)]
