"""Resting orders in the kernel: their places in the queues, and what fills them."""

from backtests.data.universe import MISSING, Ints
from backtests.engine.compiled import (
    candle_ending,
    compiled,
    crosses,
    first_from,
    gap_ends,
    is_evidence,
    is_whole,
    least_or_most_offered,
    level_after_trade,
    meet_evidence,
    meet_trade,
    offer_evidence,
    queue_after_book,
    queue_when_joining,
    shown_at,
    split_overlap,
    volume_evidence,
    was_observed,
)
from backtests.engine.kernel_arrays import (
    FillEvidence,
    KernelRules,
    TapeColumns,
    WholeStretches,
)
from backtests.engine.kernel_books import stands, take_from
from backtests.engine.kernel_money import cost_bound, end_rest, fill_order, free_cash, settle
from backtests.engine.kernel_state import (
    AHEAD,
    ARRIVED,
    ARRIVES,
    ASK,
    ASK_FRESH,
    ASK_SHOWN,
    ASK_SIZE,
    ASK_TAKEN,
    BID,
    BID_FRESH,
    BID_SHOWN,
    BID_SIZE,
    BID_TAKEN,
    CLOSED,
    FILLED_MEANWHILE,
    FUNDS,
    HELD_BACK,
    IS_WHOLE,
    KEPT,
    LAST,
    LATEST,
    LEFT,
    LEVEL,
    MET,
    NEW,
    NOTHING,
    OVERLAP_AT,
    OVERLAP_BEYOND,
    OVERLAP_UNTIL,
    RESERVED,
    REST_LIMIT,
    REST_ORDER,
    REST_OWED,
    REST_SIDE,
    ROW,
    SENT,
    SENT_COUNT,
    SENT_LIMIT,
    SENT_ORDER,
    SENT_SIDE,
    SINCE,
    TAPED,
    TAPED_NEAR,
    TRADABLE,
    TRADED,
    KernelOrder,
    KernelRun,
    Spot,
)
from backtests.rules.execution import FillModel
from backtests.rules.queue import ENDLESS

FEWEST, MOST = int(FillModel.FEWEST), int(FillModel.MOST)

# --- joining --------------------------------------------------------------------------------------


@compiled
def rest(run: KernelRun, spot: Spot, state: Ints, need: int) -> None:
    """Join the queue, and hold back the cash that the order may cost."""
    state[SENT] = NOTHING
    state[LEFT], state[REST_ORDER], state[REST_SIDE] = (
        state[SENT_COUNT], state[SENT_ORDER], state[SENT_SIDE],
    )  # fmt: skip
    state[REST_LIMIT], state[REST_OWED], state[RESERVED] = state[SENT_LIMIT], 0, need
    run.figures[HELD_BACK] += need
    if state[LEFT] <= state[KEPT]:
        return  # it has the place of the order that it makes smaller
    shown = _queue_shown(state)
    state[AHEAD] = queue_when_joining(run.rules.fills, shown, run.rules.queue)
    state[LEVEL] = shown if shown >= 0 else ENDLESS
    state[ARRIVED], state[MET], state[SINCE], state[TAPED] = state[ARRIVES], spot.at, spot.at, 0
    state[OVERLAP_UNTIL] = MISSING
    if run.rules.fills == MOST:
        _meet_offers(run, spot, state)


