"""A client for the API of Kalshi Insights, which returns DataFrames, for notebooks and scripts.

    from kalshi_insights_client import Client

    with Client() as client:
        busiest = client.markets(status="open", ordering="-volume_24h", limit=20)
        quotes = client.snapshots(busiest.index[0], "2026-11-20", "2026-11-21")

    with Client(token="0123…") as client:
        run = client.backtest("fade-longshots", "2026-11-19", "2026-11-20", series=["KXHIGHNY"])
        print(run.verdict)
        found = client.search(
            "fade-longshots", "2026-10-01", "2026-11-20", series=["KXHIGHNY"],
            vary={"edge": [0, 0.01]}, folds=4,
        )
        print(found.probability_of_overfitting)

Prices are dollars on the YES scale; unknown values are NaN, NaT or None. Times are in UTC. Time
arguments need a time zone: pass an aware datetime, a string with an offset, or a date, which means
its midnight in UTC. This file can be copied elsewhere; it only needs httpx, pandas and pyarrow.
"""

import io
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Self
from urllib.parse import quote

import httpx
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq


class ApiError(Exception):
    """An error of the API or of the connection; `details` are by parameter where one is wrong."""

    retry_after: float | None = None  # seconds

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, message, details)
        self.code, self.message, self.details = code, message, dict(details or {})

    def __str__(self) -> str:
        return self.message


class NotFound(ApiError):
    """The requested resource does not exist, or nothing was recorded of it."""


class Invalid(ApiError):
    """The request is invalid; `details` has the reasons by parameter."""


class Throttled(ApiError):
    """There were too many requests, and waiting would exceed the client's patience."""


class Unreachable(ApiError):
    """There was no response, or only a part of one."""


class Failed(ApiError):
    """A backtest or a search failed or was cancelled; the message says why."""


When = datetime | date | str | None
Filter = When | Decimal | float | int | bool
Row = dict[str, Any]

PAGE = 1_000
PROGRESS_DELAY = 1.0  # seconds; shorter downloads show no progress
STATUS_INTERVAL = 0.5  # seconds between requests for a backtest's progress
BAR = 30  # characters
ENDED = ("done", "failed", "cancelled")
MONEY = 1_000_000  # units of figures in a dollar

# The columns of lists, which an empty list needs.
SERIES = """
    ticker title category tags frequency fee_type fee_multiplier settlement_sources contract_url
    exchange_index refreshed_at"""
EVENTS = """
    ticker series_ticker category title sub_title mutually_exclusive collateral_return_type
    strike_date strike_period settlement_sources fee_type_override fee_multiplier_override
    exchange_index recorded_at"""
MARKETS = """
    ticker event_ticker series_ticker category event_title title yes_sub_title no_sub_title
    market_type status result settlement_value settlement_ts open_time close_time
    expected_expiration_time latest_expiration_time can_close_early strike_type floor_strike
    cap_strike yes_bid yes_ask yes_bid_size yes_ask_size last_price volume open_interest
    yes_price no_price volume_24h previous_price quoted_at is_hot"""

OUTAGES = "start end cause detail seconds"
CURVE = "low high count events price outcome outcome_low outcome_high"
RETURNS = "low high count events price fee net net_low net_high"
GROUPS = """
    group count events price outcome bias bias_low bias_high brier brier_low brier_high skill"""
CALIBRATED = """
    ticker event_ticker series_ticker category observed_at quoted_at anchor yes_bid yes_ask price
    outcome settled_at"""
SPANS = "start end seconds is_whole proof extent with_combos series categories known_at"
IMPORTS = """
    id group kind state file sha256 size started_at finished_at undone_at said rows refused
    duplicates line used_by"""
STRATEGIES = "name version kind origin file error warning is_yardstick summary parameters"
BACKTESTS = """
    id status progress doing strategy strategy_version params series events tickers start end cash
    engine created_at finished_at error snapshots markets final_cash verdict pnl"""

