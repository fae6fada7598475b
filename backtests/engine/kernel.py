"""The fast engine: strategies that say their target position as arrays, compiled by numba.

It follows the same rules as `engine` with the same functions of `fees`, `ledger` and `execution`,
and keeps the same journal: line by line, to the millionth of a dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

from backtests.data.universe import CONTRACT, MISSING, Ints, Universe, parts_of
from backtests.engine.kernel_arrays import Columns, Rules, Tables, columns_of, rules, tables_of
from backtests.metrics.marks import last_sides
from backtests.rules import execution, ledger
from backtests.rules.execution import HOLD, JOURNAL, Execution, Fills, Kind, Outcome, Reason
from markets import fees
from markets.fees import MOST_COUNT

if TYPE_CHECKING:
    from backtests.strategies.base import Signal

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compiled once and kept in a file; other threads go on while it runs.

    Arrays are lent, never made or kept. So numba need not count who holds them (`_nrt`), which
    at each call of a function with all of a run costs more than what the function does.
    """
    options: Any = {"cache": True, "nogil": True, "_nrt": False}
    return cast(F, numba.njit(**options)(function))


_flow = compiled(ledger.flow)
_payout = compiled(ledger.payout)
_charge = compiled(fees.charge)
_bound = compiled(fees.bound)
_shown = compiled(execution.shown)
_still_taken = compiled(execution.still_taken)
_crosses = compiled(execution.crosses)
_traded = compiled(execution.traded)
_exceeds = compiled(execution.exceeds)
_made = compiled(execution.made)
_ahead = compiled(execution.ahead)
_on_grid = compiled(execution.on_grid)

# The columns of a market's state: its book, the order on its way, the order that rests, and for
# which target it was short of what.
(
    SENT, LEFT, BID_TAKEN, ASK_TAKEN, POSITION, ENDED,
    BID, ASK, BID_SHOWN, ASK_SHOWN, LAST, VOLUME, TRADED, TRADABLE, SEEN, ROW, TERM, GRID,
    SENT_AT, SENT_SEEN, SENT_ORDER, SENT_SIDE, SENT_COUNT, SENT_LIMIT, FILLED_MEANWHILE,
    REST_ORDER, REST_SIDE, REST_LIMIT, REST_AHEAD, REST_OWED, RESERVED,
    SHORT, SHORT_FOR,
    STATES,
) = range(34)  # fmt: skip

# The run's own figures.
CASH, HELD_BACK, ORDERS, LINES, FILLED, FEES, FIGURES = range(7)

NOTHING, NEW, TAKE_BACK = 0, 1, 2  # what is on its way: an order, or the end of the one that rests
NO_ROW = -1
FIRST_JOURNAL = 65_536
FAR = np.iinfo(np.int64).max

# Enumerations as the plain numbers that compiled code knows.
ORDER, FILL, REFUSED, CANCELLED, SETTLED = (int(kind) for kind in Kind)
(
    NO_REASON, NOT_TRADING, OFF_GRID, OUT_OF_RANGE, POSITION_LIMIT, FUNDS, UNFILLED, EXPIRED,
    WOULD_CROSS, REPLACED, CLOSED, OVER, ASKED, TOO_LARGE, MEANWHILE,
) = (int(reason) for reason in Reason)  # fmt: skip


class Run(NamedTuple):
    """All that one run reads and writes; `targets` are in contracts, one a row."""

    quotes: Columns
    tables: Tables
    rules: Rules
    targets: Ints
    states: Ints
    figures: Ints
    journal: Ints


class Spot(NamedTuple):
    """When and where something happens: an instant, a market and a row of its quotes."""

    at: int
    market: int
    row: int


class Order(NamedTuple):
    number: int
    side: int
    contracts: int  # in 1/100
    price: int


def run(
    universe: Universe, targets: Ints, execution: Execution, fills: Fills, *, cash: int
) -> Outcome:
    """Trade towards targets: one for each row of the quotes, in contracts, or `HOLD`.

    `cash` in millionths of a dollar. Raises ValueError where a target is too large for its fee.
    """
    checked(targets)
    setting = columns_of(universe), tables_of(universe, execution), rules(execution, fills)
    lines = FIRST_JOURNAL
    while True:
        run = Run(*setting, targets, *start(len(universe.listings), cash), journal_of(lines))
        trade(run)
        if run.figures[LINES] <= lines:
            break
        lines = int(run.figures[LINES])
    held = {m: int(p) for m, p in enumerate(run.states[:, POSITION]) if p}
    return Outcome(run.journal[: run.figures[LINES]].copy(), int(run.figures[CASH]), held)


