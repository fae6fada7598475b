"""The kernel: the fast engine for strategies that state target positions, compiled by numba.

It follows the same rules as `event_driven`, with the same functions of `fees`, `ledger` and
`execution`, and keeps the same journal: entry by entry, to the millionth of a dollar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

from backtests.data.universe import CONTRACT, MISSING, Ints, Universe, quote_histories
from backtests.engine.kernel_arrays import (
    KernelRules,
    MarketTables,
    QuoteColumns,
    columns_of,
    rules,
    tables_of,
)
from backtests.engine.kernel_cache import cache_folder
from backtests.metrics.marks import last_sides
from backtests.rules import execution, ledger
from backtests.rules.execution import (
    HOLD,
    JOURNAL,
    EntryKind,
    ExecutionModel,
    FillModel,
    Reason,
    RunOutcome,
)
from markets import fees
from markets.fees import MOST_COUNT

if TYPE_CHECKING:
    from backtests.strategies.base import Signal

F = TypeVar("F", bound=Callable[..., Any])

CONFIG: Any = numba.config
# NUMBA_CACHE_DIR, as numba has read it.
CHOSEN_FOLDER: str = CONFIG.CACHE_DIR
CACHE = cache_folder(Path(__file__).resolve(), chosen=CHOSEN_FOLDER)


def compiled(function: F) -> F:
    """Compile a function once and cache it in a file; it releases the GIL while it runs.

    These functions borrow arrays and never make or keep one. So numba need not count references
    (`_nrt`), which would cost more than the work of a function that is passed the whole run.
    Where no folder can be written, each process compiles for itself.
    """
    options: Any = {"cache": CACHE is not None, "nogil": True, "_nrt": False}
    # numba asks for the folder only while it decorates; code of others keeps its own.
    CONFIG.CACHE_DIR = str(CACHE or "")
    try:
        return cast(F, numba.njit(**options)(function))
    finally:
        CONFIG.CACHE_DIR = CHOSEN_FOLDER


_flow = compiled(ledger.flow)
_payout = compiled(ledger.payout)
_charge = compiled(fees.charge)
_bound = compiled(fees.bound)
_offered_size = compiled(execution.offered_size)
_still_taken = compiled(execution.still_taken)
_crosses = compiled(execution.crosses)
_traded_between = compiled(execution.traded_between)
_exceeds_limit = compiled(execution.exceeds_limit)
_resting_fill = compiled(execution.resting_fill)
_queue_ahead = compiled(execution.queue_ahead)
_on_grid = compiled(execution.on_grid)

# The columns of a market's state: its book, the order in flight, the resting order, and the
# target for which the last order was refused, with the reason.
(
    SENT, LEFT, BID_TAKEN, ASK_TAKEN, POSITION, ENDED,
    BID, ASK, BID_SHOWN, ASK_SHOWN, LAST, VOLUME, TRADED, TRADABLE, BOOKS, ROW, TERM, GRID,
    SENT_AT, SENT_BOOKS, SENT_ORDER, SENT_SIDE, SENT_COUNT, SENT_LIMIT, FILLED_MEANWHILE,
    REST_ORDER, REST_SIDE, REST_LIMIT, REST_AHEAD, REST_OWED, RESERVED,
    SHORT, SHORT_FOR,
    STATES,
) = range(34)  # fmt: skip

# The figures of the whole run.
CASH, HELD_BACK, ORDERS, ENTRIES, FILLED, FEES, FIGURES = range(7)

NOTHING, NEW, CANCEL = 0, 1, 2  # in flight: an order, or the cancellation of the resting one
FIRST_JOURNAL_LENGTH = 65_536
FAR_FUTURE = np.iinfo(np.int64).max

# Enumerations as the plain numbers that compiled code knows.
ORDER, FILL, REFUSED, CANCELLED, SETTLED = (int(kind) for kind in EntryKind)
(
    NO_REASON, NOT_TRADING, OFF_GRID, OUT_OF_RANGE, POSITION_LIMIT, FUNDS, UNFILLED, EXPIRED,
    WOULD_CROSS, REPLACED, CLOSED, OVER, ASKED, TOO_LARGE, MEANWHILE,
) = (int(reason) for reason in Reason)  # fmt: skip


class KernelRun(NamedTuple):
    """All that one run reads and writes; `targets` has one number of contracts for each row."""

    quotes: QuoteColumns
    tables: MarketTables
    rules: KernelRules
    targets: Ints
    states: Ints
    figures: Ints
    journal: Ints


class Spot(NamedTuple):
    """The place of an event: an instant, a market and a row of its quotes."""

    at: int
    market: int
    row: int


class KernelOrder(NamedTuple):
    number: int
    side: int
    contracts: int  # in 1/100
    price: int


def run(
    universe: Universe, targets: Ints, execution: ExecutionModel, fills: FillModel, *, cash: int
) -> RunOutcome:
    """Trade towards targets, one for each row of the quotes: a number of contracts, or `HOLD`.

    `cash` is in millionths of a dollar. Raises ValueError for a target too large for its fee.
    """
    check_targets(targets)
    setting = columns_of(universe), tables_of(universe, execution), rules(execution, fills)
    length = FIRST_JOURNAL_LENGTH
    while True:
        run = KernelRun(
            *setting, targets, *initial_state(len(universe.listings), cash), empty_journal(length)
        )
        trade(run)
        if run.figures[ENTRIES] <= length:
            break
        length = int(run.figures[ENTRIES])
    held = {m: int(p) for m, p in enumerate(run.states[:, POSITION]) if p}
    return RunOutcome(run.journal[: run.figures[ENTRIES]].copy(), int(run.figures[CASH]), held)


class RunSummary(NamedTuple):
    """The result of one of many runs; money is in millionths of a dollar."""

    cash: int
    equity: int
    fees: int
    fills: int


def run_many(
    universe: Universe,
    signals: Sequence[Signal],
    execution: ExecutionModel,
    fills: FillModel,
    *,
    cash: int,
) -> list[RunSummary]:
    """Run each signal, on all cores, without journals; equity is marked at the end.

    Raises ValueError as `run` does.
    """
    quotes, tables, numbers = (
        columns_of(universe),
        tables_of(universe, execution),
        rules(execution, fills),
    )
    parts, marks = list(quote_histories(universe)), last_sides(universe)

    def one(signal: Signal) -> RunSummary:
        targets = np.empty(len(universe.quotes), np.int64)
        for rows, history in parts:
            targets[rows] = check_targets(history.to_quote_order(signal.targets(history)))
        state = initial_state(len(universe.listings), cash)
        trade(KernelRun(quotes, tables, numbers, targets, *state, empty_journal(0)))
        return _summary(*state, marks)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, signals))


def _summary(states: Ints, figures: Ints, marks: Ints) -> RunSummary:
    held = states[:, POSITION]
    worth = np.abs(held) * np.where(held > 0, marks[:, 0], marks[:, 1])
    cash = int(figures[CASH])
    return RunSummary(cash, cash + int(worth.sum()), int(figures[FEES]), int(figures[FILLED]))


def check_targets(targets: Ints) -> Ints:
    """Raise ValueError for a target that is too large for its fee."""
    most = MOST_COUNT // CONTRACT
    if np.any((targets > most) | ((targets < -most) & (targets != HOLD))):
        raise ValueError(f"a target exceeds {most:,} contracts")
    return targets


def empty_journal(length: int) -> Ints:
    return np.empty((length, len(JOURNAL)), np.int64)


def initial_state(markets: int, cash: int) -> tuple[Ints, Ints]:
    """The states of the markets, and the figures of the run, before the first row."""
    states = np.zeros((markets, STATES), np.int64)
    states[:, (BID, ASK, LAST, VOLUME, ROW)] = MISSING
    figures = np.zeros(FIGURES, np.int64)
    figures[CASH] = cash
    return states, figures


@compiled
def trade(run: KernelRun) -> None:
    """Pass over all rows once: settlements, books, orders and decisions of each instant in turn.

    A book is read only where an order could meet it or be sent, which most rows are not.
    """
    # A call with the whole run costs more than most rows do, so the loop checks first.
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
                _update_volume(states[m], run.quotes.volume[r])
            if states[m, SENT] or states[m, LEFT] or states[m, BID_TAKEN] or states[m, ASK_TAKEN]:
                _update_book(run, r, states[m])
                if states[m, LEFT] or states[m, SENT]:
                    _match_book(run, Spot(now, m, r), states[m])
        for r in range(row, end):
            target, m = targets[r], market[r]
            if target == HOLD or states[m, SENT]:
                continue
            if target * 100 != states[m, POSITION] or states[m, LEFT]:
                _update_book(run, r, states[m])
                if states[m, TRADABLE]:
                    _decide(run, Spot(now, m, r), states[m])
        row = end
    _settle(run, settled, FAR_FUTURE)


@compiled
def _update_volume(state: Ints, volume: int) -> None:
    """Note the volume since the row before, for resting orders."""
    state[TRADED] = _traded_between(state[VOLUME], volume)
    state[VOLUME] = max(state[VOLUME], volume)


@compiled
def _update_book(run: KernelRun, row: int, state: Ints) -> None:
    """Replace the market's book with that of a row."""
    quotes, assumed = run.quotes, run.rules.assumed
    if state[ROW] == row:
        return
    bid, ask = quotes.bid[row], quotes.ask[row]
    bids = _offered_size(quotes.bid_size[row], bid, assumed)
    asks = _offered_size(quotes.ask_size[row], ask, assumed)
    if state[BID_TAKEN]:
        state[BID_TAKEN] = _still_taken(state[BID_TAKEN], state[BID], bid, bids)
    if state[ASK_TAKEN]:
        state[ASK_TAKEN] = _still_taken(state[ASK_TAKEN], state[ASK], ask, asks)
    state[BID], state[ASK], state[BID_SHOWN], state[ASK_SHOWN] = bid, ask, bids, asks
    state[LAST] = quotes.last[row]
    state[TRADABLE] = quotes.tradable[row] and not state[ENDED]
    state[BOOKS] += 1
    state[ROW] = row


