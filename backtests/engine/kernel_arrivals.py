"""What is on its way in the kernel, as a heap of markets: each has at most one order sent."""

from backtests.data.universe import Ints
from backtests.engine.compiled import compiled
from backtests.engine.kernel_state import ENDS_AT, FAR_FUTURE, NEXT, WAITING, KernelRun


@compiled
def add_waiting(run: KernelRun, market: int) -> None:
    """Add a market whose order was sent."""
    waiting, states, place = run.waiting, run.states, run.figures[WAITING]
    run.figures[WAITING] += 1
    while place > 0:
        above = (place - 1) // 2
        if not _is_before(states, market, waiting[above]):
            break
        waiting[place] = waiting[above]
        place = above
    waiting[place] = market
    run.figures[NEXT] = states[waiting[0], ENDS_AT]


@compiled
def next_waiting(run: KernelRun) -> int:
    """Remove and return the market whose turn it is: the first by instant, then by index."""
    waiting, states, place = run.waiting, run.states, 0
    first, left = waiting[0], run.figures[WAITING] - 1
    last, below = waiting[left], 1
    while below < left:
        if below + 1 < left and _is_before(states, waiting[below + 1], waiting[below]):
            below += 1
        if not _is_before(states, waiting[below], last):
            break
        waiting[place] = waiting[below]
        place, below = below, 2 * below + 1
    waiting[place] = last
    run.figures[WAITING] = left
    run.figures[NEXT] = states[waiting[0], ENDS_AT] if left else FAR_FUTURE
    return first  # type: ignore[no-any-return]


@compiled
def _is_before(states: Ints, market: int, other: int) -> bool:
    ends, others = states[market, ENDS_AT], states[other, ENDS_AT]
    return bool(ends < others or (ends == others and market < other))
