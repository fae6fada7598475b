"""Quotes that stand: rows of imports that were recorded whenever the quote changed.

Between two such rows the quote is the same all the time, so that an order meets it whenever it
arrives. A stream of whole seconds, which all markets share, holds these observations.
"""

from collections.abc import Sequence
from typing import NamedTuple

from backtests.data.observed_rows import QuotedInstants
from backtests.data.timeline import NEVER
from backtests.data.universe import MISSING, Ints
from kalshi_insights.arrays import np
from markets.observed import ObservedInstants

SECOND = 1_000_000
# Two million instants are 32 MB; those of a run of more than 23 days are further apart.
MOST_INSTANTS = 2_000_000


class StandingTime(NamedTuple):
    """A time in which a market's quote stood, both ends included."""

    market: int
    since: int
    until: int


class StandingRows(NamedTuple):
    """The rows of a market in an import: the last of them, and for how long one proves its quote.

    None for `gap_after` is up to the next row, however late.
    """

    market: int
    import_id: int
    last: int
    gap_after: int | None


def standing_times(quoted: QuotedInstants, rows: StandingRows, *, end: int) -> list[StandingTime]:
    """The times before `end` in which the quotes of a market in an import stood.

    A quote stands until the market's next one, of whatever source, but no longer than the import
    says; where it says nothing, up to its last row.
    """
    market = rows.market
    own = quoted.rows_of(market)
    at, stands = quoted.at[own], quoted.imports[own] == rows.import_id
    longest = rows.last if rows.gap_after is None else at + rows.gap_after
    until = np.minimum(np.append(at[1:], NEVER)[: len(at)], longest)
    goes_on = stands[:-1] & stands[1:] & (until[:-1] == at[1:])
    since = at[stands & ~np.append(False, goes_on)[: len(at)]]
    until = np.minimum(until[stands & ~np.append(goes_on, False)[: len(at)]], end - 1)
    return [StandingTime(market, a, b) for a, b in zip(since.tolist(), until.tolist(), strict=True)]


def with_standing(observed: ObservedInstants, times: Sequence[StandingTime]) -> ObservedInstants:
    """Add the times in which quotes stood, as parts of one stream."""
    if not times:
        return observed
    table = np.array(sorted(times), np.int64)
    stream = _seconds(int(table[:, 1].min()), int(table[:, 2].max()))
    market, since, until = table.T
    places = observed.spans[market + 1]
    added = np.searchsorted(market, np.arange(observed.markets + 1))
    return ObservedInstants(
        instants=np.concatenate((observed.instants, stream)),
        runs=np.concatenate((observed.runs, np.full(len(stream), MISSING))),
        starts=np.append(observed.starts, observed.starts[-1] + len(stream)),
        spans=observed.spans + added,
        since=np.insert(observed.since, places, since),
        until=np.insert(observed.until, places, until),
        streams=np.insert(observed.streams, places, len(observed.starts) - 1),
    )


def _seconds(since: int, until: int) -> Ints:
    """The whole seconds of a time, or as many of them as there is room for, evenly."""
    step = SECOND * ((until - since) // SECOND // MOST_INSTANTS + 1)
    return np.arange(since - since % step + step, until + 1, step, dtype=np.int64)
