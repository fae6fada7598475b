"""The exchange's public REST contract: a request and an instant in, a reply out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from markets.simulator import fees
from markets.simulator.board import Board, Listings
from markets.simulator.book import orderbook
from markets.simulator.cadence import DAY, MINUTE, iso
from markets.simulator.candles import candlesticks, periods
from markets.simulator.noise import MASK, Ints
from markets.simulator.query import Query, Refusal, malformed, opaque, unknown
from markets.simulator.render import Json, series_fields
from markets.simulator.selection import chosen_events, chosen_markets, rows_of
from markets.simulator.series import Series
from markets.simulator.trades import Place, Tape, blocks, described, newest
from markets.simulator.universe import grid

OPEN_PHASES = ("unopened", "open", "closed", "settled")
SINGLE_CANDLES, BATCH_CANDLES, BATCH_TICKERS = 5_000, 10_000, 100


PLACE = re.compile("[0-9]{1,18}:[0-9]{1,20}")


class Reply(NamedTuple):
    status: int
    body: bytes


class Request(NamedTuple):
    query: Query
    names: tuple[str, ...]
    now: int


Handler = Callable[[Request], bytes]


def as_json(fields: Json) -> bytes:
    return msgspec.json.encode(fields)


class Exchange:
    def __init__(self, listings: Listings) -> None:
        self.listings = listings
        name = r"([^/]+)"
        self._routes: list[tuple[re.Pattern[str], Handler]] = [
            (re.compile(pattern), handler)
            for pattern, handler in (
                ("/exchange/status", self.status),
                ("/exchange/schedule", self.schedule),
                ("/series", self.series_list),
                ("/series/fee_changes", self.series_fee_changes),
                (f"/series/{name}/markets/{name}/candlesticks", self.market_candles),
                (f"/series/{name}", self.series),
                ("/events", self.events),
                ("/events/fee_changes", self.event_fee_changes),
                (f"/events/{name}", self.event),
                ("/markets", self.markets),
                ("/markets/trades", self.trades),
                ("/markets/orderbooks", self.orderbooks),
                ("/markets/candlesticks", self.candles),
                (f"/markets/{name}/orderbook", self.orderbook),
                (f"/markets/{name}", self.market),
                ("/historical/cutoff", self.cutoff),
                ("/historical/markets", self.historical_markets),
                (f"/historical/markets/{name}", self.historical_market),
            )
        ]

    def respond(self, path: str, raw: Mapping[str, Sequence[str]], now: float) -> Reply:
        """Answer a GET; `path` without the API's prefix, `now` in seconds since 1970."""
        instant = grid(now)
        try:
            for pattern, handler in self._routes:
                found = pattern.fullmatch(path)
                if found:
                    return Reply(200, handler(Request(Query(raw), found.groups(), instant)))
            raise unknown("path", path)
        except Refusal as refusal:
            return Reply(refusal.status, refusal.body)

    # Exchange

    def status(self, request: Request) -> bytes:
        on = {
            "exchange_active": True,
            "trading_active": True,
            "intra_exchange_transfers_active": True,
        }
        names = ("Default", "Exotics", "Crypto", "Sports")
        shards = [{"exchange_index": i, "description": name, **on} for i, name in enumerate(names)]
        return as_json({**on, "exchange_index_statuses": shards})

    def schedule(self, request: Request) -> bytes:
        """The simulated exchange never rests."""
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        always = [{"open_time": "00:00", "close_time": "24:00"}]
        week = {"start_time": iso(0), "end_time": iso(4_102_444_800), **dict.fromkeys(days, always)}
        return as_json({"schedule": {"standard_hours": [week], "maintenance_windows": []}})

    # Series

    def series_list(self, request: Request) -> bytes:
        query = request.query
        category, tags = query.text("category"), set(query.words("tags"))
        found = [
            self._series(each, request.now)
            for each in self.listings.universe.series.values()
            if category in {"", each.category} and (not tags or tags & set(each.tags))
        ]
        return as_json({"series": found})

    def series(self, request: Request) -> bytes:
        ticker = request.names[0]
        found = self.listings.universe.series.get(ticker)
        if found is None:
            raise unknown("series", ticker)
        return as_json({"series": self._series(found, request.now)})

    def _series(self, series: Series, now: int) -> Json:
        return series_fields(series, fees.multiplier(series, now))

    def series_fee_changes(self, request: Request) -> bytes:
        wanted = request.query.text("series_ticker")
        past = bool(request.query.flag("show_historical"))
        series = [s for s in self.listings.universe.series.values() if wanted in {"", s.ticker}]
        changes = [c for s in series for c in fees.series_changes(s, request.now, past=past)]
        return as_json({"series_fee_change_arr": changes})

    # Events

    def events(self, request: Request) -> bytes:
        query = request.query
        limit, nested = query.limit(200, 200), bool(query.flag("with_nested_markets"))
        board = self.listings.live(request.now)
        chosen = chosen_events(board, query, statuses=OPEN_PHASES) & ~board.combos
        tickers = query.words("tickers")
        if tickers:
            chosen &= np.array([e.ticker in set(tickers) for e in board.events], dtype=np.bool_)
        earliest = query.integer("min_close_ts")
        if earliest is not None:
            chosen &= np.array([e.listed_close >= earliest for e in board.events], dtype=np.bool_)
        left = np.flatnonzero(chosen)
        cursor = query.cursor()
        if cursor:
            left = left[left >= board.event_after(cursor)]
        page = left[:limit].tolist()
        end = board.order[page[-1]] if len(left) > limit else ""
        body = board.event_page(page, nested=nested)
        return b'{"events":' + body + self._cursor(end)

    def event(self, request: Request) -> bytes:
        """With its markets inside on demand, else beside it, as the older clients expect."""
        ticker, nested = request.names[0], bool(request.query.flag("with_nested_markets"))
        live = self.listings.live(request.now)
        i = live.event_of.get(ticker)
        if i is not None and live.visible[i]:
            beside = live.markets([] if nested else live.rows(i))
            return b'{"event":' + live.event(i, nested=nested) + b',"markets":' + beside + b"}"
        past = self.listings.past(request.now)
        i = past.event_of.get(ticker)
        if i is None:
            raise unknown("event", ticker)
        # An event stays for ever; its markets have moved to /historical.
        return b'{"event":' + past.event(i, nested=False) + b',"markets":[]}'

    def event_fee_changes(self, request: Request) -> bytes:
        query = request.query
        limit, wanted, after = query.limit(100, 1000), query.text("event_ticker"), query.cursor()
        board = self.listings.live(request.now)
        shown = (board.events[i] for i in np.flatnonzero(board.visible).tolist())
        changes = [
            change
            for event in shown
            if wanted in {"", event.ticker} and event.ticker > after
            for change in fees.event_changes(event)
        ]
        end = str(changes[limit - 1]["event_ticker"]) if len(changes) > limit else ""
        return as_json({"event_fee_changes": changes[:limit], "cursor": opaque(end)})

    # Markets

    def markets(self, request: Request) -> bytes:
        board = self.listings.live(request.now)
        return self._market_page(board, chosen_markets(board, request.query), request.query)

    def _market_page(self, board: Board, rows: Ints, query: Query) -> bytes:
        limit, cursor = query.limit(100, 1000), query.cursor()
        if cursor:
            rows = rows[rows >= board.row_after(cursor)]
        page = rows[:limit].tolist()
        end = board.cursor_at(page[-1]) if len(rows) > limit else ""
        return b'{"markets":' + board.markets(page) + self._cursor(end)

    def _cursor(self, end: str) -> bytes:
        return b',"cursor":"' + opaque(end).encode() + b'"}'

    def market(self, request: Request) -> bytes:
        board = self.listings.live(request.now)
        return b'{"market":' + board.market(self._row(board, request.names[0])) + b"}"

    def _row(self, board: Board, ticker: str) -> int:
        row = board.row_of.get(ticker)
        if row is None or not board.visible[board.prices.traits.event[row]]:
            raise unknown("market", ticker)
        return row

    def orderbook(self, request: Request) -> bytes:
        board = self.listings.live(request.now)
        depth = request.query.integer("depth", high=100) or 0
        row = self._row(board, request.names[0])
        return as_json({"orderbook_fp": orderbook(board.prices, row, request.now, depth=depth)})

    def orderbooks(self, request: Request) -> bytes:
        board = self.listings.live(request.now)
        rows = [self._row(board, ticker) for ticker in self._batch(request.query, "tickers")]
        books = [orderbook(board.prices, row, request.now, depth=0) for row in rows]
        named = zip(rows, books, strict=True)
        return as_json(
            {"orderbooks": [{"ticker": board.tickers[r], "orderbook_fp": b} for r, b in named]}
        )

    def _batch(self, query: Query, name: str) -> list[str]:
        tickers = query.words(name)
        if not 1 <= len(tickers) <= BATCH_TICKERS:
            raise malformed(name, f"1 to {BATCH_TICKERS} tickers are wanted")
        return tickers

    # Trades and candlesticks

    def trades(self, request: Request) -> bytes:
        query = request.query
        board = self.listings.live(request.now)
        limit, block = query.limit(100, 1000), query.flag("is_block_trade")
        start = max(query.integer("min_ts") or 0, self.listings.cutoff(request.now))
        latest = query.integer("max_ts")
        end = request.now if latest is None else min(latest, request.now)
        ticker = query.text("ticker")
        rows = np.flatnonzero(board.visible[board.prices.traits.event])
        if ticker:
            rows = np.array([self._row(board, ticker)])
        after = self._place(query)
        span = (start, max(start, end))
        found = newest(board.prices, rows, span, after=after, most=limit + 1)
        cursor = self._trade_cursor(found, limit)
        page = found.pick(np.arange(min(limit, len(found.rows))))
        if block is not None:
            page = page.pick(blocks(board.prices, page) == block)
        return as_json({"trades": described(board.prices, page, board.tickers), "cursor": cursor})

    def _place(self, query: Query) -> Place | None:
        micros, _, identity = query.cursor().partition(":")
        if not micros:
            return None
        if not PLACE.fullmatch(query.cursor()) or int(identity) > MASK:
            raise malformed("cursor", "not one of ours")
        return Place(int(micros), int(identity))

    def _trade_cursor(self, found: Tape, limit: int) -> str:
        if len(found.rows) <= limit:
            return ""
        return opaque(f"{found.micros[limit - 1]}:{found.ids[limit - 1]}")

    def market_candles(self, request: Request) -> bytes:
        series, ticker = request.names
        board = self.listings.live(request.now)
        row = self._row(board, ticker)
        if board.series[int(board.prices.traits.event[row])] != series:
            raise unknown("market", ticker)
        candles = self._candles(board, [row], request, most=SINGLE_CANDLES)[0]
        return as_json({"ticker": ticker, "candlesticks": candles})

    def candles(self, request: Request) -> bytes:
        board = self.listings.live(request.now)
        tickers = self._batch(request.query, "market_tickers")
        rows = [self._row(board, ticker) for ticker in tickers]
        found = self._candles(board, rows, request, most=BATCH_CANDLES)
        return as_json(
            {
                "markets": [
                    {"market_ticker": ticker, "candlesticks": candles}
                    for ticker, candles in zip(tickers, found, strict=True)
                ]
            }
        )

    def _candles(
        self, board: Board, rows: list[int], request: Request, *, most: int
    ) -> list[list[Json]]:
        query = request.query
        minutes = query.required("period_interval", low=1)
        if minutes not in {1, 60, 1440}:
            raise malformed("period_interval", "not one of 1, 60, 1440")
        start, end = query.required("start_ts"), query.required("end_ts")
        if end < start:
            raise malformed("end_ts", "before start_ts")
        if query.flag("include_latest_before_start"):
            start -= minutes * MINUTE
        # Only what is over has a candle.
        span = (start, min(end, request.now))
        bounds = [periods(board.prices, row, span, minutes=minutes) for row in rows]
        if sum(len(each) for each in bounds) > most:
            raise malformed("end_ts", f"more than {most} candlesticks")
        pairs = zip(rows, bounds, strict=True)
        return [candlesticks(board.prices, row, each) for row, each in pairs]

    # History

    def cutoff(self, request: Request) -> bytes:
        settled = iso(self.listings.cutoff(request.now))
        orders = iso(self.listings.cutoff(request.now) // DAY * DAY)
        return as_json(
            {
                "market_settled_ts": settled,
                "trades_created_ts": settled,
                "orders_updated_ts": orders,
                "market_positions_last_updated_ts": orders,
            }
        )

    def historical_markets(self, request: Request) -> bytes:
        query = request.query
        filters = ("tickers", "event_ticker", "series_ticker", "mve_filter")
        if sum(bool(query.text(name)) for name in filters) > 1:
            raise malformed("tickers", "only one filter at a time")
        board = self.listings.past(request.now)
        chosen = chosen_events(board, query, statuses=())
        if query.choice("mve_filter", ("exclude",)):
            chosen &= ~board.combos
        return self._market_page(board, rows_of(board, query, chosen), query)

    def historical_market(self, request: Request) -> bytes:
        board = self.listings.past(request.now)
        return b'{"market":' + board.market(self._row(board, request.names[0])) + b"}"