@compiled
def _write_entry(
    run: KernelRun, spot: Spot, kind: int, order: KernelOrder, fee: int, liquidity: int, reason: int
) -> None:
    """Write a journal entry if there is room; `ENTRIES` tells the caller whether there was."""
    number = run.figures[ENTRIES]
    run.figures[ENTRIES] += 1
    if number >= len(run.journal):
        return
    values = run.journal[number]
    values[0], values[1], values[2], values[3] = spot.at, kind, spot.market, order.number
    values[4], values[5], values[6] = order.side, order.contracts, order.price
    values[7], values[8], values[9], values[10] = fee, liquidity, reason, spot.row
    values[11], values[12] = run.figures[CASH], run.states[spot.market, POSITION]


@compiled
def _settle(run: KernelRun, done: int, now: int) -> int:
    """Pay the settlements that are due by now; return how many are done in all."""
    due = run.tables.settlements
    while done < len(due) and due[done, 0] <= now:
        spot, value = Spot(due[done, 0], due[done, 1], MISSING), due[done, 2]
        state = run.states[spot.market]
        if state[LEFT]:
            _end_rest(run, spot, state, OVER)
        if state[SENT]:
            _end_sent(run, spot, state, CANCELLED, OVER)
        position = state[POSITION]
        state[POSITION], state[ENDED], state[TRADABLE] = 0, 1, 0
        if position:
            run.figures[CASH] += _payout(position, value)
            ended = KernelOrder(MISSING, 1 if position > 0 else -1, abs(position), value)
            _write_entry(run, spot, SETTLED, ended, 0, 0, NO_REASON)
        done += 1
    return done


