"""The only opener of sockets to the exchange."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self, TypeVar, Unpack, cast
from urllib.parse import quote

import httpx
import msgspec
import redis
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from markets.kalshi import payloads, replies
from markets.kalshi.params import (
    EventFilters,
    HistoricalFilters,
    MarketFilters,
    Paging,
    Span,
    TradeFilters,
)
from markets.kalshi.payloads import OrderBook
from markets.kalshi.replies import AccountLimits, Cutoff, ExchangeStatus, Schedule

if TYPE_CHECKING:
    from kalshi_insights.token_bucket import TokenBucket
    from markets.kalshi.signing import Signer


class KalshiError(Exception):
    """Anything that can go wrong between us and the exchange."""


class ConfigurationError(KalshiError):
    """The operator must put something right: the address, the key, the permissions."""


class TemporaryError(KalshiError):
    """It will pass: no connection, a timeout, a cut reply, a fault of the exchange's own."""


class Throttled(TemporaryError):
    """The exchange counted too many requests."""


class OutOfTokens(TemporaryError):
    """Our own allowance, of tokens or of time, is used up. Nothing was asked."""


class Refused(KalshiError):
    """The exchange understood and said no; `code` is its word for why, "" where it has none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"refused with {status} {code or 'without a code'}: {message}")
        self.status = status
        self.code = code
        self.message = message


class NotFound(Refused):
    """There is no such thing, or not yet, or it has moved to the historical tier."""


class Unintelligible(KalshiError):
    """The reply is not what the contract says: no JSON, other keys, a cursor that stands still."""


USER_AGENT = "kalshi-insights/0.1.0"
COST = 10
ATTEMPTS = 3
TIMEOUT = httpx.Timeout(5.0)
TOTAL_TIMEOUT = 10.0
# One reply of some 19 MB.
SERIES_TIMEOUT = 60.0
SHOWN = 200

T = TypeVar("T")
Query = dict[str, str | int | bool | list[str]]


@dataclass(frozen=True, slots=True)
class Page:
    """One reply: items unread, the next page's cursor ("" at the end), when its last byte came."""

    items: list[msgspec.Raw]
    cursor: str
    received_at: datetime


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, TemporaryError) and not isinstance(error, OutOfTokens)


