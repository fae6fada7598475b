"""Observations as a plain list for each market: where rows alone prove them, and other futures."""

from kalshi_insights.arrays import Bools, Ints, np
from markets.observed import AFTER_ALL, ObservedInstants


def flat(market: Ints, at: Ints, *, markets: int) -> ObservedInstants:
    """Make the observations of pairs of a market and an instant, sorted by both and distinct."""
    starts = np.searchsorted(market, np.arange(markets + 1))
    return ObservedInstants(
        instants=at,
        runs=np.full(len(at), -1),
        starts=starts,
        spans=np.arange(markets + 1),
        since=np.zeros(markets, np.int64),
        until=np.full(markets, AFTER_ALL),
        streams=np.arange(markets),
    )


def of_rows(market: Ints, at: Ints, *, markets: int) -> ObservedInstants:
    """Make observations of the rows of markets, which must go by time."""
    order = np.argsort(market, kind="stable")
    market, at = market[order], at[order]
    first = np.append(True, (np.diff(market) != 0) | (np.diff(at) != 0))[: len(at)]
    return flat(market[first], at[first], markets=markets)


def without_runs(observed: ObservedInstants) -> ObservedInstants:
    """Make observations that no run made of all of them, each on its own.

    What runs made becomes a list for each market. A stream that no run made stays, since many
    markets may share it: those of an import share every second of the time in which quotes stood.
    """
    of_runs = _made_by_runs(observed)
    if not of_runs.any():
        return observed
    listed = _only_spans(observed, of_runs)
    own = [listed.of_market(market) for market in range(observed.markets)]
    lists = flat(
        np.repeat(np.arange(observed.markets), list(map(len, own))),
        np.concatenate([*own, np.empty(0, np.int64)]),
        markets=observed.markets,
    )
    return _together(lists, _only_spans(observed, ~of_runs))


def _made_by_runs(observed: ObservedInstants) -> Bools:
    """Return for each span whether runs made observations of its stream."""
    made = np.concatenate(([0], np.cumsum(observed.runs != -1)))[observed.starts]
    found: Bools = (np.diff(made) > 0)[observed.streams]
    return found


def _only_spans(observed: ObservedInstants, kept: Bools) -> ObservedInstants:
    spans = np.concatenate(([0], np.cumsum(kept)))[observed.spans]
    return observed._replace(
        spans=spans,
        since=observed.since[kept],
        until=observed.until[kept],
        streams=observed.streams[kept],
    )


def _together(lists: ObservedInstants, shared: ObservedInstants) -> ObservedInstants:
    """Put the lists of markets, one for each, before the spans of the same markets."""
    begins = shared.spans[:-1]
    streams = shared.streams + lists.markets
    return ObservedInstants(
        instants=np.concatenate((lists.instants, shared.instants)),
        runs=np.full(len(lists.instants) + len(shared.instants), -1),
        starts=np.concatenate((lists.starts, shared.starts[1:] + lists.starts[-1])),
        spans=lists.spans + shared.spans,
        since=np.insert(shared.since, begins, lists.since),
        until=np.insert(shared.until, begins, lists.until),
        streams=np.insert(streams, begins, lists.streams),
    )


def only(observed: ObservedInstants, kept: Bools) -> ObservedInstants:
    """Return observations with some of the instants of their streams."""
    starts = np.concatenate(([0], np.cumsum(kept)))[observed.starts]
    instants, runs = observed.instants[kept], observed.runs[kept]
    return observed._replace(instants=instants, runs=runs, starts=starts)


def places(observed: ObservedInstants, market: Ints, at: Ints) -> Ints:
    """Return the places of instants in the streams of their markets, as far as these have them."""
    if not len(observed.instants):
        return np.empty(0, np.int64)
    begin, end = int(observed.instants.min()), int(observed.instants.max())
    inside = (at >= begin) & (at <= end)
    market, at, length = market[inside], at[inside] - begin, end - begin + 1
    stream = np.repeat(np.arange(len(observed.starts) - 1), np.diff(observed.starts))
    known = stream * length + observed.instants - begin
    first, streams = _streams(observed)
    counts = np.diff(first)[market]
    # Each instant, in each of the streams of its market.
    each = np.repeat(np.arange(len(at)), counts)
    number = np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)
    wanted = streams[first[market[each]] + number] * length + at[each]
    found = np.searchsorted(known, wanted)
    have: Ints = found[np.append(known, -1)[found] == wanted]
    return have


def _streams(observed: ObservedInstants) -> tuple[Ints, Ints]:
    """Return the distinct streams of each market, those of market `m` from `first[m]` on."""
    market = np.repeat(np.arange(observed.markets), np.diff(observed.spans))
    pairs = np.unique(np.column_stack((market, observed.streams)), axis=0)
    return np.searchsorted(pairs[:, 0], np.arange(observed.markets + 1)), pairs[:, 1]


def known_at(observed: ObservedInstants, at: int) -> ObservedInstants:
    """Return the observations until an instant, that instant included."""
    return observed._replace(until=np.minimum(observed.until, at))
