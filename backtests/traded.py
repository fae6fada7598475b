"""Trading: what is on record of the trades behind the quotes of a run."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from backtests.data.candles import CandleRanges
from backtests.data.first_observations import search
from backtests.data.observed_rows import QuotedInstants
from backtests.data.stretches import Stretches, stretches_of
from backtests.data.tape import TradeTape
from backtests.data.universe import Ints, microseconds
from backtests.record import record
from backtests.requests import MarketSelection
from kalshi_insights.arrays import np
from markets.coverage.gap_arrays import GapArrays
from markets.intervals import Interval
from markets.models.observations import MICROSECOND
from markets.models.tape import WholeTape
from markets.observed import AFTER_ALL

TRADES = "trades"  # the kind of a backfill of trades
NOWHERE = WholeTape((), ())
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


def tape(
    ids: Sequence[int],
    tickers: Sequence[str],
    quoted: QuotedInstants,
    selection: MarketSelection,
    *,
    known_by: datetime,
) -> TradeTape | None:
    """The public trades of the markets where none is missing; None where that is nowhere.

    Their instants are those of the record's clock. What was recorded after `known_by` counts as
    missing: a second before and after each such trade is not whole.
    """
    start, end = selection.start, selection.end
    skew = record.polls.clock_skew(start, end)
    window = Interval(start, end)
    followed = record.tape_spans.whole_for(ids, tickers, window, known_by=known_by, skew=skew)
    rows = record.backfill_spans.whole(TRADES, ids, start, end, known_by=known_by)
    number = {id: n for n, id in enumerate(ids)}
    own = [(number[id], microseconds(a) + 1, microseconds(b)) for id, a, b in rows]
    if uncertain := [each for each in followed if each.while_observed]:
        silences = record.recorder_silences(ids, start, end, known_by=known_by)
        unseen = UnseenTimes.of(silences).shifted(-skew)
        own += _followed(uncertain, [], quoted, window).without(*unseen).rows()
    certain = [each for each in followed if not each.while_observed]
    whole = _followed(certain, own, quoted, window)
    if not len(whole.since):
        return None
    columns = dict(record.trades.columns(ids, start, end))
    columns["market"] = _numbered(ids, columns["market"])
    late = columns["recorded_at"] > microseconds(known_by)
    at = columns["at"][late]
    whole = whole.without(columns["market"][late], at - AROUND, at + AROUND + 1)
    kept = np.flatnonzero(whole.covering(columns["market"], columns["at"]) >= 0)
    kept = kept[np.lexsort((columns["market"][kept], columns["at"][kept]))]
    ahead = skew // MICROSECOND
    at = columns["at"][kept] + ahead
    price, contracts, taker = (columns[name][kept] for name in ("price", "contracts", "taker"))
    known_at = np.maximum(columns["known_at"][kept], at)
    market, spans = columns["market"][kept], whole.spans
    since, until = whole.since + ahead, whole.until + ahead
    return TradeTape(at, market, price, contracts, taker, known_at, spans, since, until)


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
