"""Observations of markets: instants that many of them share, in a form that is quick to ask.

A market that was observed every five seconds for a day has 17,280 observations. Five hundred
markets whose quotes came on the same pages share them, so they are kept once, as a stream. The
functions below the class take plain arrays, since backtests compile them.
"""

from typing import NamedTuple

from kalshi_insights.arrays import Ints, first_from, np

# A market counts as unobserved after this many intervals of its tier without an observation.
STALE_AFTER = 3
# No observation, before any and after all.
BEFORE_ALL, AFTER_ALL = -1, 2**63 - 1


class ObservedInstants(NamedTuple):
    """The observations of several markets, each known by its index.

    Stream `s` has the instants `instants[starts[s]:starts[s + 1]]`, in microseconds since 1970,
    strictly increasing, and `runs` holds for each of them the number of the run that made it, -1
    where no run of the recorder did. For each `i` from `spans[m]` on and before `spans[m + 1]`,
    market `m` was observed at the instants of stream `streams[i]` from `since[i]` to `until[i]`,
    both included.

    One run gives a market one observation, the newest of it.
    """

    instants: Ints
    runs: Ints
    starts: Ints
    spans: Ints
    since: Ints
    until: Ints
    streams: Ints

    @property
    def markets(self) -> int:
        return len(self.spans) - 1

    def of_market(self, market: int) -> Ints:
        """Return the instants of one market, oldest first."""
        found, runs = [], []
        for i in range(self.spans[market], self.spans[market + 1]):
            stream = self.streams[i]
            own = slice(self.starts[stream], self.starts[stream + 1])
            instants = self.instants[own]
            first = np.searchsorted(instants, self.since[i])
            end = np.searchsorted(instants, self.until[i], side="right")
            found.append(instants[first:end])
            runs.append(self.runs[own][first:end])
        if not found:
            return np.empty(0, np.int64)
        at, run = np.concatenate(found), np.concatenate(runs)
        order = np.lexsort((run, at))
        at, run = at[order], run[order]
        # The last of each run counts; what no run made counts always.
        _, from_behind = np.unique(run[::-1], return_index=True)
        is_last = run == -1
        is_last[len(run) - 1 - from_behind] = True
        return np.unique(at[is_last])

    def select(self, markets: Ints) -> "ObservedInstants":
        """Return the observations of some of the markets, in the given order."""
        counts = self.spans[markets + 1] - self.spans[markets]
        spans = np.concatenate(([0], np.cumsum(counts)))
        places = np.arange(spans[-1]) - np.repeat(spans[:-1] - self.spans[markets], counts)
        return self._replace(
            spans=spans,
            since=self.since[places],
            until=self.until[places],
            streams=self.streams[places],
        )


def first_observation(observed: ObservedInstants, market: int, at: int) -> int:
    """Return the first observation of a market at or after an instant; `AFTER_ALL` if none."""
    first = AFTER_ALL
    for i in range(observed.spans[market], observed.spans[market + 1]):
        end = observed.starts[observed.streams[i] + 1]
        place = _at_or_after(observed, i, max(at, observed.since[i]))
        # What no run made may lie between an instant and the newest of its run.
        while 0 <= place < end and observed.instants[place] <= observed.until[i]:
            if observed.instants[place] >= first:
                break
            first = min(first, _newest_of_run(observed, market, place))
            place += 1
    return first


def is_observed(observed: ObservedInstants, market: int, at: int) -> bool:
    """Return whether a market was looked at at an instant, be it the newest of its run or not."""
    for i in range(observed.spans[market], observed.spans[market + 1]):
        if observed.since[i] <= at <= observed.until[i]:
            place = _at_or_after(observed, i, at)
            if place >= 0 and observed.instants[place] == at:
                return True
    return False


def last_observation(observed: ObservedInstants, market: int, before: int) -> int:
    """Return the last observation of a market before an instant; `BEFORE_ALL` if none."""
    last = BEFORE_ALL
    for i in range(observed.spans[market], observed.spans[market + 1]):
        limit = min(before - 1, observed.until[i]) + 1
        place = _last_before(observed, i, limit)
        # An instant of a run that showed the market again, at `before` or later, does not count.
        while place >= 0 and observed.instants[place] >= observed.since[i]:
            newest = _newest_of_run(observed, market, place)
            if newest < before:
                last = max(last, newest)
                break
            place = _last_before(observed, i, observed.instants[place])
    return last


def _newest_of_run(observed: ObservedInstants, market: int, place: int) -> int:
    """Return the newest instant at which the run of this one showed the market."""
    newest, run = int(observed.instants[place]), observed.runs[place]
    if run == -1:
        return newest
    for i in range(observed.spans[market], observed.spans[market + 1]):
        end = observed.starts[observed.streams[i] + 1]
        other = _at_or_after(observed, i, newest)
        while other >= 0 and other < end and observed.instants[other] <= observed.until[i]:
            if observed.runs[other] == run and observed.instants[other] >= observed.since[i]:
                newest = max(newest, int(observed.instants[other]))
            elif observed.runs[other] != run and observed.runs[other] != -1:
                break
            other += 1
    return newest


def _at_or_after(observed: ObservedInstants, span: int, at: int) -> int:
    """Return the place of a span's first instant at or after another; -1 if there is none."""
    stream = observed.streams[span]
    end = observed.starts[stream + 1]
    place = first_from(observed.instants, observed.starts[stream], end, at)
    return int(place) if place < end else -1


def _last_before(observed: ObservedInstants, span: int, at: int) -> int:
    """Return the place of the last instant of a span's stream before another; -1 if none."""
    stream = observed.streams[span]
    start = observed.starts[stream]
    place = first_from(observed.instants, start, observed.starts[stream + 1], at)
    return int(place) - 1 if place > start else -1