@compiled
def _match_book(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Match a row's book with the resting order, then with the order that arrives."""
    if state[LEFT]:
        if state[TRADABLE]:
            _fill_rest(run, spot, state)
        else:
            _end_rest(run, spot, state, CLOSED)
    if state[SENT] and state[BOOKS] - state[SENT_BOOKS] >= run.rules.snapshots:
        _arrive(run, spot, state)


@compiled
def _decide(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Send an order towards the market's target, one order at a time."""
    target = run.targets[spot.row]
    missing = target * 100 - state[POSITION]
    if missing:
        side = 1 if missing > 0 else -1
        price = _order_price(run.rules.make, side, abs(missing), state)
        order = KernelOrder(run.figures[ORDERS], side, abs(missing), price)
        if price < 0 or _is_short(run, spot, state, order):
            return
        run.figures[ORDERS] += 1
        state[SENT], state[SENT_ORDER] = NEW, order.number
        state[SHORT], state[SHORT_FOR] = NO_REASON, target
        state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT] = side, order.contracts, price
        state[FILLED_MEANWHILE] = 0
        _write_entry(run, spot, ORDER, order, 0, 0, NO_REASON)
    elif state[LEFT]:
        state[SENT] = CANCEL
    else:
        return
    state[SENT_AT], state[SENT_BOOKS] = spot.at, state[BOOKS]
    if run.rules.snapshots == 0 and run.rules.latency == 0:
        _arrive(run, spot, state)


@compiled
def _is_short(run: KernelRun, spot: Spot, state: Ints, order: KernelOrder) -> bool:
    """Return whether an order for this target was refused and this one would be, too."""
    if state[SHORT] == NO_REASON or run.targets[spot.row] != state[SHORT_FOR]:
        return False
    if state[SHORT] == POSITION_LIMIT:
        return True
    # The price may have changed since.
    need = _cost_bound(run, spot, state, order.side, order.contracts, order.price)
    return bool(need > _free_cash(run, state))


@compiled
def _free_cash(run: KernelRun, state: Ints) -> int:
    """Cash that is not held back for orders in other markets."""
    return run.figures[CASH] - run.figures[HELD_BACK] + state[RESERVED]  # type: ignore[no-any-return]


@compiled
def _order_price(make: bool, side: int, count: int, state: Ints) -> int:
    """The price of the order to send; negative where there is nothing to send."""
    if make:
        price = state[BID] if side > 0 else state[ASK]
        resting = state[LEFT] == count and state[REST_SIDE] == side and state[REST_LIMIT] == price
        return MISSING if resting else price
    if side > 0:
        return state[ASK] if state[ASK_SHOWN] > state[ASK_TAKEN] else MISSING
    return state[BID] if state[BID_SHOWN] > state[BID_TAKEN] else MISSING


@compiled
def _arrive(run: KernelRun, spot: Spot, state: Ints) -> None:
    """After its latency: cancel the resting order, or let the new order trade."""
    waited = spot.at - state[SENT_AT] - run.rules.latency
    if waited < 0:
        return
    if state[SENT] == CANCEL:
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
    need = _cost_bound(run, spot, state, state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT])
    reason = _refusal(run, spot, state, need)
    if reason:
        if reason in (FUNDS, POSITION_LIMIT):
            state[SHORT] = reason
        _end_sent(run, spot, state, REFUSED, reason)
    elif run.rules.make:
        _rest(run, state, need)
    else:
        _take(run, spot, state)


