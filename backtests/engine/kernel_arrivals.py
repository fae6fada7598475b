"""Orders on their way in the kernel, as a heap of markets: each has at most one order sent."""

from backtests.data.universe import Ints
from backtests.engine.compiled import compiled, end_of_way, gap_from, observation_from
from backtests.engine.kernel_arrays import KernelRules
from backtests.engine.kernel_state import (
    ARRIVES,
    ENDS_AT,
    ENDS_BY,
    FAR_FUTURE,
    HAS_EARLIER,
    NEW,
    NEXT,
    NO_REASON,
    SENT,
    STOPPED,
    TRADED_THEN,
    WAITING,
    Ways,
)
from markets.observed import AFTER_ALL


@compiled
def send(ways: Ways, rules: KernelRules, state: Ints, market: int, at: int, sent: int) -> None:
    """Send an order, whose observation is known to the record already, or a cancellation."""
    arrives = at + rules.latency
    state[SENT], state[ARRIVES] = sent, arrives
    state[ENDS_AT], state[ENDS_BY] = arrives, NO_REASON
    state[HAS_EARLIER], state[TRADED_THEN], state[STOPPED] = 0, 1, 0
    if sent == NEW:
        gap = AFTER_ALL
        if rules.expires_at_gaps:
            gap = gap_from(ways.gaps, market, at, arrives)
        meeting = observation_from(ways.observed, market, arrives)
        state[ENDS_AT], state[ENDS_BY] = end_of_way(
            arrives, meeting, rules.patience, gap, ways.last
        )


@compiled
def add_waiting(waiting: Ints, states: Ints, figures: Ints, market: int) -> None:
    """Add a market whose order was sent."""
    place = figures[WAITING]
    figures[WAITING] += 1
    while place > 0:
        above = (place - 1) // 2
        if not _is_before(states, market, waiting[above]):
            break
        waiting[place] = waiting[above]
        place = above
    waiting[place] = market
    figures[NEXT] = states[waiting[0], ENDS_AT]


@compiled
def next_waiting(waiting: Ints, states: Ints, figures: Ints) -> int:
    """Remove and return the market whose turn it is: the first by instant, then by index."""
    first, left, place = waiting[0], figures[WAITING] - 1, 0
    last, below = waiting[left], 1
    while below < left:
        if below + 1 < left and _is_before(states, waiting[below + 1], waiting[below]):
            below += 1
        if not _is_before(states, waiting[below], last):
            break
        waiting[place] = waiting[below]
        place, below = below, 2 * below + 1
    waiting[place] = last
    figures[WAITING] = left
    figures[NEXT] = states[waiting[0], ENDS_AT] if left else FAR_FUTURE
    return first  # type: ignore[no-any-return]


@compiled
def _is_before(states: Ints, market: int, other: int) -> bool:
    ends, others = states[market, ENDS_AT], states[other, ENDS_AT]
    return bool(ends < others or (ends == others and market < other))
