"""Books in the kernel: the latest of each market, and the one before an order's arrival."""

from backtests.data.universe import Ints
from backtests.engine.compiled import (
    compiled,
    fresh_offers,
    offered_size,
    still_taken,
    taken_at_once,
    traded_between,
)
from backtests.engine.kernel_arrays import QuoteColumns
from backtests.engine.kernel_state import (
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
    EARLIER,
    ENDED,
    HAS_EARLIER,
    LAST,
    NEW,
    ROW,
    SENT,
    STOPPED,
    TRADABLE,
    TRADED,
    TRADED_THEN,
    VOLUME,
)


@compiled
def update_volume(state: Ints, volume: int) -> None:
    """Note the volume since the row before, for resting orders."""
    state[TRADED] = traded_between(state[VOLUME], volume)
    state[VOLUME] = max(state[VOLUME], volume)


@compiled
def update_book(quotes: QuoteColumns, assumed: int, row: int, state: Ints) -> None:
    """Replace the market's book with that of a row."""
    if state[ROW] == row:
        return
    tradable = quotes.tradable[row] and not state[ENDED]
    if state[SENT] == NEW:
        _note_for_order(state, quotes.at[row], tradable)
    bid, ask = quotes.bid[row], quotes.ask[row]
    bid_size, ask_size = quotes.bid_size[row], quotes.ask_size[row]
    bids, asks = offered_size(bid_size, bid, assumed), offered_size(ask_size, ask, assumed)
    if state[BID_TAKEN]:
        state[BID_TAKEN] = still_taken(state[BID_TAKEN], state[BID], bid, bids)
    if state[ASK_TAKEN]:
        state[ASK_TAKEN] = still_taken(state[ASK_TAKEN], state[ASK], ask, asks)
    state[BID_FRESH] = fresh_offers(state[BID], state[BID_SIZE], bid, bid_size)
    state[ASK_FRESH] = fresh_offers(state[ASK], state[ASK_SIZE], ask, ask_size)
    state[BID], state[ASK], state[BID_SHOWN], state[ASK_SHOWN] = bid, ask, bids, asks
    state[BID_SIZE], state[ASK_SIZE] = bid_size, ask_size
    state[LAST] = quotes.last[row]
    state[TRADABLE] = tradable
    state[ROW] = row


@compiled
def _note_for_order(state: Ints, at: int, tradable: bool) -> None:
    """Keep the book in which the order on its way arrived, and whether the market trades."""
    if at >= state[ARRIVES] and not state[HAS_EARLIER]:
        state[HAS_EARLIER] = 1
        for column in range(BID_TAKEN, ASK_SHOWN + 1):
            state[EARLIER + column] = state[column]
    if at <= state[ARRIVES]:
        state[TRADED_THEN] = tradable
    elif not tradable:
        state[STOPPED] = 1


@compiled
def taken_of(state: Ints, book: int, side: int, count: int, limit: int) -> int:
    """The part of a taker that a book would fill."""
    price, shown, taken = (ASK, ASK_SHOWN, ASK_TAKEN) if side > 0 else (BID, BID_SHOWN, BID_TAKEN)
    offered = state[book + shown] - state[book + taken]
    return taken_at_once(side, count, limit, state[book + price], offered)


@compiled
def stands(state: Ints, side: int, count: int, limit: int) -> int:
    """The part of a resting order that would meet what the latest book is known to offer."""
    price, size, taken = (ASK, ASK_SIZE, ASK_TAKEN) if side > 0 else (BID, BID_SIZE, BID_TAKEN)
    return taken_at_once(side, count, limit, state[price], state[size] - state[taken])


@compiled
def take_from(state: Ints, book: int, side: int, count: int) -> None:
    """Take from a book; what is gone from the earlier one is missing from the latest as well."""
    price, shown, taken = (ASK, ASK_SHOWN, ASK_TAKEN) if side > 0 else (BID, BID_SHOWN, BID_TAKEN)
    if book == EARLIER:
        before, now, size = state[EARLIER + price], state[price], state[shown]
        missing = still_taken(state[EARLIER + taken], before, now, size)
        state[EARLIER + taken] += count
        count = still_taken(state[EARLIER + taken], before, now, size) - missing
    state[taken] += count