class Summary(NamedTuple):
    """What one of many runs came to; money in millionths of a dollar."""

    cash: int
    equity: int
    fees: int
    fills: int


def sweep(
    universe: Universe, signals: Sequence[Signal], execution: Execution, fills: Fills, *, cash: int
) -> list[Summary]:
    """One run for each signal, on all cores, without journals; equity is marked at the end.

    Raises ValueError as `run` does.
    """
    quotes, tables, numbers = (
        columns_of(universe),
        tables_of(universe, execution),
        rules(execution, fills),
    )
    parts, marks = list(parts_of(universe)), last_sides(universe)

    def one(signal: Signal) -> Summary:
        targets = np.empty(len(universe.quotes), np.int64)
        for rows, seen in parts:
            targets[rows] = checked(seen.in_time(signal.targets(seen)))
        state = start(len(universe.listings), cash)
        trade(Run(quotes, tables, numbers, targets, *state, journal_of(0)))
        return _summed(*state, marks)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, signals))


def _summed(states: Ints, figures: Ints, marks: Ints) -> Summary:
    held = states[:, POSITION]
    worth = np.abs(held) * np.where(held > 0, marks[:, 0], marks[:, 1])
    cash = int(figures[CASH])
    return Summary(cash, cash + int(worth.sum()), int(figures[FEES]), int(figures[FILLED]))


def checked(targets: Ints) -> Ints:
    """Raises ValueError where a target is too large for its fee."""
    most = MOST_COUNT // CONTRACT
    if np.any((targets > most) | ((targets < -most) & (targets != HOLD))):
        raise ValueError(f"a target exceeds {most:,} contracts")
    return targets


def journal_of(lines: int) -> Ints:
    return np.empty((lines, len(JOURNAL)), np.int64)


def start(markets: int, cash: int) -> tuple[Ints, Ints]:
    """The state of every market, and the figures of the run."""
    states = np.zeros((markets, STATES), np.int64)
    states[:, (BID, ASK, LAST, VOLUME, ROW)] = MISSING
    figures = np.zeros(FIGURES, np.int64)
    figures[CASH] = cash
    return states, figures


@compiled
def trade(run: Run) -> None:
    """One pass over all rows: settlements, books, orders, decisions of each instant in turn.

    A book is read where an order could meet it or one could be sent, and nowhere else: most rows
    of most markets are neither.
    """
    # Handing all of a run to a function costs more than most rows do, so the loop asks first.
    at, market, states, targets = run.quotes.at, run.quotes.market, run.states, run.targets
    due, make = run.tables.settlements, run.rules.make
    settled, row, rows = 0, 0, len(at)
    while row < rows:
        now, end = at[row], row + 1
        while end < rows and at[end] == now:
            end += 1
        if settled < len(due) and due[settled, 0] <= now:
            settled = _settle(run, settled, now)
        for r in range(row, end):
            m = market[r]
            if make:
                _hear(states[m], run.quotes.volume[r])
            if states[m, SENT] or states[m, LEFT] or states[m, BID_TAKEN] or states[m, ASK_TAKEN]:
                _see(run, r, states[m])
                if states[m, LEFT] or states[m, SENT]:
                    _meet(run, Spot(now, m, r), states[m])
        for r in range(row, end):
            target, m = targets[r], market[r]
            if target == HOLD or states[m, SENT]:
                continue
            if target * 100 != states[m, POSITION] or states[m, LEFT]:
                _see(run, r, states[m])
                if states[m, TRADABLE]:
                    _decide(run, Spot(now, m, r), states[m])
        row = end
    _settle(run, settled, FAR)


@compiled
def _hear(state: Ints, volume: int) -> None:
    """What traded since the row before, for orders that rest."""
    state[TRADED] = _traded(state[VOLUME], volume)
    state[VOLUME] = max(state[VOLUME], volume)


@compiled
def _see(run: Run, row: int, state: Ints) -> None:
    """Put a row's book in the place of the one before."""
    quotes, assumed = run.quotes, run.rules.assumed
    if state[ROW] == row:
        return
    bid, ask = quotes.bid[row], quotes.ask[row]
    bids = _shown(quotes.bid_size[row], bid, assumed)
    asks = _shown(quotes.ask_size[row], ask, assumed)
    if state[BID_TAKEN]:
        state[BID_TAKEN] = _still_taken(state[BID_TAKEN], state[BID], bid, bids)
    if state[ASK_TAKEN]:
        state[ASK_TAKEN] = _still_taken(state[ASK_TAKEN], state[ASK], ask, asks)
    state[BID], state[ASK], state[BID_SHOWN], state[ASK_SHOWN] = bid, ask, bids, asks
    state[LAST] = quotes.last[row]
    state[TRADABLE] = quotes.tradable[row] and not state[ENDED]
    state[SEEN] += 1
    state[ROW] = row


