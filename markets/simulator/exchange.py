"""The exchange's public REST contract: it maps a request and an instant to a reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from markets.simulator import fees
from markets.simulator.board import CURSOR_SEPARATOR, Board, Listings
from markets.simulator.book import orderbook
from markets.simulator.cadence import DAY, MINUTE, iso
from markets.simulator.candles import candlesticks, historical, periods
from markets.simulator.flood import NOTHING, Flood, Front
from markets.simulator.hours import PAUSED_FROM, PAUSED_UNTIL
from markets.simulator.noise import Ints
from markets.simulator.orders import SECOND
from markets.simulator.query import Query, Refusal, encode_cursor, malformed, unknown
from markets.simulator.render import Json, series_fields
from markets.simulator.selection import rows_of, select_events, select_markets
from markets.simulator.series import SimulatedSeries
from markets.simulator.trade_pages import sources, trade_page
from markets.simulator.universe import floor_to_step

OPEN_PHASES = ("unopened", "open", "closed", "settled")
SINGLE_CANDLES, BATCH_CANDLES, BATCH_TICKERS = 5_000, 10_000, 100
ALWAYS_ANSWERED = {"/exchange/status", "/exchange/schedule"}
SHARDS = ("Default", "Exotics", "Crypto", "Sports")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Reply(NamedTuple):
    status: int
    body: bytes


class Request(NamedTuple):
    query: Query
    names: tuple[str, ...]
    # The last step, and the instant itself, both in seconds.
    now: int
    instant: float
    signed: bool


Handler = Callable[[Request], bytes]


def check_batch_size(name: str, tickers: list[str]) -> list[str]:
    if not 1 <= len(tickers) <= BATCH_TICKERS:
        raise malformed(name, f"1 to {BATCH_TICKERS} tickers are required")
    return tickers


def session(opened: int, closed: int) -> Json:
    return {"open_time": f"{opened:02}:00", "close_time": f"{closed:02}:00"}


class Exchange:
    def __init__(self, listings: Listings, *, needs_key: bool = False, combos: int = 0) -> None:
        self.listings = listings
        self.needs_key = needs_key
        self.combos = combos
        self._flood: Flood | None = None
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
                ("/events/multivariate", self.multivariate_events),
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
                (f"/historical/markets/{name}/candlesticks", self.historical_candles),
                ("/historical/trades", self.historical_trades),
            )
        ]

    def respond(
        self, path: str, raw: Mapping[str, Sequence[str]], now: float, *, signed: bool = False
    ) -> Reply:
        """Answer a GET. `path` has no API prefix, and `now` is in seconds since 1970.

        `signed` is True if the request had the headers of an API key.
        """
        step = floor_to_step(now)
        try:
            self._refuse_under_maintenance(path, step)
            for pattern, handler in self._routes:
                found = pattern.fullmatch(path)
                if found:
                    request = Request(Query(raw), found.groups(), step, now, signed)
                    return Reply(200, handler(request))
            raise unknown("path", path)
        except Refusal as refusal:
            return Reply(refusal.status, refusal.body)

    def _refuse_under_maintenance(self, path: str, now: int) -> None:
        if path not in ALWAYS_ANSWERED and self.listings.hours.under_maintenance(now):
            raise Refusal(503, "exchange_unavailable", "under maintenance")

    # Exchange

    def status(self, request: Request) -> bytes:
        hours = self.listings.hours
        resumption = hours.resumes_at(request.now)
        alive = not hours.under_maintenance(request.now)
        state: Json = {
            "exchange_active": alive,
            "trading_active": resumption is None,
            "intra_exchange_transfers_active": alive,
        }
        shards = [
            {"exchange_index": i, "description": name, **state} for i, name in enumerate(SHARDS)
        ]
        estimate = {} if resumption is None else {"exchange_estimated_resume_time": iso(resumption)}
        return msgspec.json.encode({**state, **estimate, "exchange_index_statuses": shards})

    def schedule(self, request: Request) -> bytes:
        hours = self.listings.hours
        week: Json = {"start_time": iso(0), "end_time": iso(4_102_444_800)}
        week |= {day: [session(0, 24)] for day in DAYS}
        if hours.pauses:
            week["thursday"] = [session(0, PAUSED_FROM), session(PAUSED_UNTIL, 24)]
        windows = [
            {"start_datetime": iso(start), "end_datetime": iso(end)}
            for start, end in hours.maintenance
        ]
        return msgspec.json.encode(
            {"schedule": {"standard_hours": [week], "maintenance_windows": windows}}
        )

    # Series

    def series_list(self, request: Request) -> bytes:
        query = request.query
        category, tags = query.text("category"), set(query.words("tags"))
        found = [
            self._series(each, request.now)
            for each in self.listings.universe.series.values()
            if category in {"", each.category} and (not tags or tags & set(each.tags))
        ]
        return msgspec.json.encode({"series": found})

    def series(self, request: Request) -> bytes:
        ticker = request.names[0]
        found = self.listings.universe.series.get(ticker)
        if found is None:
            raise unknown("series", ticker)
        return msgspec.json.encode({"series": self._series(found, request.now)})

    def _series(self, series: SimulatedSeries, now: int) -> Json:
        return series_fields(series, fees.multiplier(series, now))

    def series_fee_changes(self, request: Request) -> bytes:
        ticker = request.query.text("series_ticker")
        past = bool(request.query.flag("show_historical"))
        series = [s for s in self.listings.universe.series.values() if ticker in {"", s.ticker}]
        changes = [c for s in series for c in fees.series_changes(s, request.now, past=past)]
        return msgspec.json.encode({"series_fee_change_arr": changes})

    # Events

    def events(self, request: Request) -> bytes:
        query = request.query
        board = self.listings.live(request.instant)
        selected = select_events(board, query, statuses=OPEN_PHASES) & ~board.combos
        tickers = query.words("tickers")
        if tickers:
            selected &= np.array([e.ticker in set(tickers) for e in board.events], dtype=np.bool_)
        earliest = query.integer("min_close_ts")
        if earliest is not None:
            selected &= board.closes >= earliest
        return self._event_page(board, np.flatnonzero(selected), query)

    def multivariate_events(self, request: Request) -> bytes:
        board = self.listings.live(request.instant)
        selected = select_events(board, request.query, statuses=()) & board.combos
        return self._event_page(board, np.flatnonzero(selected), request.query)

    def _event_page(self, board: Board, left: Ints, query: Query) -> bytes:
        limit, nested = query.limit(200, 200), bool(query.flag("with_nested_markets"))
        cursor = query.cursor()
        if cursor:
            left = left[left >= board.event_after(cursor)]
        page = left[:limit].tolist()
        end = board.order[page[-1]] if len(left) > limit else ""
        body = board.event_page(page, nested=nested)
        return b'{"events":' + body + self._cursor(end)

    def event(self, request: Request) -> bytes:
        """Nest the markets on request; otherwise they stand beside the event, for older clients."""
        ticker, nested = request.names[0], bool(request.query.flag("with_nested_markets"))
        live = self.listings.live(request.instant)
        i = live.event_of.get(ticker)
        if i is not None and live.visible[i]:
            beside = live.markets([] if nested else live.listed_rows(i))
            return b'{"event":' + live.event(i, nested=nested) + b',"markets":' + beside + b"}"
        past = self.listings.past(request.now)
        i = past.event_of.get(ticker)
        if i is None:
            raise unknown("event", ticker)
        # An event is kept for ever, while its markets have moved to /historical.
        return b'{"event":' + past.event(i, nested=False) + b',"markets":[]}'

    def event_fee_changes(self, request: Request) -> bytes:
        query = request.query
        limit, ticker, after = query.limit(100, 1000), query.text("event_ticker"), query.cursor()
        board = self.listings.live(request.instant)
        shown = (board.events[i] for i in np.flatnonzero(board.visible).tolist())
        changes = [
            (f"{event.ticker}{CURSOR_SEPARATOR}{number}", change)
            for event in shown
            if ticker in {"", event.ticker}
            for number, change in enumerate(fees.event_changes(event))
        ]
        left = [pair for pair in changes if pair[0] > after]
        page = [change for _, change in left[:limit]]
        end = left[limit - 1][0] if len(left) > limit else ""
        return msgspec.json.encode({"event_fee_changes": page, "cursor": encode_cursor(end)})

    # Markets

    def markets(self, request: Request) -> bytes:
        """List the markets, with the flood of combinations in front where there is one."""
        query = request.query
        board = self.listings.live(request.instant)
        rows, flood = select_markets(board, query), self.flood(board)
        front = flood.front(query, query.limit(100, 1000)) if flood else NOTHING
        return self._market_page(board, rows, query, front=front)

    def flood(self, board: Board) -> Flood | None:
        if self.combos and (self._flood is None or self._flood.day != board.at // DAY):
            self._flood = Flood(self.combos, board.at, board.events)
        return self._flood

    def _market_page(
        self, board: Board, rows: Ints, query: Query, *, front: Front = NOTHING
    ) -> bytes:
        limit, cursor = query.limit(100, 1000) - len(front.rows), query.cursor()
        if cursor:
            rows = rows[rows >= board.row_after(cursor)]
        page = rows[:limit].tolist()
        end = ""
        if front.more or len(rows) > limit:
            end = board.cursor_at(page[-1]) if page else front.end
        listed = [*front.rows, board.markets(page)[1:-1]] if page else front.rows
        return b'{"markets":[' + b",".join(listed) + b"]" + self._cursor(end)

    def _cursor(self, end: str) -> bytes:
        return b',"cursor":"' + encode_cursor(end).encode() + b'"}'

    def market(self, request: Request) -> bytes:
        board = self.listings.live(request.instant)
        flood = self.flood(board)
        number = flood.number_of(request.names[0]) if flood else None
        if flood and number is not None:
            return b'{"market":' + flood.row(number) + b"}"
        return b'{"market":' + board.market(self._row(board, request.names[0])) + b"}"

    def _row(self, board: Board, ticker: str) -> int:
        rows = self._rows(board, [ticker])
        if not rows:
            raise unknown("market", ticker)
        return rows[0]

    def _rows(self, board: Board, tickers: Sequence[str]) -> list[int]:
        """The rows of the tickers that the board lists; batches leave the others out."""
        found = (board.row_of.get(ticker) for ticker in tickers)
        return [row for row in found if row is not None and board.listed[row]]

    def orderbook(self, request: Request) -> bytes:
        board = self.listings.live(request.instant)
        depth = request.query.integer("depth", high=100) or 0
        row = self._row(board, request.names[0])
        return msgspec.json.encode(
            {"orderbook_fp": orderbook(board.books, row, board.micros, depth=depth)}
        )

    def orderbooks(self, request: Request) -> bytes:
        if self.needs_key and not request.signed:
            raise Refusal(401, "unauthorized", "the three headers of an API key are required")
        board = self.listings.live(request.instant)
        rows = self._rows(board, check_batch_size("tickers", request.query.repeated("tickers")))
        books = [orderbook(board.books, row, board.micros, depth=0) for row in rows]
        named = zip(rows, books, strict=True)
        return msgspec.json.encode(
            {"orderbooks": [{"ticker": board.tickers[r], "orderbook_fp": b} for r, b in named]}
        )

    # Trades and candlesticks

    def trades(self, request: Request) -> bytes:
        board = self.listings.live(request.instant)
        found = sources([board], request.query.text("ticker"))
        since = self.listings.cutoff(request.now) * SECOND
        return trade_page(found, request.query, since=since, until=board.micros)

    def market_candles(self, request: Request) -> bytes:
        series, ticker = request.names
        board = self.listings.live(request.instant)
        row = self._row(board, ticker)
        if board.series[int(board.prices.traits.event[row])] != series:
            raise unknown("market", ticker)
        candles = self._candles(board, [row], request, most=SINGLE_CANDLES)[0]
        return msgspec.json.encode({"ticker": ticker, "candlesticks": candles})

    def candles(self, request: Request) -> bytes:
        board = self.listings.live(request.instant)
        rows = self._rows(
            board, check_batch_size("market_tickers", request.query.words("market_tickers"))
        )
        found = self._candles(board, rows, request, most=BATCH_CANDLES)
        return msgspec.json.encode(
            {
                "markets": [
                    {"market_ticker": board.tickers[row], "candlesticks": candles}
                    for row, candles in zip(rows, found, strict=True)
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
        # Only completed periods have a candle.
        span = (start, min(end, request.now))
        bounds = [periods(board.prices, row, span, minutes=minutes) for row in rows]
        if sum(len(each) for each in bounds) > most:
            raise malformed("end_ts", f"more than {most} candlesticks")
        pairs = zip(rows, bounds, strict=True)
        return [candlesticks(board.books, row, each) for row, each in pairs]

    # History

    def cutoff(self, request: Request) -> bytes:
        settled = iso(self.listings.cutoff(request.now))
        orders = iso(self.listings.cutoff(request.now) // DAY * DAY)
        return msgspec.json.encode(
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
        selected = select_events(board, query, statuses=())
        if query.choice("mve_filter", ("exclude",)):
            selected &= ~board.combos
        return self._market_page(board, rows_of(board, query, selected), query)

    def historical_market(self, request: Request) -> bytes:
        board = self.listings.past(request.now)
        return b'{"market":' + board.market(self._row(board, request.names[0])) + b"}"

    def historical_candles(self, request: Request) -> bytes:
        ticker, board = request.names[0], self.listings.past(request.now)
        candles = self._candles(board, [self._row(board, ticker)], request, most=SINGLE_CANDLES)[0]
        return msgspec.json.encode(
            {"ticker": ticker, "candlesticks": [historical(each) for each in candles]}
        )

    def historical_trades(self, request: Request) -> bytes:
        """Trades have a cutoff of their own, so those of open markets are here too."""
        ticker = request.query.text("ticker")
        boards = [self.listings.live(request.instant), self.listings.past(request.now)]
        found = sources(boards, ticker)
        if ticker and not found:
            raise unknown("market", ticker)
        until = self.listings.cutoff(request.now)
        return trade_page(found, request.query, since=-1, until=until * SECOND)
