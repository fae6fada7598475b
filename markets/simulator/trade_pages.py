"""Pages of trades, newest first, over the markets of several boards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markets.simulator.board import Board
from markets.simulator.noise import MASK
from markets.simulator.orders import SECOND
from markets.simulator.query import Query, encode_cursor, malformed
from markets.simulator.tape import TradeCursor
from markets.simulator.trades import trade_json

CURSOR_PATTERN = re.compile("[0-9]{1,18}:[0-9]{1,20}")


class Listed(NamedTuple):
    """A trade of a page; they sort by their instants, and those of one instant by their ids."""

    micros: int
    identity: int
    is_block: bool
    body: bytes


class TradeSource(NamedTuple):
    """The markets of a board whose trades are asked for: one row, or all where it is None."""

    board: Board
    row: int | None

    def newest(
        self, start: int, end: int, *, after: TradeCursor | None, most: int
    ) -> Iterator[Listed]:
        tape = self.board.tape
        if self.row is None:
            found = tape.newest(start, end, after=after, most=most)
        else:
            found = tape.of_market(self.row, start, end, after=after, most=most)
        bodies = trade_json(found, self.board.tickers)
        columns = (found.micros.tolist(), found.ids.tolist(), found.blocks.tolist(), bodies)
        return map(Listed, *columns)


def sources(boards: Sequence[Board], ticker: str) -> list[TradeSource]:
    """The markets whose trades are wanted: all that are listed, or one of them."""
    if not ticker:
        return [TradeSource(board, None) for board in boards if board.events]
    found = ((board, board.row_of.get(ticker)) for board in boards)
    return [TradeSource(b, row) for b, row in found if row is not None and b.listed[row]]


def trade_page(found: Sequence[TradeSource], query: Query, *, since: int, until: int) -> bytes:
    """Encode a page of the trades in (since, until], in microseconds, that match a query."""
    limit, block, after = query.limit(100, 1000), query.flag("is_block_trade"), cursor_of(query)
    start = max((query.integer("min_ts") or 0) * SECOND, since + 1)
    latest = query.integer("max_ts")
    end = until if latest is None else min(latest * SECOND, until)
    trades = sorted(
        (trade for each in found for trade in each.newest(start, end, after=after, most=limit + 1)),
        reverse=True,
    )
    page = trades[:limit]
    last = f"{page[-1].micros}:{page[-1].identity}" if len(trades) > limit else ""
    shown = (trade.body for trade in page if block in {None, trade.is_block})
    return (
        b'{"trades":[' + b",".join(shown) + b'],"cursor":"' + encode_cursor(last).encode() + b'"}'
    )


def cursor_of(query: Query) -> TradeCursor | None:
    micros, _, identity = query.cursor().partition(":")
    if not micros:
        return None
    if not CURSOR_PATTERN.fullmatch(query.cursor()) or int(identity) > MASK:
        raise malformed("cursor", "not a cursor of this exchange")
    return TradeCursor(int(micros), int(identity))