@compiled
def _tell(
    run: Run, spot: Spot, kind: int, order: Order, fee: int, liquidity: int, reason: int
) -> None:
    """One line, where there is room; the caller sees by `LINES` whether there was."""
    line = run.figures[LINES]
    run.figures[LINES] += 1
    if line >= len(run.journal):
        return
    told = run.journal[line]
    told[0], told[1], told[2], told[3] = spot.at, kind, spot.market, order.number
    told[4], told[5], told[6] = order.side, order.contracts, order.price
    told[7], told[8], told[9], told[10] = fee, liquidity, reason, spot.row
    told[11], told[12] = run.figures[CASH], run.states[spot.market, POSITION]


@compiled
def _settle(run: Run, done: int, now: int) -> int:
    """Pay what is due by now; answers with how many settlements are done."""
    due = run.tables.settlements
    while done < len(due) and due[done, 0] <= now:
        spot, value = Spot(due[done, 0], due[done, 1], NO_ROW), due[done, 2]
        state = run.states[spot.market]
        if state[LEFT]:
            _end_rest(run, spot, state, OVER)
        if state[SENT]:
            _end_sent(run, spot, state, CANCELLED, OVER)
        position = state[POSITION]
        state[POSITION], state[ENDED], state[TRADABLE] = 0, 1, 0
        if position:
            run.figures[CASH] += _payout(position, value)
            ended = Order(MISSING, 1 if position > 0 else -1, abs(position), value)
            _tell(run, spot, SETTLED, ended, 0, 0, NO_REASON)
        done += 1
    return done


@compiled
def _meet(run: Run, spot: Spot, state: Ints) -> None:
    """Let the book that a row shows meet the order that rests, then the one that arrives."""
    if state[LEFT]:
        if state[TRADABLE]:
            _fill_rest(run, spot, state)
        else:
            _end_rest(run, spot, state, CLOSED)
    if state[SENT] and state[SEEN] - state[SENT_SEEN] >= run.rules.snapshots:
        _arrive(run, spot, state)


@compiled
def _decide(run: Run, spot: Spot, state: Ints) -> None:
    """Send what brings the market nearer to its target, one order at a time."""
    target = run.targets[spot.row]
    missing = target * 100 - state[POSITION]
    if missing:
        side = 1 if missing > 0 else -1
        price = _wished(run.rules.make, side, abs(missing), state)
        order = Order(run.figures[ORDERS], side, abs(missing), price)
        if price < 0 or _is_short(run, spot, state, order):
            return
        run.figures[ORDERS] += 1
        state[SENT], state[SENT_ORDER] = NEW, order.number
        state[SHORT], state[SHORT_FOR] = NO_REASON, target
        state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT] = side, order.contracts, price
        state[FILLED_MEANWHILE] = 0
        _tell(run, spot, ORDER, order, 0, 0, NO_REASON)
    elif state[LEFT]:
        state[SENT] = TAKE_BACK
    else:
        return
    state[SENT_AT], state[SENT_SEEN] = spot.at, state[SEEN]
    if run.rules.snapshots == 0 and run.rules.latency == 0:
        _arrive(run, spot, state)


@compiled
def _is_short(run: Run, spot: Spot, state: Ints, order: Order) -> bool:
    """Whether an order for this target was refused, and this one would be again."""
    if state[SHORT] == NO_REASON or run.targets[spot.row] != state[SHORT_FOR]:
        return False
    if state[SHORT] == POSITION_LIMIT:
        return True
    # The price may be another since.
    need = _need(run, spot, state, order.side, order.contracts, order.price)
    return bool(need > _free(run, state))


@compiled
def _free(run: Run, state: Ints) -> int:
    """Cash that is not held back for orders in other markets."""
    return run.figures[CASH] - run.figures[HELD_BACK] + state[RESERVED]  # type: ignore[no-any-return]


@compiled
def _wished(make: bool, side: int, count: int, state: Ints) -> int:
    """The price of the order to send; below zero where there is nothing to send."""
    if make:
        price = state[BID] if side > 0 else state[ASK]
        resting = state[LEFT] == count and state[REST_SIDE] == side and state[REST_LIMIT] == price
        return MISSING if resting else price
    if side > 0:
        return state[ASK] if state[ASK_SHOWN] > state[ASK_TAKEN] else MISSING
    return state[BID] if state[BID_SHOWN] > state[BID_TAKEN] else MISSING


