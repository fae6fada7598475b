"""Orders in the kernel: sent towards a target, on their way, at their observation, at rest."""

from backtests.data.universe import MISSING, Ints
from backtests.engine.compiled import (
    compiled,
    crosses,
    differ,
    exceeds_limit,
    is_refused_post_only,
    meets_earlier,
)
from backtests.engine.kernel_books import take_from, taken_of
from backtests.engine.kernel_money import (
    cost_bound,
    end_rest,
    end_sent,
    fill_order,
    free_cash,
    is_on_grid,
)
from backtests.engine.kernel_resting import rest
from backtests.engine.kernel_state import (
    ARRIVES,
    ASK,
    ASK_SHOWN,
    ASK_TAKEN,
    ASKED,
    BAND,
    BID,
    BID_SHOWN,
    BID_TAKEN,
    CANCEL,
    CANCELLED,
    CASH,
    EARLIER,
    ENDS_AT,
    ENDS_BY,
    FILLED_MEANWHILE,
    FUNDS,
    HAS_EARLIER,
    HELD_BACK,
    KEPT,
    LATEST,
    LEFT,
    MEANWHILE,
    NEW,
    NO_REASON,
    NOT_TRADING,
    NOTHING,
    OFF_GRID,
    ORDER,
    ORDERS,
    OUT_OF_RANGE,
    POSITION,
    POSITION_LIMIT,
    REFUSED,
    REPLACED,
    REST_LIMIT,
    REST_SIDE,
    ROW,
    SENT,
    SENT_COUNT,
    SENT_LIMIT,
    SENT_ORDER,
    SENT_SIDE,
    SHORT,
    SHORT_FOR,
    STOPPED,
    TOO_LARGE,
    TRADABLE,
    TRADED_THEN,
    UNFILLED,
    UNSEEN,
    WOULD_CROSS,
    KernelOrder,
    KernelRun,
    Spot,
    write_entry,
)
from markets.fees import MOST_COUNT

# --- decisions ------------------------------------------------------------------------------------


@compiled
def decide(run: KernelRun, spot: Spot, state: Ints, target: int) -> int:
    """Decide to send an order towards the market's target, a cancellation, or `NOTHING`."""
    if not state[TRADABLE]:
        return NOTHING
    missing = target * 100 - state[POSITION]
    if missing:
        side = 1 if missing > 0 else -1
        price = _order_price(run.rules.make, side, abs(missing), state)
        order = KernelOrder(run.figures[ORDERS], side, abs(missing), price)
        if price < 0 or _is_short(run, spot, state, order, target):
            return NOTHING
        run.figures[ORDERS] += 1
        state[SENT_ORDER], state[FILLED_MEANWHILE] = order.number, 0
        state[SHORT], state[SHORT_FOR] = NO_REASON, target
        state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT] = side, order.contracts, price
        write_entry(run, spot, ORDER, order, 0, 0, NO_REASON)
        return NEW
    return CANCEL if state[LEFT] else NOTHING


@compiled
def _is_short(run: KernelRun, spot: Spot, state: Ints, order: KernelOrder, target: int) -> bool:
    """Return whether an order for this target was refused and this one would be, too."""
    if state[SHORT] == NO_REASON or target != state[SHORT_FOR]:
        return False
    if state[SHORT] == POSITION_LIMIT:
        return True
    # The price may have changed since.
    need = cost_bound(run, spot, state, order.side, order.contracts, order.price)
    return bool(need > free_cash(run, state))


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


# --- arrivals -------------------------------------------------------------------------------------


@compiled
def end_way(run: KernelRun, market: int) -> None:
    """Let what a market has on its way arrive: an order at its observation, or a cancellation."""
    state = run.states[market]
    spot = Spot(state[ENDS_AT], market, state[ROW])
    if state[SENT] == CANCEL:
        state[SENT] = NOTHING
        if state[LEFT]:
            end_rest(run, spot, state, ASKED)
    elif state[SENT] == NEW and state[ENDS_BY]:
        end_sent(run, spot, state, CANCELLED, state[ENDS_BY])
    elif state[SENT] == NEW:
        _meet(run, spot, state)