@compiled
def _meet_offers(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Fill an order with what its book offers: it may have come to rest before that did."""
    side = state[REST_SIDE]
    count = stands(state, side, state[LEFT], state[REST_LIMIT])
    if count and _fill_rest(run, spot, state, count):
        take_from(state, LATEST, side, count)


@compiled
def _queue_shown(state: Ints) -> int:
    """The contracts of others at the order's price; below zero where the book shows none."""
    if state[REST_SIDE] > 0:
        best, size = state[BID], state[BID_SIZE]
    else:
        best, size = state[ASK], state[ASK_SIZE]
    return shown_at(state[REST_SIDE], state[REST_LIMIT], best, size)


# --- the tape -------------------------------------------------------------------------------------


@compiled
def read_tape(
    run: KernelRun, tape: TapeColumns, settled: int, traded: int, until: int
) -> tuple[int, int]:
    """Match resting orders with the trades up to an instant.

    Return how many settlements and how many trades are done.
    """
    states, rules, due = run.states, run.rules, run.tables.settlements
    while traded < len(tape.at) and tape.at[traded] <= until:
        at, market, state = tape.at[traded], tape.market[traded], states[tape.market[traded]]
        if state[LEFT]:
            if settled < len(due) and due[settled, 0] <= at:
                settled = settle(run, settled, at)
            if rules.fills != MOST or at > state[SINCE] + rules.tolerance:
                state[TAPED] += tape.contracts[traded]
            if state[LEFT] and (state[REST_LIMIT] - tape.price[traded]) * state[REST_SIDE] >= 0:
                _meet_trade(run, tape, Spot(at, market, state[ROW]), traded)
        traded += 1
    return settled, traded


@compiled
def _meet_trade(run: KernelRun, tape: TapeColumns, spot: Spot, place: int) -> None:
    rules, state = run.rules, run.states[spot.market]
    if not is_evidence(rules.fills, tape.at[place], state[ARRIVED], state[MET], rules.tolerance):
        return
    fills, side, limit = rules.fills, state[REST_SIDE], state[REST_LIMIT]
    price, contracts, taker = tape.price[place], tape.contracts[place], tape.taker[place]
    left = contracts - tape.used[place] if fills == MOST else contracts
    if tape.at[place] <= state[OVERLAP_UNTIL]:
        if fills == FEWEST:
            return
        is_beyond = price != limit
        contracts, state[OVERLAP_AT], state[OVERLAP_BEYOND] = split_overlap(
            is_beyond, contracts, state[OVERLAP_AT], state[OVERLAP_BEYOND]
        )
        left = min(left, contracts)
    filled, state[AHEAD] = meet_trade(
        fills, side, state[LEFT], limit, state[AHEAD], price, left, taker
    )
    state[LEVEL] = level_after_trade(fills, side, limit, state[LEVEL], price, contracts, taker)
    if filled and _fill_rest(run, spot, state, filled) and fills == MOST:
        tape.used[place] += filled


@compiled
def meet_recent_trades(run: KernelRun, tape: TapeColumns, spot: Spot) -> None:
    """Meet the trades between the arrival of an order that rests now and the book that it met."""
    state = run.states[spot.market]
    place = first_from(tape.at, 0, len(tape.at), state[ARRIVED] - run.rules.tolerance)
    while place < len(tape.at) and tape.at[place] <= spot.at and state[LEFT]:
        if tape.market[place] == spot.market:
            _meet_trade(run, tape, spot, place)
        place += 1


@compiled
def note_tape(
    tape: TapeColumns, whole: WholeStretches, rules: KernelRules, state: Ints, spot: Spot
) -> None:
    """Note whether the tape is whole since the row before; if not, what it has near a row.

    The clocks differ, so the volume since then may have a trade from shortly before. Most fills
    counts no trade too few: it leaves those near either row out of `TAPED`, and takes the tape
    for whole only if it is so beyond both.
    """
    since, until, near = state[SINCE], spot.at, rules.tolerance
    is_most = rules.fills == MOST
    margin = near if is_most else 0
    state[IS_WHOLE] = is_whole(whole, spot.market, since - margin, until + margin)
    if state[IS_WHOLE]:
        return
    if is_most:
        after = max(since + near, until - near)
        state[TAPED_NEAR] = -_taped_between(tape, spot.market, after, until)
    else:
        state[TAPED_NEAR] = _taped_between(tape, spot.market, since - near, since)


@compiled
def _taped_between(tape: TapeColumns, market: int, after: int, until: int) -> int:
    """The contracts that the tape has after an instant, up to another one."""
    contracts, place = 0, first_from(tape.at, 0, len(tape.at), after + 1)
    while place < len(tape.at) and tape.at[place] <= until:
        if tape.market[place] == market:
            contracts += tape.contracts[place]
        place += 1
    return contracts


# --- books ----------------------------------------------------------------------------------------


@compiled
def match_rest(run: KernelRun, evidence: FillEvidence, spot: Spot, state: Ints) -> None:
    """Match the resting order with the book of a new row.

    A row at which nobody looked repeats the book, and tells nothing of the queue. What `note_tape`
    tells is noted already.
    """
    if not state[TRADABLE]:
        end_rest(run, spot, state, CLOSED)
        return
    if not was_observed(evidence.observed, spot.market, spot.at):
        return
    side, limit, left = state[REST_SIDE], state[REST_LIMIT], state[LEFT]
    at, beyond = _evidence(run, evidence, spot, state)
    unseen_at, unseen_beyond = _offered_unseen(run, evidence, spot, state)
    at, beyond = max(at, unseen_at), max(beyond, unseen_beyond)
    filled, state[AHEAD] = meet_evidence(left, state[AHEAD], at, beyond)
    _, state[LEVEL] = meet_evidence(0, state[LEVEL], at, beyond)
    _see_book(run, spot, state)
    if (
        filled
        and _fill_rest(run, spot, state, filled)
        and crosses(side, limit, state[BID], state[ASK])
    ):
        _use_offers(state, side, filled)


@compiled
def _offered_unseen(
    run: KernelRun, evidence: FillEvidence, spot: Spot, state: Ints
) -> tuple[int, int]:
    """Count the offers that no row shows, but the range of the other side in a candlestick."""
    fills, side, candles = run.rules.fills, state[REST_SIDE], evidence.candles
    candle = candle_ending(candles, spot.market, spot.at)
    if candle < 0 or state[IS_WHOLE]:
        return 0, 0
    taped = state[TAPED] + state[TAPED_NEAR]
    if fills == FEWEST and (taped > 0 or candles.since[candle] < state[SINCE]):
        return 0, 0
    best = candles.ask_low[candle] if side > 0 else candles.bid_high[candle]
    return offer_evidence(fills, side, state[REST_LIMIT], best, least_or_most_offered(fills))


@compiled
def _evidence(run: KernelRun, evidence: FillEvidence, spot: Spot, state: Ints) -> tuple[int, int]:
    """The contracts that a new row proves to have come to the order's price, and beyond it."""
    fills, side, limit = run.rules.fills, state[REST_SIDE], state[REST_LIMIT]
    if state[IS_WHOLE]:
        return 0, 0
    # Of a gap that ends, fewest fills takes neither volume nor offers.
    is_blind = fills == FEWEST and gap_ends(evidence.gaps, spot.market, spot.at)
    traded_at, traded_beyond = _traded(run, evidence, spot, state, is_blind)
    if is_blind:
        return traded_at, traded_beyond
    best, fresh = (ASK, ASK_FRESH) if side > 0 else (BID, BID_FRESH)
    offered_at, offered_beyond = offer_evidence(fills, side, limit, state[best], state[fresh])
    return max(offered_at, traded_at), max(offered_beyond, traded_beyond)


@compiled
def _traded(
    run: KernelRun, evidence: FillEvidence, spot: Spot, state: Ints, is_blind: bool
) -> tuple[int, int]:
    """The trades since the row before that count, at the order's price and beyond it."""
    fills, side, limit = run.rules.fills, state[REST_SIDE], state[REST_LIMIT]
    volume, low, high, is_sure = state[TRADED], MISSING, MISSING, not is_blind
    candles = evidence.candles
    candle = candle_ending(candles, spot.market, spot.at)
    if candle >= 0:
        volume, low, high = candles.contracts[candle], candles.low[candle], candles.high[candle]
        # Of a candlestick that began sooner, a part traded before the order joined.
        is_sure = candles.since[candle] >= state[SINCE]
    taped = state[TAPED] + state[TAPED_NEAR]
    volume, at, beyond = max(0, volume - taped), 0, 0
    if fills != FEWEST or (taped == 0 and is_sure):
        at, beyond = volume_evidence(fills, side, limit, volume, state[LAST], low, high)
    if volume and fills != MOST:
        state[OVERLAP_UNTIL] = spot.at + run.rules.tolerance
        state[OVERLAP_AT], state[OVERLAP_BEYOND] = at, beyond
    return at, beyond


@compiled
def _see_book(run: KernelRun, spot: Spot, state: Ints) -> None:
    """Bound the queue by the book of a row."""
    shown = _queue_shown(state)
    state[AHEAD] = queue_after_book(run.rules.fills, state[AHEAD], state[LEVEL], shown)
    if shown >= 0:
        state[LEVEL] = shown
    state[SINCE], state[TAPED] = spot.at, 0


@compiled
def _use_offers(state: Ints, side: int, count: int) -> None:
    """Use new offers, which are gone then for takers as well."""
    fresh, shown, taken = (
        (ASK_FRESH, ASK_SHOWN, ASK_TAKEN) if side > 0 else (BID_FRESH, BID_SHOWN, BID_TAKEN)
    )
    used = min(count, state[fresh])
    state[fresh] -= used
    state[taken] += min(used, max(0, state[shown] - state[taken]))


@compiled
def _fill_rest(run: KernelRun, spot: Spot, state: Ints, filled: int) -> bool:
    """Fill a part of the resting order, or end it if its cost is not covered any more."""
    side, limit, left = state[REST_SIDE], state[REST_LIMIT], state[LEFT]
    if cost_bound(run, spot, state, side, left, limit) > free_cash(run, state):
        end_rest(run, spot, state, FUNDS)
        return False
    run.figures[HELD_BACK] -= state[RESERVED]
    order = KernelOrder(state[REST_ORDER], side, filled, limit)
    state[REST_OWED] = fill_order(run, spot, spot.at, order, 1, state[REST_OWED])
    state[LEFT] = left - filled
    if state[SENT] == NEW and state[SENT_SIDE] == side:
        state[FILLED_MEANWHILE] += filled
    state[RESERVED] = (
        cost_bound(run, spot, state, side, left - filled, limit) if left > filled else 0
    )
    run.figures[HELD_BACK] += state[RESERVED]
    return True