SEARCHES = """
    id status progress points strategy strategy_version params varied runs seed folds embargo_hours
    series events tickers sources imports start end cash engine execution created_at finished_at
    error snapshots markets"""
POINTS = "number params error pnl test_pnl fees fills events won days sharpe folds"
COUNTS = ("fills", "events", "won", "days")
FOLDS = "begins ends train_markets test_markets point train_pnl test_pnl rank"

# Column types by name; TIME matches the columns of times. Decimals sent as text are "float64".
COLUMNS_BY_KIND = {
    "float64": """
        yes_bid yes_ask yes_bid_size yes_ask_size yes_price no_price last_price previous_price
        volume volume_24h
        open_interest settlement_value floor_strike cap_strike fee_multiplier
        fee_multiplier_override price size cash final_cash pnl test_pnl fees
        waited""",
    "category": """
        status result market_type strike_type category fee_type fee_type_override source cause
        state taker_outcome_side taker_book_side kind liquidity outcome_side book_side strategy""",
    "boolean": """
        is_hot being_observed can_close_early mutually_exclusive known_at_assumed counted
        across_gap""",
    "Int64": "exchange_index",
}
KINDS = {name: kind for kind, names in COLUMNS_BY_KIND.items() for name in names.split()}
TIME = re.compile(r"timestamp|start|end|.+_(at|ts|time|date)")
JSON = {"raw_data", "price_ranges"}
GIVEN_TIMES = ("start", "end", "as_of", "closes_after", "closes_before", "updated_since")
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