@compiled
def _amend(run: KernelRun, spot: Spot, state: Ints) -> int:
    """Subtract what the replaced order filled while this one was in flight; return the rest."""
    filled = min(state[FILLED_MEANWHILE], state[SENT_COUNT])
    part = KernelOrder(state[SENT_ORDER], state[SENT_SIDE], filled, state[SENT_LIMIT])
    _write_entry(run, spot, CANCELLED, part, 0, 0, MEANWHILE)
    state[SENT_COUNT] -= filled
    if state[SENT_COUNT] == 0:
        state[SENT] = NOTHING
    return state[SENT_COUNT]  # type: ignore[no-any-return]


@compiled
def _refusal(run: KernelRun, spot: Spot, state: Ints, need: int) -> int:
    """The reason for which the exchange would refuse the order that arrives, or 0."""
    side, count, limit = state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
    if not state[TRADABLE]:
        return NOT_TRADING
    if not 0 < limit < 10_000:
        return OUT_OF_RANGE
    if not _is_on_grid(run.tables, spot, state, limit):
        return OFF_GRID
    if count > MOST_COUNT:
        return TOO_LARGE
    if _exceeds_limit(run.rules.limit, state[POSITION], side, count):
        return POSITION_LIMIT
    if need > run.figures[CASH] - run.figures[HELD_BACK]:
        return FUNDS
    if run.rules.make and _crosses(side, limit, state[BID], state[ASK]):
        return WOULD_CROSS
    return NO_REASON


@compiled
def _is_on_grid(tables: MarketTables, spot: Spot, state: Ints, price: int) -> bool:
    """Return whether a price is on the market's grid; an unknown grid refuses nothing."""
    grid = _in_force(tables.grids, tables.grids_from, spot, state[GRID])
    state[GRID] = grid
    first, end = tables.grids[grid, 1], tables.grids[grid, 2]
    for i in range(first, end):
        if _on_grid(price, tables.ranges[i, 0], tables.ranges[i, 1], tables.ranges[i, 2]):
            return True
    return bool(first == end)


@compiled
def _cost_bound(run: KernelRun, spot: Spot, state: Ints, side: int, count: int, limit: int) -> int:
    """The most cash that an order can cost."""
    if count > MOST_COUNT or not 0 < limit < 10_000:
        return 0  # refused for that
    terms, term = run.tables.terms, _term(run.tables, spot, state)
    grid = run.tables.roundings[_era(run.tables, spot.at), 2]
    fee = _bound(count, limit, terms[term, 1], terms[term, 2], grid)
    return max(0, fee - _flow(state[POSITION], side, count, limit))


