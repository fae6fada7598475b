"""The state of a run in the kernel: its arrays, their columns, and the journal that it writes."""

from typing import NamedTuple

import numpy as np

from backtests.data.gaps import MarketGaps
from backtests.data.universe import MISSING, Ints
from backtests.engine.compiled import compiled
from backtests.engine.kernel_arrays import KernelRules, MarketTables
from backtests.rules.execution import JOURNAL, EntryKind, Reason
from markets.observed import ObservedInstants

# The columns of a market's state: what is on its way, what rests, the position; the latest book;
# the book before the first row that came after the order on its way had arrived; that order; the
# resting order, its place in the queue (as in `QueuePlace`), and how large an order may be to keep
# the place; and the target for which the last order was refused, with the reason.
(
    SENT, LEFT, POSITION,
    BID_TAKEN, ASK_TAKEN, ROW, BID, ASK, BID_SHOWN, ASK_SHOWN,
    _EARLIER_BID_TAKEN, _EARLIER_ASK_TAKEN, _EARLIER_ROW, _EARLIER_BID, _EARLIER_ASK,
    _EARLIER_BID_SHOWN, _EARLIER_ASK_SHOWN,
    BID_SIZE, ASK_SIZE, BID_FRESH, ASK_FRESH, ENDED, LAST, VOLUME, TRADED, TRADABLE,
    ARRIVES, ENDS_AT, ENDS_BY, HAS_EARLIER, TRADED_THEN, STOPPED,
    SENT_ORDER, SENT_SIDE, SENT_COUNT, SENT_LIMIT, FILLED_MEANWHILE,
    REST_ORDER, REST_SIDE, REST_LIMIT, REST_OWED, RESERVED,
    AHEAD, LEVEL, ARRIVED, MET, SINCE, TAPED, TAPED_NEAR, IS_WHOLE, KEPT,
    OVERLAP_UNTIL, OVERLAP_AT, OVERLAP_BEYOND,
    SHORT, SHORT_FOR,
    STATES,
) = range(57)  # fmt: skip
# Added to a column of the latest book, for that of the earlier one.
LATEST, EARLIER = 0, 7

# The figures of the whole run; `NEXT` is the instant of the first market in `waiting`.
CASH, HELD_BACK, ORDERS, ENTRIES, FILLED, FEES, BAND, WAITING, NEXT, FIGURES = range(10)

NOTHING, NEW, CANCEL = 0, 1, 2  # on its way: an order, or the cancellation of the resting one
FAR_FUTURE = int(np.iinfo(np.int64).max)

# Enumerations as the plain numbers that compiled code knows.
ORDER, FILL, REFUSED, CANCELLED, SETTLED = (int(kind) for kind in EntryKind)
(
    NO_REASON, NOT_TRADING, OFF_GRID, OUT_OF_RANGE, POSITION_LIMIT, FUNDS, UNFILLED, EXPIRED,
    WOULD_CROSS, REPLACED, CLOSED, OVER, ASKED, TOO_LARGE, MEANWHILE, GAP, UNSEEN,
    *_ONLY_STEP_BY_STEP,
) = (int(reason) for reason in Reason)  # fmt: skip


class KernelRun(NamedTuple):
    """The state that the events of a run read and write.

    Passing it on costs time for each of its arrays, to run and to compile; so those of the quotes,
    the tape, its `FillEvidence` and `Ways` are apart.
    """

    tables: MarketTables
    rules: KernelRules
    states: Ints
    figures: Ints
    journal: Ints


class Ways(NamedTuple):
    """The ways of orders: observations, gaps and the end of the run bound them, and `waiting` is a
    heap of the markets that have something on its way, by the instant at which that ends."""

    observed: ObservedInstants
    gaps: MarketGaps
    waiting: Ints
    last: int


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


def empty_journal(length: int) -> Ints:
    return np.empty((length, len(JOURNAL)), np.int64)


def initial_state(markets: int, cash: int) -> tuple[Ints, Ints]:
    """The states of the markets, and the figures of the run, before the first row."""
    states = np.zeros((markets, STATES), np.int64)
    states[:, (BID, ASK, BID_SIZE, ASK_SIZE, LAST, VOLUME, ROW)] = MISSING
    figures = np.zeros(FIGURES, np.int64)
    figures[CASH], figures[NEXT] = cash, FAR_FUTURE
    return states, figures


@compiled
def write_entry(
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