@compiled
def _arrive(run: Run, spot: Spot, state: Ints) -> None:
    """Once its latency is over: take back the order that rests, or let the new one trade."""
    waited = spot.at - state[SENT_AT] - run.rules.latency
    if waited < 0:
        return
    if state[SENT] == TAKE_BACK:
        state[SENT] = NOTHING
        if state[LEFT]:
            _end_rest(run, spot, state, ASKED)
        return
    if waited > run.rules.patience:
        _end_sent(run, spot, state, CANCELLED, EXPIRED)
        return
    if state[LEFT]:
        _end_rest(run, spot, state, REPLACED)
    if state[FILLED_MEANWHILE] and _amend(run, spot, state) == 0:
        return
    need = _need(run, spot, state, state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT])
    reason = _objection(run, spot, state, need)
    if reason:
        if reason in (FUNDS, POSITION_LIMIT):
            state[SHORT] = reason
        _end_sent(run, spot, state, REFUSED, reason)
    elif run.rules.make:
        _rest(run, state, need)
    else:
        _take(run, spot, state)


@compiled
def _amend(run: Run, spot: Spot, state: Ints) -> int:
    """Take off what the replaced order filled while this one was on its way; what is left."""
    filled = min(state[FILLED_MEANWHILE], state[SENT_COUNT])
    part = Order(state[SENT_ORDER], state[SENT_SIDE], filled, state[SENT_LIMIT])
    _tell(run, spot, CANCELLED, part, 0, 0, MEANWHILE)
    state[SENT_COUNT] -= filled
    if state[SENT_COUNT] == 0:
        state[SENT] = NOTHING
    return state[SENT_COUNT]  # type: ignore[no-any-return]


@compiled
def _objection(run: Run, spot: Spot, state: Ints, need: int) -> int:
    """Why the exchange would refuse the order that arrives; 0 where it would not."""
    side, count, limit = state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
    if not state[TRADABLE]:
        return NOT_TRADING
    if not 0 < limit < 10_000:
        return OUT_OF_RANGE
    if not _fits(run.tables, spot, state, limit):
        return OFF_GRID
    if count > MOST_COUNT:
        return TOO_LARGE
    if _exceeds(run.rules.limit, state[POSITION], side, count):
        return POSITION_LIMIT
    if need > run.figures[CASH] - run.figures[HELD_BACK]:
        return FUNDS
    if run.rules.make and _crosses(side, limit, state[BID], state[ASK]):
        return WOULD_CROSS
    return NO_REASON


@compiled
def _fits(tables: Tables, spot: Spot, state: Ints, price: int) -> bool:
    """An unknown grid refuses nothing."""
    grid = _in_force(tables.grids, tables.grids_from, spot, state[GRID])
    state[GRID] = grid
    first, end = tables.grids[grid, 1], tables.grids[grid, 2]
    for i in range(first, end):
        if _on_grid(price, tables.stretches[i, 0], tables.stretches[i, 1], tables.stretches[i, 2]):
            return True
    return bool(first == end)


@compiled
def _need(run: Run, spot: Spot, state: Ints, side: int, count: int, limit: int) -> int:
    """The cash that an order can cost at the most."""
    if count > MOST_COUNT or not 0 < limit < 10_000:
        return 0  # refused for that
    terms, term = run.tables.terms, _term(run.tables, spot, state)
    grid = run.tables.roundings[_era(run.tables, spot.at), 2]
    fee = _bound(count, limit, terms[term, 1], terms[term, 2], grid)
    return max(0, fee - _flow(state[POSITION], side, count, limit))


@compiled
def _term(tables: Tables, spot: Spot, state: Ints) -> int:
    """The row of the market's fee terms in force."""
    state[TERM] = _in_force(tables.terms, tables.terms_from, spot, state[TERM])
    return state[TERM]  # type: ignore[no-any-return]


@compiled
def _in_force(table: Ints, starts: Ints, spot: Spot, before: int) -> int:
    """The row of what is in force in a market, at `before` or later: time only goes on."""
    row = max(before, starts[spot.market])
    while row + 1 < starts[spot.market + 1] and table[row + 1, 0] <= spot.at:
        row += 1
    return row  # type: ignore[no-any-return]


@compiled
def _era(tables: Tables, at: int) -> int:
    """The row that tells how fees are rounded at an instant."""
    era = len(tables.roundings) - 1
    while era > 0 and tables.roundings[era, 0] > at:
        era -= 1
    return era