class KalshiClient:
    """The public REST contract, read only; threads may share one.

    `requests`, `bytes_received` (as sent over the wire) and `throttled` only ever grow.
    `deadline`, on the clock of `time.monotonic()`, is when to stop beginning attempts and
    waiting for tokens. Every method raises subclasses of `KalshiError` and nothing else.
    """

    def __init__(
        self,
        base_url: str,
        *,
        signer: "Signer | None" = None,
        bucket: "TokenBucket | None" = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.requests = 0
        self.bytes_received = 0
        self.throttled = 0
        self.deadline: float | None = None
        self.total_timeout = TOTAL_TIMEOUT
        self.clock_skew: timedelta | None = None
        self._base_url = _checked(base_url)
        self._signer = signer
        self._bucket = bucket
        self._sleep = sleep
        self._counting = threading.Lock()
        self._retrying = Retrying(
            stop=self._hopeless,
            wait=wait_exponential_jitter(multiplier=0.2, max=2, jitter=0.2),
            retry=retry_if_exception(_worth_another_try),
            sleep=sleep,
            reraise=True,
        )
        self._http = httpx.Client(
            transport=transport,
            timeout=TIMEOUT,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                # Texts come translated otherwise, and a translation looks like a change.
                "Accept-Language": "en",
                "User-Agent": USER_AGENT,
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    @property
    def key_type(self) -> str:
        """RSA, Ed25519, or "" where requests go unsigned."""
        return self._signer.key_type if self._signer else ""

    # --- what can be asked ----------------------------------------------------------------------

    def exchange_status(self) -> ExchangeStatus:
        return self._read(replies.exchange_status, "/exchange/status", {})

    def exchange_schedule(self) -> Schedule:
        return self._read(replies.exchange_schedule, "/exchange/schedule", {})

    def historical_cutoff(self) -> Cutoff:
        """Where the live tier begins; it moves on by itself."""
        return self._read(replies.cutoff, "/historical/cutoff", {})

    def account_limits(self) -> AccountLimits:
        """What the key may spend. Needs a key."""
        return self._read(replies.account_limits, "/account/limits", {})

    def series_list(self) -> Page:
        """Every series there is: the endpoint knows no pages."""
        return self._page("series", "/series", {}, total_timeout=SERIES_TIMEOUT)

    def series(self, ticker: str) -> Page:
        """A page of one item."""
        return self._single("series", f"/series/{_escaped(ticker)}", {})

    def fee_changes(self, *, series_ticker: str = "", show_historical: bool = True) -> Page:
        asked: Query = {"series_ticker": series_ticker, "show_historical": show_historical}
        return self._page("series_fee_change_arr", "/series/fee_changes", asked)

    def event_fee_changes(self, **paging: Unpack[Paging]) -> Page:
        return self._page("event_fee_changes", "/events/fee_changes", _query(paging, limit=1000))

    def event(self, ticker: str) -> Page:
        """A page of one item, with those of its markets that the live tier still has."""
        asked: Query = {"with_nested_markets": True}
        return self._single("event", f"/events/{_escaped(ticker)}", asked)

    def events(self, **filters: Unpack[EventFilters]) -> Page:
        """Events, each with its markets unless told otherwise; never combos."""
        asked = _query(filters, with_nested_markets=True, limit=200)
        return self._page("events", "/events", asked)

    def multivariate_events(self, **paging: Unpack[Paging]) -> Page:
        """Combos, each with its markets."""
        asked = _query(paging, with_nested_markets=True, limit=200)
        return self._page("events", "/events/multivariate", asked)

    def markets(self, **filters: Unpack[MarketFilters]) -> Page:
        """Unknown tickers are left out of the reply without a word."""
        return self._page("markets", "/markets", _query(filters, limit=1000))

    def historical_markets(self, **filters: Unpack[HistoricalFilters]) -> Page:
        """Markets settled before the exchange's cutoff."""
        return self._page("markets", "/historical/markets", _query(filters, limit=1000))

    def market(self, ticker: str) -> Page:
        """A page of one item; `NotFound` also for a market created a moment ago."""
        return self._single("market", f"/markets/{_escaped(ticker)}", {})

    def order_book(self, ticker: str, *, depth: int = 0) -> OrderBook:
        """`depth` levels a side; 0 asks for all."""
        path = f"/markets/{_escaped(ticker)}/orderbook"
        return self._read(payloads.order_book, path, {"depth": depth})

    def order_books(self, tickers: Sequence[str]) -> dict[str, OrderBook]:
        """Whole books of up to a hundred markets. The exchange may want a key for this."""
        return self._read(payloads.order_books, "/markets/orderbooks", {"tickers": list(tickers)})

    def trades(self, **filters: Unpack[TradeFilters]) -> Page:
        """Trades of one market or of all, newest first."""
        return self._page("trades", "/markets/trades", _query(filters, limit=1000))

    def historical_trades(self, **filters: Unpack[TradeFilters]) -> Page:
        """Trades from before the exchange's cutoff, newest first."""
        return self._page("trades", "/historical/trades", _query(filters, limit=1000))

    def candlesticks(self, series_ticker: str, ticker: str, **span: Unpack[Span]) -> Page:
        """Periods of the live tier that end within the span."""
        path = f"/series/{_escaped(series_ticker)}/markets/{_escaped(ticker)}/candlesticks"
        return self._page("candlesticks", path, _query(span))

    def batch_candlesticks(
        self, tickers: Sequence[str], **span: Unpack[Span]
    ) -> dict[str, list[msgspec.Raw]]:
        """Up to a hundred markets and ten thousand periods of the live tier, by ticker, unread."""
        asked = _query({"market_tickers": tickers, **span})
        return self._read(payloads.batch_candlesticks, "/markets/candlesticks", asked)

    def historical_candlesticks(self, ticker: str, **span: Unpack[Span]) -> Page:
        """Periods of a market that was settled before the exchange's cutoff."""
        path = f"/historical/markets/{_escaped(ticker)}/candlesticks"
        return self._page("candlesticks", path, _query(span))

    # --- how it is asked ------------------------------------------------------------------------

    def _read(self, read: Callable[[bytes], T], path: str, asked: Query) -> T:
        body, _ = self._get(path, asked)
        return _understood(read, body)

    def _page(
        self, key: str, path: str, asked: Query, *, total_timeout: float | None = None
    ) -> Page:
        body, received_at = self._get(path, asked, total_timeout=total_timeout)
        found = _understood(lambda body: replies.envelope(body, key), body)
        if found.cursor and found.cursor == asked.get("cursor"):
            raise Unintelligible(f"{path}: the cursor does not advance")
        return Page(found.items, found.cursor, received_at)

    def _single(self, key: str, path: str, asked: Query) -> Page:
        body, received_at = self._get(path, asked)
        return Page([_understood(lambda body: replies.single(body, key), body)], "", received_at)

    def _get(
        self, path: str, asked: Query, *, total_timeout: float | None = None
    ) -> tuple[bytes, datetime]:
        request = self._http.build_request(
            "GET", f"{self._base_url}{path}", params={k: v for k, v in asked.items() if v}
        )
        return self._retrying(self._attempt, request, total_timeout or self.total_timeout)

    def _hopeless(self, state: RetryCallState) -> bool:
        return stop_after_attempt(ATTEMPTS)(state) or self._time_left() <= state.upcoming_sleep

    def _time_left(self) -> float:
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def _attempt(self, request: httpx.Request, total_timeout: float) -> tuple[bytes, datetime]:
        self._pay()
        if self._signer:
            path = request.url.raw_path.decode().partition("?")[0]
            request.headers.update(self._signer.headers(request.method, path))
        until = time.monotonic() + total_timeout
        self._count(requests=1)
        with _transport_errors(request):
            response = self._http.send(request, stream=True)
            try:
                body = b"".join(_chunks(response, until=until))
            finally:
                self._count(bytes_received=response.num_bytes_downloaded)
                response.close()
        received_at = datetime.now(UTC)
        self._note_clock(response, received_at)
        self._accept(response, body)
        return body, received_at

    def _count(self, *, requests: int = 0, bytes_received: int = 0, throttled: int = 0) -> None:
        with self._counting:
            self.requests += requests
            self.bytes_received += bytes_received
            self.throttled += throttled

    def _pay(self) -> None:
        """Wait for tokens where they come in time."""
        patience = self._time_left()
        if patience <= 0:
            raise OutOfTokens("the time for this run is over")
        if self._bucket is None:
            return
        with _redis_errors():
            wait = self._bucket.take(COST, patience=min(patience, 1e9))
        if wait > patience:
            raise OutOfTokens(f"tokens come in {wait:.1f} s, after this run's time is over")
        if wait:
            self._sleep(wait)

    def _accept(self, response: httpx.Response, body: bytes) -> None:
        """Return for a reply that answers the question; raise what any other one means."""
        status = response.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            self._count(throttled=1)
            if self._bucket:
                with _redis_errors():
                    self._bucket.drain()
            raise Throttled("the exchange counted too many requests (429)")
        raise _refusal(response, body)

    def _note_clock(self, response: httpx.Response, received_at: datetime) -> None:
        try:
            theirs = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return
        if theirs.tzinfo:
            self.clock_skew = received_at - theirs


def pages(fetch: Callable[[str], Page]) -> Iterator[Page]:
    """Follow cursors to the end; raises `Unintelligible` where one comes a second time."""
    seen = {""}
    cursor = ""
    while True:
        page = fetch(cursor)
        yield page
        cursor = page.cursor
        if not cursor:
            return
        if cursor in seen:
            raise Unintelligible("a cursor came a second time")
        seen.add(cursor)


def ticker_batches(
    tickers: Iterable[str], *, max_url: int = 8000, reserve: int = 300
) -> Iterator[list[str]]:
    """Split tickers so that each batch fits into one address, less what else stands in it."""
    batch: list[str] = []
    room = max_url - reserve
    for ticker in tickers:
        length = len(_escaped(ticker)) + len("%2C")
        if batch and length > room:
            yield batch
            batch, room = [], max_url - reserve
        batch.append(ticker)
        room -= length
    if batch:
        yield batch


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ConfigurationError(f"{base_url!r} is no address") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{base_url!r} is no http(s) address")
    return base_url.rstrip("/")


def _query(filters: Mapping[str, object], **defaults: int) -> Query:
    asked: Query = dict(defaults)
    for name, value in filters.items():
        asked[name] = value if isinstance(value, str | int) else ",".join(cast(list[str], value))
    return asked


def _escaped(ticker: str) -> str:
    return quote(ticker, safe="")


def _chunks(response: httpx.Response, *, until: float) -> Iterator[bytes]:
    # httpx bounds the wait for each piece, never the whole.
    for chunk in response.iter_bytes():
        yield chunk
        if time.monotonic() > until:
            raise httpx.ReadTimeout("the reply took too long altogether")


@contextmanager
def _transport_errors(request: httpx.Request) -> Iterator[None]:
    where = f"{request.url.host}{request.url.path}"
    try:
        yield
    except httpx.TimeoutException as fault:
        raise TemporaryError(f"{where}: timed out ({type(fault).__name__})") from None
    except httpx.LocalProtocolError:
        raise ConfigurationError(f"{where}: the request cannot be put in words") from None
    except (httpx.TransportError, httpx.DecodingError) as fault:
        if "CERTIFICATE_VERIFY_FAILED" in str(fault):
            raise ConfigurationError(f"{where}: its certificate cannot be trusted") from None
        raise TemporaryError(f"{where}: {fault or type(fault).__name__}") from None


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as fault:
        raise TemporaryError(f"the token bucket cannot be asked: {type(fault).__name__}") from None


def _refusal(response: httpx.Response, body: bytes) -> KalshiError:
    # A database takes no NUL, and this ends in the ledger.
    code, message = (text[:SHOWN].replace("\0", "") for text in replies.error(body))
    status = response.status_code
    where = response.request.url.path
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return ConfigurationError(f"{where}: not let in ({status} {code} {message})".rstrip())
    if status == httpx.codes.NOT_FOUND:
        return NotFound(status, code, message or where)
    if 400 <= status < 500:
        return Refused(status, code, message or where)
    if 300 <= status < 400:
        return ConfigurationError(f"{where}: the address has moved ({status})")
    return TemporaryError(f"{where}: the exchange failed ({status} {code} {message})".rstrip())


def _understood(read: Callable[[bytes], T], body: bytes) -> T:
    try:
        return read(body)
    except msgspec.MsgspecError as fault:
        raise Unintelligible(str(fault)) from None