@compiled
def _meet(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Let an order meet its observation: it is refused, joins the queue, or trades."""
    state[KEPT] = 0
    if state[LEFT]:
        is_same = state[REST_SIDE] == state[SENT_SIDE] and state[REST_LIMIT] == state[SENT_LIMIT]
        state[KEPT] = state[LEFT] if is_same else 0
        end_rest(run, spot, state, REPLACED)
    if state[FILLED_MEANWHILE] and _amend(run, spot, state) == 0:
        return
    arrival = Spot(state[ARRIVES], spot.market, spot.row)
    need = cost_bound(run, arrival, state, state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT])
    reason = _refusal(run, arrival, state, need)
    if reason:
        if reason in (FUNDS, POSITION_LIMIT):
            state[SHORT] = reason
        end_sent(run, spot, state, REFUSED, reason)
    elif run.rules.make:
        _join(run, spot, state, need)
    else:
        _take(run, spot, state)


@compiled
def _amend(run: KernelRun, spot: Spot, state: Ints) -> int:
    """Subtract what the replaced order filled while this one was in flight; return the rest."""
    filled = min(state[FILLED_MEANWHILE], state[SENT_COUNT])
    part = KernelOrder(state[SENT_ORDER], state[SENT_SIDE], filled, state[SENT_LIMIT])
    write_entry(run, spot, CANCELLED, part, 0, 0, MEANWHILE)
    state[SENT_COUNT] -= filled
    if state[SENT_COUNT] == 0:
        state[SENT] = NOTHING
    return state[SENT_COUNT]  # type: ignore[no-any-return]


@compiled
def _refusal(run: KernelRun, arrival: Spot, state: Ints, need: int) -> int:
    """The reason for which the exchange would refuse the order that arrives, or 0."""
    side, count, limit = state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
    if not state[TRADED_THEN]:
        return NOT_TRADING
    if not 0 < limit < 10_000:
        return OUT_OF_RANGE
    if not is_on_grid(run.tables, arrival, limit):
        return OFF_GRID
    if count > MOST_COUNT:
        return TOO_LARGE
    if exceeds_limit(run.rules.limit, state[POSITION], side, count):
        return POSITION_LIMIT
    if need > run.figures[CASH] - run.figures[HELD_BACK]:
        return FUNDS
    return NO_REASON


@compiled
def _take(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Immediate or cancel: fill what is offered at the limit or better, and cancel the rest."""
    number, side = state[SENT_ORDER], state[SENT_SIDE]
    count, limit = state[SENT_COUNT], state[SENT_LIMIT]
    book, filled = _book_met(run.rules.fills, run.figures, state)
    price = state[book + (ASK if side > 0 else BID)]
    spot = Spot(spot.at, spot.market, state[book + ROW])
    state[SENT] = NOTHING
    if filled:
        fill_order(run, spot, state[ARRIVES], KernelOrder(number, side, filled, price), 0, 0)
        take_from(state, book, side, filled)
    if filled < count:
        rest = KernelOrder(number, side, count - filled, limit)
        write_entry(run, spot, CANCELLED, rest, 0, 0, UNSEEN if state[STOPPED] else UNFILLED)


@compiled
def _book_met(fills: int, figures: Ints, state: Ints) -> tuple[int, int]:
    """The book that the order meets under this fill model, and the part that it fills."""
    side, count, limit = state[SENT_SIDE], state[SENT_COUNT], state[SENT_LIMIT]
    price = ASK if side > 0 else BID
    earlier = EARLIER if state[HAS_EARLIER] else LATEST
    before = taken_of(state, earlier, side, count, limit)
    # Where trading ended first, there is no later book to meet.
    now = 0 if state[STOPPED] else taken_of(state, LATEST, side, count, limit)
    price_before, price_now = state[earlier + price], state[LATEST + price]
    if differ(before, price_before, now, price_now):
        figures[BAND] = 1
        if meets_earlier(fills, side, before, price_before, now, price_now):
            return earlier, before
    return LATEST, now


@compiled
def _join(run: KernelRun, spot: Spot, state: Ints, need: int) -> None:
    """Join the queue, unless the order would trade at once or trading ended first."""
    side, limit = state[SENT_SIDE], state[SENT_LIMIT]
    book = EARLIER if state[HAS_EARLIER] else LATEST
    crossed = crosses(side, limit, state[book + BID], state[book + ASK])
    crossing = crosses(side, limit, state[BID], state[ASK])
    if state[STOPPED]:
        end_sent(run, spot, state, CANCELLED, UNSEEN)
    elif is_refused_post_only(run.rules.fills, crossed, crossing):
        if crossed != crossing:
            run.figures[BAND] = 1
        end_sent(run, spot, state, REFUSED, WOULD_CROSS)
    else:
        run.figures[BAND] = 1
        rest(run, spot, state, need)