@compiled
def _term(tables: MarketTables, spot: Spot, state: Ints) -> int:
    """The row of the market's current fee terms."""
    state[TERM] = _in_force(tables.terms, tables.terms_from, spot, state[TERM])
    return state[TERM]  # type: ignore[no-any-return]


@compiled
def _in_force(table: Ints, starts: Ints, spot: Spot, before: int) -> int:
    """The row in force for a market; it is `before` or later, since time only goes forward."""
    row = max(before, starts[spot.market])
    while row + 1 < starts[spot.market + 1] and table[row + 1, 0] <= spot.at:
        row += 1
    return row  # type: ignore[no-any-return]


@compiled
def _era(tables: MarketTables, at: int) -> int:
    """The row of the fee rounding at an instant."""
    era = len(tables.roundings) - 1
    while era > 0 and tables.roundings[era, 0] > at:
        era -= 1
    return era


@compiled
def _take(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Immediate or cancel: fill what is offered at the limit or better, and cancel the rest."""
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
            _book(run, spot, state, KernelOrder(number, side, filled, state[best]), 0, 0)
            state[taken] += filled
    if filled < count:
        rest = KernelOrder(number, side, count - filled, limit)
        _write_entry(run, spot, CANCELLED, rest, 0, 0, UNFILLED)


@compiled
def _rest(run: KernelRun, state: Ints, need: int) -> None:
    """Join the queue, and hold back the cash that the order may cost."""
    side, limit = state[SENT_SIDE], state[SENT_LIMIT]
    best, shown = (BID, BID_SHOWN) if side > 0 else (ASK, ASK_SHOWN)
    state[SENT] = NOTHING
    state[LEFT], state[REST_ORDER], state[REST_SIDE] = state[SENT_COUNT], state[SENT_ORDER], side
    state[REST_LIMIT], state[REST_OWED], state[RESERVED] = limit, 0, need
    state[REST_AHEAD] = _queue_ahead(side, limit, state[best], state[shown])
    run.figures[HELD_BACK] += need


@compiled
def _fill_rest(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Fill the resting order as far as the newest book allows."""
    side, limit, left = state[REST_SIDE], state[REST_LIMIT], state[LEFT]
    shown, taken, best = (ASK_SHOWN, ASK_TAKEN, ASK) if side > 0 else (BID_SHOWN, BID_TAKEN, BID)
    if _cost_bound(run, spot, state, side, left, limit) > _free_cash(run, state):
        _end_rest(run, spot, state, FUNDS)
        return
    offered = max(0, state[shown] - state[taken])
    filled = _resting_fill(
        run.rules.fills, side, left, limit, state[best], offered, state[LAST], state[TRADED],
        state[REST_AHEAD],
    )  # fmt: skip
    if not filled:
        return
    if _crosses(side, limit, state[BID], state[ASK]):
        state[taken] += min(filled, offered)
    run.figures[HELD_BACK] -= state[RESERVED]
    order = KernelOrder(state[REST_ORDER], side, filled, limit)
    state[REST_OWED] = _book(run, spot, state, order, 1, state[REST_OWED])
    state[LEFT] = left - filled
    if state[SENT] == NEW and state[SENT_SIDE] == side:
        state[FILLED_MEANWHILE] += filled
    state[RESERVED] = (
        _cost_bound(run, spot, state, side, left - filled, limit) if left > filled else 0
    )
    run.figures[HELD_BACK] += state[RESERVED]


@compiled
def _book(
    run: KernelRun, spot: Spot, state: Ints, order: KernelOrder, maker: int, accumulated: int
) -> int:
    """Book a fill; return what its order has accumulated towards rebates."""
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
    _write_entry(run, spot, FILL, order, fee, maker, NO_REASON)
    return accumulated


@compiled
def _end_rest(run: KernelRun, spot: Spot, state: Ints, reason: int) -> None:
    order = KernelOrder(state[REST_ORDER], state[REST_SIDE], state[LEFT], state[REST_LIMIT])
    run.figures[HELD_BACK] -= state[RESERVED]
    state[LEFT], state[RESERVED] = 0, 0
    _write_entry(run, spot, CANCELLED, order, 0, 0, reason)


@compiled
def _end_sent(run: KernelRun, spot: Spot, state: Ints, kind: int, reason: int) -> None:
    if state[SENT] == NEW:
        order = KernelOrder(
            state[SENT_ORDER], state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
        )
        _write_entry(run, spot, kind, order, 0, 0, reason)
    state[SENT] = NOTHING
