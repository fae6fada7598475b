"""Observations of many markets at once: the first from an instant on, the last before one."""

from backtests.data.universe import MISSING, Ints
from kalshi_insights.arrays import np
from markets.observed import AFTER_ALL, ObservedInstants


def first_observations(observed: ObservedInstants, markets: Ints, at: Ints) -> Ints:
    """Return for each market the first observation at or after its instant.

    `AFTER_ALL` stands where there is none. The same as `markets.observed.first_observation` for
    each pair, whose runs must not overlap in time.
    """
    pair, span = _spans_of(observed, markets)
    place = _first_places(observed, span, at[pair])
    there = place != MISSING
    first, run, instant = pair[there], observed.runs[place[there]], observed.instants[place[there]]
    # Of a run, the newest instant counts; what no run made counts as it is.
    by_run = run != MISSING
    alone = _least(instant[~by_run], first[~by_run], len(markets))
    earliest = _least(instant[by_run], first[by_run], len(markets))
    chosen = by_run & (instant == earliest[first])
    runs = np.full(len(markets), MISSING)
    runs[first[chosen]] = run[chosen]
    return np.minimum(alone, _newest_of_runs(observed, pair, span, earliest, runs))


def search(values: Ints, low: Ints, high: Ints, targets: Ints) -> Ints:
    """Return for each target the first place from `low` on and before `high` whose value is not
    less, and `high` where there is none; `values` are sorted between the two."""
    low, high = low.copy(), high.copy()
    while (unsure := low < high).any():
        middle = (low + high) // 2
        less = np.zeros(len(low), np.bool_)
        less[unsure] = values[middle[unsure]] < targets[unsure]
        low = np.where(less, middle + 1, low)
        high = np.where(unsure & ~less, middle, high)
    return low


def _spans_of(observed: ObservedInstants, markets: Ints) -> tuple[Ints, Ints]:
    """Return every span of each market, and the place of the market in `markets`."""
    counts = observed.spans[markets + 1] - observed.spans[markets]
    pair = np.repeat(np.arange(len(markets)), counts)
    number = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pair, observed.spans[markets][pair] + number


def _first_places(observed: ObservedInstants, span: Ints, at: Ints) -> Ints:
    """Return the place of each span's first instant at or after another; `MISSING` if none."""
    stream = observed.streams[span]
    end = observed.starts[stream + 1]
    place = search(
        observed.instants, observed.starts[stream], end, np.maximum(at, observed.since[span])
    )
    there = place < end
    there[there] = observed.instants[place[there]] <= observed.until[span[there]]
    return np.where(there, place, MISSING)


def _newest_of_runs(
    observed: ObservedInstants, pair: Ints, span: Ints, earliest: Ints, runs: Ints
) -> Ints:
    """Return the newest instants at which runs showed the markets, from the earliest ones on."""
    newest = earliest.copy()
    wanted = earliest[pair] != AFTER_ALL
    pair, span = pair[wanted], span[wanted]
    place = _first_places(observed, span, earliest[pair])
    while len(pair):
        same = place != MISSING
        same[same] = observed.runs[place[same]] == runs[pair[same]]
        pair, span, place = pair[same], span[same], place[same]
        np.maximum.at(newest, pair, observed.instants[place])
        place = _first_places(observed, span, observed.instants[place] + 1)
    return newest


def _least(values: Ints, group: Ints, groups: int) -> Ints:
    least = np.full(groups, AFTER_ALL)
    np.minimum.at(least, group, values)
    return least