class Client:
    """A connection to the API. Methods return DataFrames or dictionaries, or raise `ApiError`.

    Numbers are floats, or `Decimal` with `exact`. After too many requests a call waits for as long
    as the API says and tries again, for `patience` seconds in total.

    >>> client = Client("https://insights.example.org", token="0123…", exact=True)
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        *,
        exact: bool = False,
        patience: float = 60.0,
    ) -> None:
        self._exact, self._patience = exact, patience
        self._http = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/api/v1/",
            headers={"Authorization": f"Token {token}"} if token else {},
            timeout=30.0,  # for connecting, and for each part of a response
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> Row:
        """Read the recorder's status, the age of its data, and whether they are simulated.

        >>> client.health()["status"]
        'recording'
        """
        return self._record(self._json("health/"))

    def account(self) -> Row:
        """Read whose token is sent, and what it may do.

        >>> client.account()["scopes"]
        ['read', 'backtest']
        """
        return self._record(self._json("account/"))

    def series(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List series by ticker, with their current fees.

        >>> client.series(category="Economics").fee_multiplier
        """
        return self._list("series/", SERIES, filters, limit=limit)

    def events(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List events by ticker, now or `as_of` an instant.

        >>> client.events(series="KXFED", status="open").title
        """
        return self._list("events/", EVENTS, filters, limit=limit)

    def markets(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List markets by ticker with their newest quotes, now or `as_of`, up to `limit`.

        >>> client.markets(event="KXFED-26DEC", two_sided=True)[["yes_bid", "yes_ask"]]
        """
        return self._list("markets/", MARKETS, filters, limit=limit)

    def market(self, ticker: str, as_of: When = None) -> Row:
        """Read a market with its event, rules and price grid, now or as known at `as_of`.

        >>> client.market("KXFED-26DEC-H25", "2026-11-01")["status"]
        'active'
        """
        return self._record(self._json(_market_path(ticker), as_of=as_of))

    def latest(self, ticker: str) -> Row:
        """Read the newest snapshot of a market, and whether its quote still stands.

        >>> client.latest("KXFED-26DEC-H25")["yes_ask"]
        0.45
        """
        return self._record(self._json(_market_path(ticker, "latest/")))

    def snapshots(
        self, ticker: str, start: When = None, end: When = None, *, source: str | None = None
    ) -> pd.DataFrame:
        """List snapshots from `start` to before `end` by timestamp, oldest first.

        Rows are written on change, so a quote holds until the next one while the market was
        observed; see `coverage`. `source` is POLL, WEBSOCKET or BACKFILL.

        >>> client.snapshots("KXFED-26DEC-H25", "2026-11-20", "2026-11-21").yes_bid
        """
        table = self._table(_market_path(ticker, "snapshots/"), start=start, end=end, source=source)
        return self._frame(table, index="timestamp")

    def candlesticks(
        self,
        ticker: str,
        start: When = None,
        end: When = None,
        *,
        interval: str = "1m",
        source: str | None = None,
    ) -> pd.DataFrame:
        """Aggregate snapshots in buckets of 1m, 5m, 15m, 1h, 4h or 1d by start, oldest first.

        Of a bucket without a snapshot, `state` says whether it was quiet, unobserved or
        untradable. The default range is all that is on record, as in `snapshots`.

        >>> client.candlesticks("KXFED-26DEC-H25", "2026-11-01", interval="1h").yes_bid_close
        """
        path = _market_path(ticker, "candlesticks/")
        table = self._table(path, start=start, end=end, interval=interval, source=source)
        return self._frame(table, index="start")

    def trades(
        self,
        ticker: str | None = None,
        start: When = None,
        end: When = None,
        *,
        block: bool | None = None,
        source: str | None = None,
    ) -> pd.DataFrame:
        """List public trades by created_time, oldest first; without a ticker, of all markets.

        `block` filters block trades; of all markets these, and those of one `source`, come for a
        day at most, with `start` and `end`. `known_at` is when the recorder learned of a trade:
        live for the source TAPE, and as it happened for what was backfilled.

        >>> client.trades("KXFED-26DEC-H25", "2026-11-20", block=False)["count"].sum()
        >>> client.trades(start="2026-11-20", end="2026-11-21").groupby("ticker").size()
        """
        path = "trades/" if ticker is None else _market_path(ticker, "trades/")
        table = self._table(path, start=start, end=end, block=block, source=source)
        return self._frame(table, index="created_time")

    def tape(
        self, start: When = None, end: When = None, *, limit: int | None = None
    ) -> pd.DataFrame:
        """List the spans of the tape by their start, newest first: all its trades are on record,
        or not all (`is_whole`).

        >>> client.tape("2026-11-20", "2026-11-21").query("not is_whole").seconds.sum()
        """
        span = {"start": start, "end": end}
        return self._list("tape/", SPANS, span, limit=limit, key="start")

    def revisions(self, ticker: str, start: When = None, end: When = None) -> pd.DataFrame:
        """List the versions of the market's definition by known_at, oldest first.

        >>> client.revisions("KXFED-26DEC-H25")[["status", "close_time"]]
        """
        table = self._table(_market_path(ticker, "revisions/"), start=start, end=end)
        return self._frame(table, index="known_at")

    def coverage(self, ticker: str, start: When = None, end: When = None) -> Row:
        """Read how completely the market was observed, in at most 31 days (by default the last).

        `gaps` (start, end, cause, detail, counted), `stale`, `quiet` and `expected` are DataFrames;
        `sources` holds the time that each source observed.

        >>> client.coverage("KXFED-26DEC-H25", "2026-11-20", "2026-11-21")["share"]
        0.9987
        """
        data = self._record(self._json(_market_path(ticker, "coverage/"), start=start, end=end))
        return data | {
            **{name: timedelta(seconds=data[name]) for name in ("observed", "fresh")},
            "sources": {
                each["source"]: timedelta(seconds=each["observed"]) for each in data["sources"]
            },
            "gaps": self._columns(data["gaps"], "start end cause detail counted"),
            "stale": self._columns(data["stale"], "start end"),
            "quiet": self._columns(data["quiet"], "start end"),
            "expected": self._columns(data["expected"], "start end fresh_for"),
        }

    def outages(
        self, start: When = None, end: When = None, *, limit: int | None = None
    ) -> pd.DataFrame:
        """List the recorder's outages that overlap a range by their start, newest first.

        >>> client.outages("2026-11-01")[["cause", "seconds"]]
        """
        span = {"start": start, "end": end}
        return self._list("outages/", OUTAGES, span, limit=limit, key="start")

    def imports(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List imported files by id, newest first; filters are `kind`, `state` and `group`.

        >>> client.imports(state="finished")[["file", "kind", "rows"]]
        """
        return self._list("imports/", IMPORTS, filters, limit=limit, key="id")

    def calibration(self, **filters: Filter) -> Row:
        """Read how right prices were; `curve`, `returns_yes` and `returns_no` are frames of bins.

        Filters are `moment`, `price`, `source`, `imports`, `category`, `series`, `start`, `end`,
        `anchor`, `max_spread`, `max_age`, `bins`, `minimum` and `by`: category, series, month or
        moment makes `breakdown` a frame of groups.

        >>> client.calibration(moment="24h", price="ask-yes")["curve"][["price", "outcome"]]
        """
        data = self._record(self._json("calibration/", **filters))
        returns = {
            side: self._columns(data[side], RETURNS) for side in ("returns_yes", "returns_no")
        }
        parts = data["breakdown"] and self._columns(data["breakdown"]["groups"], GROUPS)
        return data | {"curve": self._columns(data["curve"], CURVE), "breakdown": parts, **returns}

    def calibration_markets(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List the markets behind a calibration, each with its one observation; `bin` narrows them.

        >>> client.calibration_markets(bin=1)[["price", "outcome"]]
        """
        return self._list("calibration/markets/", CALIBRATED, filters, limit=limit)

    def orderbook(self, ticker: str, as_of: When = None, *, depth: int | None = None) -> Row:
        """Read the newest order book, or that at `as_of`; `bids` and `asks` have the best first.

        >>> client.orderbook("KXFED-26DEC-H25")["bids"].head(1)
        """
        data = self._record(
            self._json(_market_path(ticker, "orderbook/"), as_of=as_of, depth=depth)
        )
        return data | {side: self._columns(data[side], "price size") for side in ("bids", "asks")}

    def strategies(self) -> pd.DataFrame:
        """List the strategies by name, with their `parameters`.

        >>> client.strategies().loc["fade-longshots"].parameters[0]["help"]
        'YES at this midpoint or below is a longshot.'
        """
        return self._columns(self._json("strategies/")["results"], STRATEGIES).set_index("name")

    def backtests(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List backtests by id, newest first; filters are `status` and `strategy`.

        >>> client.backtests(status="done", limit=10)[["strategy", "pnl"]]
        """
        return self._list("backtests/", BACKTESTS, filters, limit=limit, key="id")

    def backtest(self, strategy: str, start: When, end: When, **payload: Any) -> "Backtest":
        """Backtest a strategy on markets of `series`, `events` or `tickers`, and wait for its end.

        This needs a token. `params` are the strategy's parameters; `cash`, `engine`, `sources`,
        `execution` and `check_lookahead` are as in the API. With `wait=False` it returns at once.
        Raises `Invalid`, which names the wrong parameters, and `Failed`.

        >>> run = client.backtest("fade-longshots", "2026-11-19", "2026-11-20",
        ...     series=["KXHIGHNY"], params={"ceiling": 0.12}, cash=5_000)
        >>> run.verdict, run.executions(), run.equity()
        """
        wait = payload.pop("wait", True)
        run = Backtest(self, self._queue("backtests/", strategy, start, end, payload))
        return run.wait() if wait else run

    def run(self, id: int) -> "Backtest":
        """Read an earlier backtest by its id.

        >>> client.run(7).figures["money"]["pnl"]
        """
        return Backtest(self, self._json(f"backtests/{int(id)}/"))

    def searches(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """List searches of parameters by id, newest first; filters are `status` and `strategy`.

        >>> client.searches(strategy="fade-longshots")[["varied", "points", "status"]]
        """
        return self._list("searches/", SEARCHES, filters, limit=limit, key="id")

    def search(
        self,
        strategy: str,
        start: When,
        end: When,
        *,
        vary: Mapping[str, Iterable[Any] | str],
        **payload: Any,
    ) -> "Search":
        """Run a strategy with every combination of the values to `vary`, and wait for the end.

        This needs a token. `runs` of the combinations can be chosen by a `seed`, `folds` make a
        walk-forward with `embargo_hours`; the rest is as in `backtest`. With `wait=False` it
        returns at once. Raises `Invalid`, which names the wrong parameters, and `Failed`.

        >>> found = client.search("fade-longshots", "2026-10-01", "2026-11-20",
        ...     series=["KXHIGHNY"], vary={"ceiling": "0.05:0.25:0.05", "edge": [0, 0.01]}, folds=4)
        >>> found.probability_of_overfitting, found.points(ordering="-pnl").head(), found.folds()
        """
        wait, more = payload.pop("wait", True), {"vary": vary, **payload}
        found = Search(self, self._queue("searches/", strategy, start, end, more))
        return found.wait() if wait else found

    def read_search(self, id: int) -> "Search":
        """Read an earlier search by its id.

        >>> client.read_search(3).overfitting()["words"]
        """
        return Search(self, self._json(f"searches/{int(id)}/"))

    def _queue(self, path: str, strategy: str, start: When, end: When, payload: Row) -> Row:
        """Request work of the site."""
        times = {"start": _query_text("start", start), "end": _query_text("end", end)}
        queued: Row = self._json(path, payload={"strategy": strategy, **times, **_plain(payload)})
        return queued

    @contextmanager
    def _request(
        self, path: str, query: Mapping[str, Filter], payload: Row | None = None
    ) -> Iterator[httpx.Response]:
        """Send a GET, or a POST if there is a payload, and retry while throttled or busy."""
        params = {
            name: _query_text(name, value) for name, value in query.items() if value is not None
        }
        method = "GET" if payload is None else "POST"
        deadline = time.monotonic() + self._patience
        try:
            while True:
                with self._http.stream(method, path, params=params, json=payload) as response:
                    if response.is_success:
                        yield response
                        return
                    response.read()
                error = _api_error(response)
                if error.retry_after is None or time.monotonic() + error.retry_after > deadline:
                    raise error
                time.sleep(error.retry_after)
        except httpx.RequestError as failure:
            raise Unreachable("unreachable", f"{self._http.base_url}: {failure}") from failure

    def _json(self, path: str, payload: Row | None = None, **query: Filter) -> Any:
        with self._request(path, query, payload) as response:
            return json.loads(response.read())

    def _list(
        self,
        path: str,
        columns: str,
        filters: Mapping[str, Filter],
        *,
        limit: int | None,
        key: str = "ticker",
    ) -> pd.DataFrame:
        query = {**filters, "limit": PAGE if limit is None else min(limit, PAGE)}
        rows: dict[Any, Row] = {}  # a row that moves to a later page counts once
        while True:
            page = self._json(path, **query)
            rows |= {row[key]: row for row in page["results"]}
            if page["next"] is None or (limit is not None and len(rows) >= limit):
                return self._columns(list(rows.values())[:limit], columns).set_index(key)
            # The site may have another address for itself, so only the query of `next` is used.
            query = dict(httpx.URL(page["next"]).params)

    def _table(self, path: str, **query: Filter) -> pa.Table:
        """Download a table as Parquet, whose index is at the end, so a partial file is noticed."""
        with self._request(path, {**query, "format": "parquet"}) as response:
            content = _download(response.iter_bytes(), path)
        try:
            return pq.read_table(content)
        except pa.ArrowInvalid as error:
            raise Unreachable("cut_off", f"The download of {path} is incomplete.") from error

    def _record(self, row: Row) -> Row:
        return {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> Any:
        if name in ("event", "token") and value:
            return self._record(value)
        if isinstance(value, str) and TIME.fullmatch(name):
            return datetime.fromisoformat(value)
        if isinstance(value, str) and KINDS.get(name) == "float64":
            return Decimal(value) if self._exact else float(value)
        return value

    def _columns(self, rows: Sequence[Row], columns: str) -> pd.DataFrame:
        """Make a DataFrame of JSON rows, with these columns even if it is empty."""
        names = dict.fromkeys([*columns.split(), *(rows[0] if rows else ())])
        read = {name: self._column(name, [row.get(name) for row in rows]) for name in names}
        return pd.DataFrame(read)

    def _column(self, name: str, values: Sequence[Any]) -> pd.Series:
        plain = pd.Series(values, dtype=object)
        if TIME.fullmatch(name):
            return pd.to_datetime(plain, utc=True, format="ISO8601").astype("datetime64[us, UTC]")
        kind = KINDS.get(name)
        if self._exact and kind == "float64":
            return plain.map(Decimal, na_action="ignore")
        return plain.astype(kind) if kind else plain.infer_objects()

    def _frame(self, table: pa.Table, *, index: str) -> pd.DataFrame:
        if not self._exact:
            is_exact = pa.types.is_decimal
            fields = (f.with_type(pa.float64()) if is_exact(f.type) else f for f in table.schema)
            table = table.cast(pa.schema(fields))
        frame = table.to_pandas(types_mapper=NULLABLE.get)
        for name in frame.columns:
            if KINDS.get(name) == "category":
                frame[name] = frame[name].astype("category")
            elif name in JSON:
                frame[name] = frame[name].map(json.loads, na_action="ignore")
        return frame.set_index(index)


class QueuedWork:
    """Work that was requested of the site, as of the last request; `data` is the API's answer."""

    _path: ClassVar[str]
    _name: ClassVar[str]

    def __init__(self, client: Client, data: Row) -> None:
        self._client = client
        self.data = client._record(data)

    def __repr__(self) -> str:
        words = self.data["error"] or self._words
        return f"<{self._name} {self.id} {self.data['strategy']}: {self.status}. {words}>"

    @property
    def id(self) -> int:
        return int(self.data["id"])

    @property
    def status(self) -> str:
        """queued, running, done, failed or cancelled."""
        return str(self.data["status"])

    @property
    def figures(self) -> Row:
        return dict(self.data["figures"])

    @property
    def _words(self) -> str:
        return str(self.data.get("verdict") or self.data.get("doing") or "")

    def refresh(self) -> Self:
        self.data = self._client._record(self._json())
        return self

    def wait(self) -> Self:
        """Wait until it has ended, and show its progress. Raises `Failed`."""
        shows = sys.stderr.isatty() or "ipykernel" in sys.modules
        while self.status not in ENDED:
            if shows:
                sys.stderr.write(f"\r{_progress_bar(self.data['progress'])} {self._words:<40.40}")
                sys.stderr.flush()
            time.sleep(STATUS_INTERVAL)
            self.refresh()
        if shows:
            sys.stderr.write("\r\033[K")
        if self.status != "done":
            words = self.data["error"] or f"{self._name} {self.id} was cancelled."
            raise Failed(self.status, words)
        return self

    def cancel(self) -> Self:
        self.data = self._client._record(self._json("cancel/", payload={}))
        return self

    def overfitting(self) -> Row:
        """Read how many trials of the strategy there were so far, and what is left of the Sharpe
        ratio beside them; `words` has it in words."""
        return self._client._record(self._json("overfitting/"))

    def _json(self, path: str = "", payload: Row | None = None) -> Any:
        return self._client._json(f"{self._path}{self.id}/{path}", payload)


class Backtest(QueuedWork):
    """A backtest as of the last request. `figures` count money in millionths of a dollar.

    `data` is the whole response of the API; docs/metrics.md explains the figures.
    """

    _path, _name = "backtests/", "Backtest"

    @property
    def verdict(self) -> str:
        return str(self.data["verdict"])

    @property
    def pnl(self) -> Any:
        """The profit in dollars, open positions included; None until it is done."""
        return self.data["pnl"]

    def compared(self) -> pd.DataFrame:
        """Compare all figures of the run, of its band and of the yardsticks."""
        columns = {"run": self.figures, **self.data["band"], **self.data["yardsticks"]}
        return pd.DataFrame({name: _flatten(of) for name, of in columns.items()})

    def executions(self) -> pd.DataFrame:
        """List orders, fills, refusals and settlements by time, each with its quote."""
        table = self._client._table(f"backtests/{self.id}/executions/")
        return self._client._frame(table, index="at")

    def equity(self) -> pd.DataFrame:
        """List the equity in dollars and the drawdown as a share, by time."""
        columns = self._json("equity/")["columns"]
        return pd.DataFrame(columns, index=_instants(columns.pop("t")))

    def series(self, ticker: str) -> pd.DataFrame:
        """List what the strategy drew in a market, beside bid and ask: a column for each series, a
        row wherever one of them changed."""
        answer = self._client._json(f"backtests/{self.id}/series/", ticker=ticker)
        drawn = {}
        for each in answer["results"]:
            drawn[each["name"]] = pd.Series(each["values"], _instants(each["t"]), dtype=float)
        changes = pd.DataFrame(drawn).index
        stood = {name: each.reindex(changes, method="ffill") for name, each in drawn.items()}
        return pd.DataFrame(stood, changes)


class Search(QueuedWork):
    """A search of parameters as of the last request; docs/research.md explains its figures.

    Money in `figures` is in millionths of a dollar, that of the frames in dollars.
    """

    _path, _name = "searches/", "Search"

    @property
    def _words(self) -> str:
        return f"{self.data['points']:,} points"

    @property
    def best(self) -> Row:
        """The parameters of the point that gained most, also those that did not vary."""
        place = {"ordering": "number", "limit": 1, "skip": self.figures["best"] - 1}
        [row] = self._client._json(f"{self._path}{self.id}/points/", **place)["results"]
        return {**self.data["params"], **row["params"]}

    @property
    def probability_of_overfitting(self) -> float | None:
        """The share of all ways to halve the time in which the best point of one half gained no
        more than the median point in the other; None where there is too little to tell."""
        found = self.figures.get("probability_of_overfitting")
        return None if found is None else float(found)

    def resume(self) -> Self:
        """Go on with a search that was cancelled or has failed."""
        self.data = self._client._record(self._json("resume/", payload={}))
        return self

    def points(self, *, ordering: str | None = None, limit: int | None = None) -> pd.DataFrame:
        """List the points by number, with a column for each varied parameter, `params.` before its
        name; one that could not run has an `error`.

        >>> client.read_search(3).points(ordering="-pnl", limit=5)[["params.edge", "pnl"]]
        """
        path, filters = f"{self._path}{self.id}/points/", {"ordering": ordering}
        frame = self._client._list(path, POINTS, filters, limit=limit, key="number")
        frame = frame.astype(dict.fromkeys(COUNTS, "Int64") | {"sharpe": "Float64"})
        params = {
            f"params.{name}": [each[name] for each in frame.params] for name in self.data["varied"]
        }
        return pd.concat([pd.DataFrame(params, frame.index), frame.drop(columns="params")], axis=1)

    def folds(self) -> pd.DataFrame:
        """List the folds of the walk-forward: their times and numbers of markets, the point that
        the past chose, its P&L in dollars there and in its test, and its rank in the test."""
        walk, plan = self.figures.get("walk_forward", {"folds": []}), self.data["plan"]
        rows = zip(plan.get("folds", ()), walk["folds"], strict=True)
        frame = pd.DataFrame([_fold(*each) for each in rows], columns=FOLDS.split())
        for name in ("begins", "ends"):
            frame[name] = _instants(frame[name])
        return frame

    def equity(self) -> pd.DataFrame:
        """List the joined equity of the tests in dollars, by time: `out_of_sample` by the choices
        of the folds, `in_sample` by the point that is best in hindsight."""
        walk = self.figures.get("walk_forward", {})
        lines = {
            name: [equity / MONEY for equity in walk.get(name, ())]
            for name in ("out_of_sample", "in_sample")
        }
        return pd.DataFrame(lines, index=_instants(self.data["plan"].get("t", ()) if walk else ()))


def _fold(planned: Row, chosen: Row) -> Row:
    return {
        "begins": planned["begins"],
        "ends": planned["ends"],
        "train_markets": planned["train"],
        "test_markets": planned["test"],
        "point": chosen["point"],
        "train_pnl": chosen["train"] / MONEY,
        "test_pnl": chosen["test"] / MONEY,
        "rank": chosen["rank"],
    }


def _instants(milliseconds: Iterable[int]) -> pd.DatetimeIndex:
    """Make an index of milliseconds since 1970."""
    times = pd.to_datetime(pd.Series(list(milliseconds), dtype="int64"), unit="ms", utc=True)
    return pd.DatetimeIndex(times.astype("datetime64[us, UTC]"), name="at")


def _flatten(figures: Row, under: str = "") -> Row:
    flat: Row = {}
    for name, value in figures.items():
        place = f"{under}{name}"
        flat |= _flatten(value, f"{place}.") if isinstance(value, dict) else {place: value}
    return flat


def _progress_bar(progress: float) -> str:
    done = round(progress * BAR)
    return f"[{'#' * done}{'.' * (BAR - done)}] {progress:4.0%}"


def _market_path(ticker: str, path: str = "") -> str:
    return f"markets/{quote(ticker, safe='')}/{path}"


def _plain(value: Any) -> Any:
    """Make a value what JSON can hold; numbers of Decimal are exact as texts."""
    if isinstance(value, Decimal):
        return str(value)
    if hasattr(value, "tolist"):  # of numpy and pandas
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def _query_text(name: str, value: Filter) -> str:
    if name in GIVEN_TIMES:
        return _instant(name, value).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return f"{Decimal(str(value)):f}" if isinstance(value, float | Decimal) else str(value)


def _instant(name: str, value: Any) -> datetime:
    if isinstance(value, str):
        value = (datetime if len(value) > len("2026-11-01") else date).fromisoformat(value)
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        raise ValueError(f"{name} needs a time zone, such as UTC: {value} is ambiguous.")
    return value.astimezone(UTC)


def _api_error(response: httpx.Response) -> ApiError:
    """Make the exception for an error response, which may come from a proxy."""
    kind = {400: Invalid, 404: NotFound, 429: Throttled}.get(response.status_code, ApiError)
    status = response.status_code
    error = kind(f"http_{status}", f"{response.url} returned {status} {response.reason_phrase}.")
    with suppress(ValueError, KeyError, TypeError):
        data = response.json()
        error = kind(data["code"], data["message"], data["details"])
    if status == 429 or (status == 503 and "Retry-After" in response.headers):
        seconds = response.headers.get("Retry-After", "")
        error.retry_after = float(seconds) if seconds.isdecimal() else 1.0
    return error


def _download(chunks: Iterable[bytes], name: str) -> io.BytesIO:
    """Read the chunks; on a terminal, a long download shows its progress."""
    content, began, shows_progress = io.BytesIO(), time.monotonic(), False
    for chunk in chunks:
        content.write(chunk)
        if sys.stderr.isatty() and time.monotonic() - began >= PROGRESS_DELAY:
            sys.stderr.write(f"\r{name}  {content.tell() / 1e6:,.1f} MB")
            shows_progress = True
    if shows_progress:
        sys.stderr.write("\r\033[K")
    content.seek(0)
    return content
