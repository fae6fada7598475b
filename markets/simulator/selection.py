"""Which events and markets a listing asks for."""

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

# The words of the filter are not those of the payload.
PHASES: dict[str, tuple[int, ...]] = {
    "unopened": (INITIALIZED,),
    "open": (ACTIVE,),
    "paused": (INACTIVE,),
    "closed": (CLOSED, DETERMINED, DISPUTED, AMENDED),
    "settled": (FINALIZED,),
}
# Which status each family of timestamps goes with; no status goes with all.
FAMILIES: dict[str, tuple[str, ...]] = {
    "created": ("unopened", "open"),
    "updated": (),
    "close": ("closed",),
    "settled": ("settled",),
}


def chosen_events(board: Board, query: Query, *, statuses: tuple[str, ...]) -> Bools:
    """The events that the parameters common to /events and /markets leave."""
    chosen = board.visible.copy()
    status = query.choice("status", statuses)
    if status:
        chosen &= np.isin(board.phases, PHASES[status])
    series = query.text("series_ticker")
    if series:
        chosen &= np.array([ticker == series for ticker in board.series], dtype=np.bool_)
    return chosen


def chosen_markets(board: Board, query: Query) -> Ints:
    """The rows that /markets is asked for, in the board's order."""
    chosen = chosen_events(board, query, statuses=tuple(PHASES))
    chosen &= among_times(board, query)
    mve = query.choice("mve_filter", ("only", "exclude"))
    if mve:
        chosen &= board.combos == (mve == "only")
    return rows_of(board, query, chosen)


def rows_of(board: Board, query: Query, chosen: Bools) -> Ints:
    event = query.text("event_ticker")
    if event:
        chosen &= np.array([each.ticker == event for each in board.events], dtype=np.bool_)
    tickers = query.words("tickers")
    wanted = chosen[board.prices.traits.event] & board.listed
    if not tickers:
        return np.flatnonzero(wanted)
    found = {board.row_of[ticker] for ticker in tickers if ticker in board.row_of}
    rows = np.array(sorted(found), dtype=np.int64)
    return rows[wanted[rows]]


def among_times(board: Board, query: Query) -> Bools:
    """At most one family of timestamps may be asked for, with the statuses it goes with."""
    chosen = np.ones(len(board.events), dtype=np.bool_)
    bounds = {
        family: (query.integer(f"min_{family}_ts"), query.integer(f"max_{family}_ts"))
        for family in FAMILIES
    }
    asked = [family for family, pair in bounds.items() if pair != (None, None)]
    if not asked:
        return chosen
    if len(asked) > 1:
        raise malformed(f"min_{asked[1]}_ts", f"cannot be combined with {asked[0]} timestamps")
    family = asked[0]
    refuse_mixtures(query, family)
    low, high = bounds[family]
    values = times_of(board, family)
    if low is not None:
        chosen &= values >= low
    if high is not None:
        chosen &= (values <= high) & (values > 0)
    return chosen


def refuse_mixtures(query: Query, family: str) -> None:
    status = query.text("status")
    if status and status not in FAMILIES[family]:
        raise malformed("status", f"{status} cannot be combined with {family} timestamps")
    if family != "updated":
        return
    if query.text("event_ticker") or query.text("tickers"):
        raise malformed("min_updated_ts", "goes with mve_filter=exclude and series_ticker only")
    if query.text("series_ticker") and query.text("mve_filter") != "exclude":
        raise malformed("mve_filter", "must be exclude beside min_updated_ts and series_ticker")


def times_of(board: Board, family: str) -> Ints:
    """Each event's time of a family; 0 where it has not come."""
    lives, phases = board.prices.lives, board.phases
    if family == "created":
        return lives.created
    settled = np.where(phases >= FINALIZED, lives.settled, 0)
    if family == "settled":
        return settled
    if family == "close":
        return board.closes
    updated = np.where(board.at >= lives.relisted, lives.relisted, lives.created)
    updated = np.where(phases >= CLOSED, lives.ended, updated)
    updated = np.where(phases >= DETERMINED, lives.determined, updated)
    updated += np.where(phases == DISPUTED, lives.timer, 0)
    updated += np.where(phases == AMENDED, 3 * lives.timer, 0)
    return np.maximum(updated, settled)
