"""The API of Kalshi Insights as DataFrames, for notebooks and scripts.

    from kalshi_insights_client import Client

    with Client() as client:
        busiest = client.markets(status="open", ordering="-volume_24h", limit=20)
        quotes = client.snapshots(busiest.index[0], "2026-11-20", "2026-11-21")

    with Client(token="0123…") as client:
        run = client.backtest("fade-longshots", "2026-11-19", "2026-11-20", series=["KXHIGHNY"])
        print(run.verdict)

Prices are dollars on the YES scale; what is unknown is NaN, NaT or None. Times are in UTC, and
those given must say their time zone: an aware datetime, a string with an offset, or a date, which
is its midnight in UTC. The file may be copied: it needs httpx, pandas and pyarrow alone.
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
from typing import Any, Self
from urllib.parse import quote

import httpx
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq


class ApiError(Exception):
    """A refusal or a failure; `details` by parameter, where one is to blame."""

    retry_after: float | None = None  # seconds

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, message, details)
        self.code, self.message, self.details = code, message, dict(details or {})

    def __str__(self) -> str:
        return self.message


class NotFound(ApiError):
    """There is no such thing, or nothing was recorded of it."""


class Invalid(ApiError):
    """What was asked makes no sense; `details` has what is wrong by parameter."""


class Throttled(ApiError):
    """Too many requests, and `retry_after` is longer than the client's patience."""


class Unreachable(ApiError):
    """No answer, or only a part of one."""


class Failed(ApiError):
    """A backtest has failed or was cancelled; the message says why."""


When = datetime | date | str | None
Filter = When | Decimal | float | int | bool
Row = dict[str, Any]

PAGE, MOST_BUCKETS = 1_000, 10_000
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1_440}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHOWN_AFTER = 1.0  # seconds: shorter downloads show no progress
ASKED_EVERY = 0.5  # seconds, of how far a backtest is
BAR = 30  # characters
ENDED = ("done", "failed", "cancelled")

