"""Pages of trades, newest first, over the markets of several boards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from markets.simulator.board import Board
from markets.simulator.noise import MASK, Ints
from markets.simulator.query import Query, encode_cursor, malformed
from markets.simulator.render import Json
from markets.simulator.trades import TradeCursor, newest, trade_json

CURSOR_PATTERN = re.compile("[0-9]{1,18}:[0-9]{1,20}")


class TradeSource(NamedTuple):
    board: Board
    rows: Ints


def sources(boards: Sequence[Board], ticker: str) -> list[TradeSource]:
    """The markets whose trades are wanted: all that are listed, or one of them."""
    found = []
    for board in boards:
        listed = board.listed
        if ticker:
            row = board.row_of.get(ticker, -1)
            rows = np.array([row] if row >= 0 and listed[row] else [], dtype=np.int64)
        else:
            rows = np.flatnonzero(listed)
        if len(rows):
            found.append(TradeSource(board, rows))
    return found


def trade_page(found: Sequence[TradeSource], query: Query, *, since: int, until: int) -> bytes:
    """Encode a page of the trades in (since, until] that match a query."""
    limit, block, after = query.limit(100, 1000), query.flag("is_block_trade"), cursor_of(query)
    start = max(query.integer("min_ts") or 0, since)
    latest = query.integer("max_ts")
    end = max(start, until if latest is None else min(latest, until))
    trades: list[Json] = []
    keys: list[tuple[int, int]] = []
    for board, rows in found:
        first = board.prices.lives.opened[board.prices.traits.event[rows]].min()
        span = (max(start, int(first) - 1), end)
        tape = newest(board.prices, rows, span, after=after, most=limit + 1)
        trades += trade_json(board.prices, tape, board.tickers)
        keys += zip(tape.micros.tolist(), tape.ids.tolist(), strict=True)
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    page = [trades[i] for i in order[:limit]]
    if block is not None:
        page = [trade for trade in page if trade["is_block_trade"] is block]
    last = "{}:{}".format(*keys[order[limit - 1]]) if len(order) > limit else ""
    return msgspec.json.encode({"trades": page, "cursor": encode_cursor(last)})


def cursor_of(query: Query) -> TradeCursor | None:
    micros, _, identity = query.cursor().partition(":")
    if not micros:
        return None
    if not CURSOR_PATTERN.fullmatch(query.cursor()) or int(identity) > MASK:
        raise malformed("cursor", "not a cursor of this exchange")
    return TradeCursor(int(micros), int(identity))
