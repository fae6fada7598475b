"""Observations as a plain list for each market: where rows alone prove them, and other futures."""

from kalshi_insights.arrays import Ints, np
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


def pairs(observed: ObservedInstants) -> tuple[Ints, Ints]:
    """Return the market and the instant of every observation, by market and time."""
    if _is_flat(observed):
        return np.repeat(observed.streams, np.diff(observed.starts)), observed.instants
    instants = [observed.of_market(market) for market in range(observed.markets)]
    market = np.repeat(np.arange(len(instants)), [len(own) for own in instants])
    return market, np.concatenate([*instants, np.empty(0, np.int64)])


def _is_flat(observed: ObservedInstants) -> bool:
    """Return whether observations are as `flat` makes them."""
    own = np.arange(len(observed.starts))
    return (
        np.array_equal(observed.spans, own)
        and np.array_equal(observed.streams, own[:-1])
        and not observed.since.any()
        and bool((observed.until == AFTER_ALL).all() and (observed.runs == -1).all())
    )


def known_at(observed: ObservedInstants, at: int) -> ObservedInstants:
    """Return the observations until an instant, that instant included."""
    return observed._replace(until=np.minimum(observed.until, at))
