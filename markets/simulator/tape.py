"""Pages of trades, newest first, over the markets of several boards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from markets.simulator.board import Board
from markets.simulator.noise import MASK, Ints
from markets.simulator.query import Query, malformed, opaque
from markets.simulator.render import Json
from markets.simulator.trades import Place, described, newest

PLACE = re.compile("[0-9]{1,18}:[0-9]{1,20}")


class Source(NamedTuple):
    board: Board
    rows: Ints


def sources(boards: Sequence[Board], ticker: str) -> list[Source]:
    """The markets to look at: all that are listed, or one of them."""
    found = []
    for board in boards:
        listed = board.listed
        if ticker:
            row = board.row_of.get(ticker, -1)
            rows = np.array([row] if row >= 0 and listed[row] else [], dtype=np.int64)
        else:
            rows = np.flatnonzero(listed)
        if len(rows):
            found.append(Source(board, rows))
    return found


def trade_page(found: Sequence[Source], query: Query, *, since: int, until: int) -> bytes:
    """The trades in (since, until] that a request asks for."""
    limit, block, after = query.limit(100, 1000), query.flag("is_block_trade"), place_of(query)
    start = max(query.integer("min_ts") or 0, since)
    latest = query.integer("max_ts")
    end = max(start, until if latest is None else min(latest, until))
    trades: list[Json] = []
    keys: list[tuple[int, int]] = []
    for board, rows in found:
        first = board.prices.lives.opened[board.prices.traits.event[rows]].min()
        span = (max(start, int(first) - 1), end)
        tape = newest(board.prices, rows, span, after=after, most=limit + 1)
        trades += described(board.prices, tape, board.tickers)
        keys += zip(tape.micros.tolist(), tape.ids.tolist(), strict=True)
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    page = [trades[i] for i in order[:limit]]
    if block is not None:
        page = [trade for trade in page if trade["is_block_trade"] is block]
    last = "{}:{}".format(*keys[order[limit - 1]]) if len(order) > limit else ""
    return msgspec.json.encode({"trades": page, "cursor": opaque(last)})


def place_of(query: Query) -> Place | None:
    micros, _, identity = query.cursor().partition(":")
    if not micros:
        return None
    if not PLACE.fullmatch(query.cursor()) or int(identity) > MASK:
        raise malformed("cursor", "not one of ours")
    return Place(int(micros), int(identity))