# The columns of lists, for where no row tells them.
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
    volume_24h previous_price quoted_at is_hot"""

STRATEGIES = "name version kind is_yardstick summary parameters"
BACKTESTS = """
    id status progress doing strategy strategy_version params series events tickers start end cash
    engine created_at finished_at error snapshots markets final_cash verdict pnl"""

# What a column holds, by its name; times beside. Numbers that are written as text are "float64".
WORDS = {
    "float64": """
        yes_bid yes_ask yes_bid_size yes_ask_size last_price previous_price volume volume_24h
        open_interest settlement_value floor_strike cap_strike fee_multiplier
        fee_multiplier_override price size cash final_cash pnl""",
    "category": """
        status result market_type strike_type category fee_type fee_type_override source cause
        taker_outcome_side taker_book_side kind liquidity outcome_side book_side strategy""",
    "boolean": "is_hot can_close_early mutually_exclusive known_at_assumed counted",
    "Int64": "exchange_index",
}
KINDS = {name: kind for kind, names in WORDS.items() for name in names.split()}
TIME = re.compile(r"timestamp|start|end|.+_(at|ts|time|date)")
JSON = {"raw_data", "price_ranges"}
GIVEN_TIMES = ("start", "end", "as_of", "closes_after", "closes_before", "updated_since")
NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


class Client:
    """Answers are DataFrames and dictionaries; everything else is an `ApiError`.

    Numbers are floats, or `Decimal` with `exact`. Where there were too many requests, a call
    waits as it is told to and asks again, for `patience` seconds in all.

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
            timeout=30.0,  # of a connection, and of each piece of an answer
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> Row:
        """How fresh the record is, and whether it is simulated.

        >>> client.health()["status"]
        'recording'
        """
        return self._record(self._json("health/"))

    def series(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """By ticker: series, with their fees as they are now.

        >>> client.series(category="Economics").fee_multiplier
        """
        return self._list("series/", SERIES, filters, limit=limit)

    def events(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """By ticker: events, now or `as_of` an instant.

        >>> client.events(series="KXFED", status="open").title
        """
        return self._list("events/", EVENTS, filters, limit=limit)

    def markets(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """By ticker: markets with their newest quotes, now or `as_of`; all, or the first `limit`.

        >>> client.markets(event="KXFED-26DEC", two_sided=True)[["yes_bid", "yes_ask"]]
        """
        return self._list("markets/", MARKETS, filters, limit=limit)

    def market(self, ticker: str, as_of: When = None) -> Row:
        """One market with its event, rules and price grid, now or as known then.

        >>> client.market("KXFED-26DEC-H25", "2026-11-01")["status"]
        'active'
        """
        return self._record(self._json(_under(ticker), as_of=as_of))

    def latest(self, ticker: str) -> Row:
        """The newest snapshot.

        >>> client.latest("KXFED-26DEC-H25")["yes_ask"]
        0.45
        """
        return self._record(self._json(_under(ticker, "latest/")))

    def snapshots(
        self, ticker: str, start: When = None, end: When = None, *, source: str | None = None
    ) -> pd.DataFrame:
        """By timestamp: what was observed from `start` on and before `end`, oldest first.

        Rows are written on change, so a quote holds until the next, for as long as the market was
        observed: see `coverage`. `source` is POLL, WEBSOCKET or BACKFILL.

        >>> client.snapshots("KXFED-26DEC-H25", "2026-11-20", "2026-11-21").yes_bid
        """
        table = self._table(_under(ticker, "snapshots/"), start=start, end=end, source=source)
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
        """By start: snapshots summed up in buckets of 1m, 5m, 15m, 1h, 4h or 1d, oldest first.

        A bucket without a snapshot is absent. Without `start`, of the day before `end` or now.
        `source` as for `snapshots`.

        >>> client.candlesticks("KXFED-26DEC-H25", "2026-11-01", interval="1h").yes_bid_close
        """
        pieces = _pieces(start, end, interval)
        path, query = _under(ticker, "candlesticks/"), {"interval": interval, "source": source}
        tables = [self._table(path, start=since, end=until, **query) for since, until in pieces]
        return self._frame(pa.concat_tables(tables), index="start")

    def trades(
        self, ticker: str, start: When = None, end: When = None, *, block: bool | None = None
    ) -> pd.DataFrame:
        """By created_time: public trades, oldest first; blocks, made outside the book, or others.

        >>> client.trades("KXFED-26DEC-H25", "2026-11-20", block=False)["count"].sum()
        """
        table = self._table(_under(ticker, "trades/"), start=start, end=end, block=block)
        return self._frame(table, index="created_time")

    def revisions(self, ticker: str, start: When = None, end: When = None) -> pd.DataFrame:
        """By known_at: what was known of the market from then on, oldest first.

        >>> client.revisions("KXFED-26DEC-H25")[["status", "close_time"]]
        """
        table = self._table(_under(ticker, "revisions/"), start=start, end=end)
        return self._frame(table, index="known_at")

    def coverage(self, ticker: str, start: When = None, end: When = None) -> Row:
        """How well the market was observed, in at most 31 days; without `start`, in one.

        Frames are `gaps` (start, end, cause, detail, counted), `quiet` and `expected`.

        >>> client.coverage("KXFED-26DEC-H25", "2026-11-20", "2026-11-21")["share"]
        0.9987
        """
        told = self._record(self._json(_under(ticker, "coverage/"), start=start, end=end))
        return told | {
            "fresh": timedelta(seconds=told["fresh"]),
            "gaps": self._columns(told["gaps"], "start end cause detail counted"),
            "quiet": self._columns(told["quiet"], "start end"),
            "expected": self._columns(told["expected"], "start end fresh_for"),
        }

    def orderbook(self, ticker: str, as_of: When = None, *, depth: int | None = None) -> Row:
        """The newest whole book, or that of then: the frames `bids` and `asks`, the best first.

        >>> client.orderbook("KXFED-26DEC-H25")["bids"].head(1)
        """
        told = self._record(self._json(_under(ticker, "orderbook/"), as_of=as_of, depth=depth))
        return told | {side: self._columns(told[side], "price size") for side in ("bids", "asks")}

    def strategies(self) -> pd.DataFrame:
        """By name: what can be run; `parameters` tells what each can be told.

        >>> client.strategies().loc["fade-longshots"].parameters[0]["help"]
        'YES at this midpoint or below is a longshot.'
        """
        return self._columns(self._json("strategies/")["results"], STRATEGIES).set_index("name")

    def backtests(self, *, limit: int | None = None, **filters: Filter) -> pd.DataFrame:
        """By id, the newest first: runs, all or those of a `status` or `strategy`.

        >>> client.backtests(status="done", limit=10)[["strategy", "pnl"]]
        """
        return self._list("backtests/", BACKTESTS, filters, limit=limit, key="id")

    def backtest(self, strategy: str, start: When, end: When, **wish: Any) -> "Backtest":
        """Run a strategy on markets of `series`, `events` or `tickers`, and wait for its end.

        Needs a token. `params` are the strategy's own; `cash`, `engine`, `sources`,
        `execution` and `check_lookahead` are as the API has them. Without `wait` it comes back
        at once. Raises `Failed`, and `Invalid` naming what makes no sense.

        >>> run = client.backtest("fade-longshots", "2026-11-19", "2026-11-20",
        ...     series=["KXHIGHNY"], params={"ceiling": 0.12}, cash=5_000)
        >>> run.verdict, run.executions(), run.equity()
        """
        wait = wish.pop("wait", True)
        wish = {name: str(x) if isinstance(x, Decimal) else x for name, x in wish.items()}
        times = {"start": _word("start", start), "end": _word("end", end)}
        told = self._json("backtests/", wish={"strategy": strategy, **times, **wish})
        run = Backtest(self, told)
        return run.wait() if wait else run

    def run(self, id: int) -> "Backtest":
        """A backtest of before, by its number.

        >>> client.run(7).figures["money"]["pnl"]
        """
        return Backtest(self, self._json(f"backtests/{int(id)}/"))

    @contextmanager
    def _answer(
        self, path: str, query: Mapping[str, Filter], wish: Row | None = None
    ) -> Iterator[httpx.Response]:
        """Of a question, or of a `wish`, which is posted."""
        words = {name: _word(name, value) for name, value in query.items() if value is not None}
        method = "GET" if wish is None else "POST"
        deadline = time.monotonic() + self._patience
        try:
            while True:
                with self._http.stream(method, path, params=words, json=wish) as response:
                    if response.is_success:
                        yield response
                        return
                    response.read()
                fault = _refusal(response)
                if fault.retry_after is None or time.monotonic() + fault.retry_after > deadline:
                    raise fault
                time.sleep(fault.retry_after)
        except httpx.RequestError as lost:
            raise Unreachable("unreachable", f"{self._http.base_url}: {lost}") from lost

    def _json(self, path: str, wish: Row | None = None, **query: Filter) -> Any:
        with self._answer(path, query, wish) as response:
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
        rows: dict[Any, Row] = {}  # what slips to a later page comes once
        while True:
            answer = self._json(path, **query)
            rows |= {row[key]: row for row in answer["results"]}
            if answer["next"] is None or (limit is not None and len(rows) >= limit):
                return self._columns(list(rows.values())[:limit], columns).set_index(key)
            # The site may know itself by another address: only what `next` asks for counts.
            query = dict(httpx.URL(answer["next"]).params)

    def _table(self, path: str, **query: Filter) -> pa.Table:
        """A whole series. Parquet ends with its index: half a file is never half a table."""
        with self._answer(path, {**query, "format": "parquet"}) as response:
            content = _downloaded(response.iter_bytes(), path)
        try:
            return pq.read_table(content)
        except pa.ArrowInvalid as fault:
            raise Unreachable("cut_off", f"The download of {path} is not whole.") from fault

    def _record(self, row: Row) -> Row:
        return {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> Any:
        if name == "event":
            return self._record(value)
        if isinstance(value, str) and TIME.fullmatch(name):
            return datetime.fromisoformat(value)
        if isinstance(value, str) and KINDS.get(name) == "float64":
            return Decimal(value) if self._exact else float(value)
        return value

    def _columns(self, rows: Sequence[Row], columns: str) -> pd.DataFrame:
        """Rows of JSON; without any, these columns all the same."""
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


class Backtest:
    """A run, as it was told last. `figures` count money in millionths of a dollar.

    `told` is all that the API says of it; docs/metrics.md explains the figures.
    """

    def __init__(self, client: Client, told: Row) -> None:
        self._client = client
        self.told = client._record(told)

    def __repr__(self) -> str:
        words = self.verdict or self.told["error"] or self.told["doing"]
        return f"<Backtest {self.id} {self.told['strategy']}: {self.status}. {words}>"

    @property
    def id(self) -> int:
        return int(self.told["id"])

    @property
    def status(self) -> str:
        """queued, running, done, failed or cancelled."""
        return str(self.told["status"])

    @property
    def verdict(self) -> str:
        return str(self.told["verdict"])

    @property
    def pnl(self) -> Any:
        """Dollars gained, open positions counted; None until it is done."""
        return self.told["pnl"]

    @property
    def figures(self) -> Row:
        return dict(self.told["figures"])

    def compared(self) -> pd.DataFrame:
        """Every figure, of the run, of its band and of the yardsticks."""
        columns = {"run": self.figures, **self.told["band"], **self.told["yardsticks"]}
        return pd.DataFrame({name: _flat(of) for name, of in columns.items()})

    def refresh(self) -> Self:
        self.told = self._client._record(self._client._json(f"backtests/{self.id}/"))
        return self

    def wait(self) -> Self:
        """Until it has ended, showing how far it is. Raises `Failed`."""
        shows = sys.stderr.isatty() or "ipykernel" in sys.modules
        while self.status not in ENDED:
            if shows:
                sys.stderr.write(f"\r{_bar(self.told['progress'])} {self.told['doing']:<40.40}")
                sys.stderr.flush()
            time.sleep(ASKED_EVERY)
            self.refresh()
        if shows:
            sys.stderr.write("\r\033[K")
        if self.status != "done":
            raise Failed(self.status, self.told["error"] or f"Backtest {self.id} was cancelled.")
        return self

    def cancel(self) -> Self:
        self.told = self._client._record(self._client._json(f"backtests/{self.id}/cancel/", {}))
        return self

    def executions(self) -> pd.DataFrame:
        """By time: every order, fill, refusal and settlement, with the quote it was made on."""
        table = self._client._table(f"backtests/{self.id}/executions/")
        return self._client._frame(table, index="at")

    def equity(self) -> pd.DataFrame:
        """By time: equity in dollars, and how far it lay below its highest, as a share."""
        columns = self._client._json(f"backtests/{self.id}/equity/")["columns"]
        times = pd.to_datetime(pd.Series(columns.pop("t")), unit="ms", utc=True)
        index = pd.DatetimeIndex(times.astype("datetime64[us, UTC]"), name="at")
        return pd.DataFrame(columns, index=index)


def _flat(figures: Row, under: str = "") -> Row:
    found: Row = {}
    for name, value in figures.items():
        place = f"{under}{name}"
        found |= _flat(value, f"{place}.") if isinstance(value, dict) else {place: value}
    return found


def _bar(progress: float) -> str:
    done = round(progress * BAR)
    return f"[{'#' * done}{'.' * (BAR - done)}] {progress:4.0%}"


def _under(ticker: str, path: str = "") -> str:
    return f"markets/{quote(ticker, safe='')}/{path}"


def _word(name: str, value: Filter) -> str:
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
        raise ValueError(f"{name} needs a time zone, such as UTC: {value} could be anywhere.")
    return value.astimezone(UTC)


def _pieces(start: When, end: When, interval: str) -> Iterator[tuple[When, When]]:
    """A range in parts of as many whole buckets as the API gives at once."""
    if start is None or interval not in MINUTES:
        yield start, end
        return
    bucket = timedelta(minutes=MINUTES[interval])
    since = _instant("start", start)
    last = datetime.now(UTC) if end is None else _instant("end", end)
    until = since - (since - EPOCH) % bucket + MOST_BUCKETS * bucket
    while until < last:
        yield since, until
        since, until = until, until + MOST_BUCKETS * bucket
    yield since, last


def _refusal(response: httpx.Response) -> ApiError:
    """In the API's own words, or of what stands between here and there."""
    kind = {400: Invalid, 404: NotFound, 429: Throttled}.get(response.status_code, ApiError)
    status = response.status_code
    fault = kind(f"http_{status}", f"{response.url} answers {status} {response.reason_phrase}.")
    with suppress(ValueError, KeyError, TypeError):
        told = response.json()
        fault = kind(told["code"], told["message"], told["details"])
    if status == 429:
        seconds = response.headers.get("Retry-After", "")
        fault.retry_after = float(seconds) if seconds.isdecimal() else 1.0
    return fault


def _downloaded(chunks: Iterable[bytes], name: str) -> io.BytesIO:
    """What came; on a terminal a long download tells how far it is."""
    content, began, shown = io.BytesIO(), time.monotonic(), False
    for chunk in chunks:
        content.write(chunk)
        if sys.stderr.isatty() and time.monotonic() - began >= SHOWN_AFTER:
            sys.stderr.write(f"\r{name}  {content.tell() / 1e6:,.1f} MB")
            shown = True
    if shown:
        sys.stderr.write("\r\033[K")
    content.seek(0)
    return content
