"""Money in the kernel: fees and bounds of costs, fills, the end of orders, settlements."""

from backtests.data.universe import MISSING, Ints
from backtests.engine.compiled import bound, charge, compiled, flow, on_grid, payout
from backtests.engine.kernel_arrays import MarketTables
from backtests.engine.kernel_state import (
    CANCELLED,
    CASH,
    ENDED,
    FEES,
    FILL,
    FILLED,
    HELD_BACK,
    LEFT,
    NEW,
    NO_REASON,
    NOTHING,
    OVER,
    POSITION,
    RESERVED,
    REST_LIMIT,
    REST_ORDER,
    REST_SIDE,
    SENT,
    SENT_COUNT,
    SENT_LIMIT,
    SENT_ORDER,
    SENT_SIDE,
    SETTLED,
    TRADABLE,
    KernelOrder,
    KernelRun,
    Spot,
    write_entry,
)
from markets.fees import MOST_COUNT


@compiled
def free_cash(run: KernelRun, state: Ints) -> int:
    """Cash that is not held back for orders in other markets."""
    return run.figures[CASH] - run.figures[HELD_BACK] + state[RESERVED]  # type: ignore[no-any-return]


@compiled
def cost_bound(run: KernelRun, spot: Spot, state: Ints, side: int, count: int, limit: int) -> int:
    """The most cash that an order can cost, at the fees of the spot's instant."""
    if count > MOST_COUNT or not 0 < limit < 10_000:
        return 0  # refused for that
    terms = run.tables.terms
    term = _in_force(terms, run.tables.terms_from, spot)
    grid = run.tables.roundings[_era(run.tables, spot.at), 2]
    fee = bound(count, limit, terms[term, 1], terms[term, 2], grid)
    return max(0, fee - flow(state[POSITION], side, count, limit))


@compiled
def is_on_grid(tables: MarketTables, spot: Spot, price: int) -> bool:
    """Return whether a price is on the market's grid; an unknown grid refuses nothing."""
    grid = _in_force(tables.grids, tables.grids_from, spot)
    first, end = tables.grids[grid, 1], tables.grids[grid, 2]
    for i in range(first, end):
        if on_grid(price, tables.ranges[i, 0], tables.ranges[i, 1], tables.ranges[i, 2]):
            return True
    return bool(first == end)


@compiled
def _in_force(table: Ints, starts: Ints, spot: Spot) -> int:
    """The row in force for a market at an instant."""
    first, row = starts[spot.market], starts[spot.market + 1] - 1
    while row > first and table[row, 0] > spot.at:
        row -= 1
    return row  # type: ignore[no-any-return]


@compiled
def _era(tables: MarketTables, at: int) -> int:
    """The row of the fee rounding at an instant."""
    era = len(tables.roundings) - 1
    while era > 0 and tables.roundings[era, 0] > at:
        era -= 1
    return era


@compiled
def fill_order(
    run: KernelRun, spot: Spot, charged_at: int, order: KernelOrder, maker: int, accumulated: int
) -> int:
    """Book a fill; return what its order has accumulated towards rebates."""
    state, rate = run.states[spot.market], 1 + 2 * maker
    terms, eras = run.tables.terms, run.tables.roundings
    term = _in_force(terms, run.tables.terms_from, Spot(charged_at, spot.market, spot.row))
    era = _era(run.tables, charged_at)
    moved = flow(state[POSITION], order.side, order.contracts, order.price)
    fee, accumulated = charge(
        order.contracts, order.price, moved, terms[term, rate], terms[term, rate + 1],
        eras[era, 1], eras[era, 2], eras[era, 3], accumulated,
    )  # fmt: skip
    run.figures[CASH] += moved - fee
    run.figures[FEES] += fee
    run.figures[FILLED] += 1
    state[POSITION] += order.side * order.contracts
    write_entry(run, spot, FILL, order, fee, maker, NO_REASON)
    return accumulated


@compiled
def end_rest(run: KernelRun, spot: Spot, state: Ints, reason: int) -> None:
    order = KernelOrder(state[REST_ORDER], state[REST_SIDE], state[LEFT], state[REST_LIMIT])
    run.figures[HELD_BACK] -= state[RESERVED]
    state[LEFT], state[RESERVED] = 0, 0
    write_entry(run, spot, CANCELLED, order, 0, 0, reason)


@compiled
def end_sent(run: KernelRun, spot: Spot, state: Ints, kind: int, reason: int) -> None:
    if state[SENT] == NEW:
        order = KernelOrder(
            state[SENT_ORDER], state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
        )
        write_entry(run, spot, kind, order, 0, 0, reason)
    state[SENT] = NOTHING


@compiled
def settle(run: KernelRun, done: int, now: int) -> int:
    """Pay the settlements that are due by now; return how many are done in all."""
    due = run.tables.settlements
    while done < len(due) and due[done, 0] <= now:
        spot, value = Spot(due[done, 0], due[done, 1], MISSING), due[done, 2]
        state = run.states[spot.market]
        if state[LEFT]:
            end_rest(run, spot, state, OVER)
        if state[SENT]:
            end_sent(run, spot, state, CANCELLED, OVER)
        position = state[POSITION]
        state[POSITION], state[ENDED], state[TRADABLE] = 0, 1, 0
        if position:
            run.figures[CASH] += payout(position, value)
            ended = KernelOrder(MISSING, 1 if position > 0 else -1, abs(position), value)
            write_entry(run, spot, SETTLED, ended, 0, 0, NO_REASON)
        done += 1
    return done