@compiled
def _take(run: Run, spot: Spot, state: Ints) -> None:
    """Immediate or cancel: what is offered at the limit or better, and no more."""
    side, count, limit = state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
    number = state[SENT_ORDER]
    state[SENT] = NOTHING
    filled = 0
    if _crosses(side, limit, state[BID], state[ASK]):
        shown, taken, best = (
            (ASK_SHOWN, ASK_TAKEN, ASK) if side > 0 else (BID_SHOWN, BID_TAKEN, BID)
        )
        filled = max(0, min(count, state[shown] - state[taken]))
        if filled:
            _book(run, spot, state, Order(number, side, filled, state[best]), 0, 0)
            state[taken] += filled
    if filled < count:
        rest = Order(number, side, count - filled, limit)
        _tell(run, spot, CANCELLED, rest, 0, 0, UNFILLED)


@compiled
def _rest(run: Run, state: Ints, need: int) -> None:
    """Join the queue; the cash that the order may cost is held back."""
    side, limit = state[SENT_SIDE], state[SENT_LIMIT]
    best, shown = (BID, BID_SHOWN) if side > 0 else (ASK, ASK_SHOWN)
    state[SENT] = NOTHING
    state[LEFT], state[REST_ORDER], state[REST_SIDE] = state[SENT_COUNT], state[SENT_ORDER], side
    state[REST_LIMIT], state[REST_OWED], state[RESERVED] = limit, 0, need
    state[REST_AHEAD] = _ahead(side, limit, state[best], state[shown])
    run.figures[HELD_BACK] += need


@compiled
def _fill_rest(run: Run, spot: Spot, state: Ints) -> None:
    """What the newest book gives to the order that rests."""
    side, limit, left = state[REST_SIDE], state[REST_LIMIT], state[LEFT]
    shown, taken, best = (ASK_SHOWN, ASK_TAKEN, ASK) if side > 0 else (BID_SHOWN, BID_TAKEN, BID)
    if _need(run, spot, state, side, left, limit) > _free(run, state):
        _end_rest(run, spot, state, FUNDS)
        return
    offered = max(0, state[shown] - state[taken])
    filled = _made(
        run.rules.fills, side, left, limit, state[best], offered, state[LAST], state[TRADED],
        state[REST_AHEAD],
    )  # fmt: skip
    if not filled:
        return
    if _crosses(side, limit, state[BID], state[ASK]):
        state[taken] += min(filled, offered)
    run.figures[HELD_BACK] -= state[RESERVED]
    order = Order(state[REST_ORDER], side, filled, limit)
    state[REST_OWED] = _book(run, spot, state, order, 1, state[REST_OWED])
    state[LEFT] = left - filled
    if state[SENT] == NEW and state[SENT_SIDE] == side:
        state[FILLED_MEANWHILE] += filled
    state[RESERVED] = _need(run, spot, state, side, left - filled, limit) if left > filled else 0
    run.figures[HELD_BACK] += state[RESERVED]


@compiled
def _book(run: Run, spot: Spot, state: Ints, order: Order, maker: int, accumulated: int) -> int:
    """Put a fill on the account; answers with what its order has accumulated for rebates."""
    terms, eras, rate = run.tables.terms, run.tables.roundings, 1 + 2 * maker
    term, era = _term(run.tables, spot, state), _era(run.tables, spot.at)
    moved = _flow(state[POSITION], order.side, order.contracts, order.price)
    fee, accumulated = _charge(
        order.contracts, order.price, moved, terms[term, rate], terms[term, rate + 1],
        eras[era, 1], eras[era, 2], eras[era, 3], accumulated,
    )  # fmt: skip
    run.figures[CASH] += moved - fee
    run.figures[FEES] += fee
    run.figures[FILLED] += 1
    state[POSITION] += order.side * order.contracts
    _tell(run, spot, FILL, order, fee, maker, NO_REASON)
    return accumulated


@compiled
def _end_rest(run: Run, spot: Spot, state: Ints, reason: int) -> None:
    order = Order(state[REST_ORDER], state[REST_SIDE], state[LEFT], state[REST_LIMIT])
    run.figures[HELD_BACK] -= state[RESERVED]
    state[LEFT], state[RESERVED] = 0, 0
    _tell(run, spot, CANCELLED, order, 0, 0, reason)


@compiled
def _end_sent(run: Run, spot: Spot, state: Ints, kind: int, reason: int) -> None:
    if state[SENT] == NEW:
        order = Order(state[SENT_ORDER], state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT])
        _tell(run, spot, kind, order, 0, 0, reason)
    state[SENT] = NOTHING
