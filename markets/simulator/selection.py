"""Filters of the listings of events and markets."""

from __future__ import annotations

import numpy as np

from markets.simulator.board import Board
from markets.simulator.noise import Bools, Ints
from markets.simulator.query import Query, malformed
from markets.simulator.render import (
    ACTIVE,
    AMENDED,
    CLOSED,
    DETERMINED,
    DISPUTED,
    FINALIZED,
    INACTIVE,
    INITIALIZED,
)

# The status filter uses other words than the payload's status.
PHASES: dict[str, tuple[int, ...]] = {
    "unopened": (INITIALIZED,),
    "open": (ACTIVE,),
    "paused": (INACTIVE,),
    "closed": (CLOSED, DETERMINED, DISPUTED, AMENDED),
    "settled": (FINALIZED,),
}
# The statuses that may be combined with each time filter; without a status, all may be used.
TIME_FILTERS: dict[str, tuple[str, ...]] = {
    "created": ("unopened", "open"),
    "updated": (),
    "close": ("closed",),
    "settled": ("settled",),
}


def select_events(board: Board, query: Query, *, statuses: tuple[str, ...]) -> Bools:
    """Select events by the parameters that /events and /markets share."""
    selected = board.visible.copy()
    status = query.choice("status", statuses)
    if status:
        selected &= np.isin(board.phases, PHASES[status])
    series = query.text("series_ticker")
    if series:
        selected &= np.array([ticker == series for ticker in board.series], dtype=np.bool_)
    return selected


def select_markets(board: Board, query: Query) -> Ints:
    """Select the rows for a query of /markets, in the board's order."""
    selected = select_events(board, query, statuses=tuple(PHASES))
    selected &= within_times(board, query)
    mve = query.choice("mve_filter", ("only", "exclude"))
    if mve:
        selected &= board.combos == (mve == "only")
    return rows_of(board, query, selected)


def rows_of(board: Board, query: Query, selected: Bools) -> Ints:
    event = query.text("event_ticker")
    if event:
        selected &= np.array([each.ticker == event for each in board.events], dtype=np.bool_)
    tickers = query.words("tickers")
    matching = selected[board.prices.traits.event] & board.listed
    if not tickers:
        return np.flatnonzero(matching)
    found = {board.row_of[ticker] for ticker in tickers if ticker in board.row_of}
    rows = np.array(sorted(found), dtype=np.int64)
    return rows[matching[rows]]


def within_times(board: Board, query: Query) -> Bools:
    """Select events by the one time filter that a query may have."""
    selected = np.ones(len(board.events), dtype=np.bool_)
    bounds = {
        name: (query.integer(f"min_{name}_ts"), query.integer(f"max_{name}_ts"))
        for name in TIME_FILTERS
    }
    given = [name for name, pair in bounds.items() if pair != (None, None)]
    if not given:
        return selected
    if len(given) > 1:
        raise malformed(f"min_{given[1]}_ts", f"cannot be combined with {given[0]} timestamps")
    name = given[0]
    refuse_mixed_filters(query, name)
    low, high = bounds[name]
    values = times_of(board, name)
    if low is not None:
        selected &= values >= low
    if high is not None:
        selected &= (values <= high) & (values > 0)
    return selected


def refuse_mixed_filters(query: Query, name: str) -> None:
    status = query.text("status")
    if status and status not in TIME_FILTERS[name]:
        raise malformed("status", f"{status} cannot be combined with {name} timestamps")
    if name != "updated":
        return
    if query.text("event_ticker") or query.text("tickers"):
        raise malformed(
            "min_updated_ts", "can be combined only with mve_filter=exclude and series_ticker"
        )
    if query.text("series_ticker") and query.text("mve_filter") != "exclude":
        raise malformed(
            "mve_filter", "must be exclude when min_updated_ts and series_ticker are given"
        )


def times_of(board: Board, name: str) -> Ints:
    """The times that a filter compares, one for each event; 0 where it lies ahead."""
    lives, phases = board.prices.lives, board.phases
    if name == "created":
        return lives.created
    settled = np.where(phases >= FINALIZED, lives.settled, 0)
    if name == "settled":
        return settled
    if name == "close":
        return board.closes
    updated = np.where(board.at >= lives.relisted, lives.relisted, lives.created)
    updated = np.where(phases >= CLOSED, lives.ended, updated)
    updated = np.where(phases >= DETERMINED, lives.determined, updated)
    updated += np.where(phases == DISPUTED, lives.timer, 0)
    updated += np.where(phases == AMENDED, 3 * lives.timer, 0)
    return np.maximum(updated, settled)
