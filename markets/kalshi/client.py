"""The HTTP client of the exchange, which alone opens connections to it."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    wait_exponential_jitter,
)

from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi import candles, honoured, order_books, replies, splitting
from markets.kalshi.errors import (
    ConfigurationError,
    KalshiError,
    NoConnection,
    OutOfTokens,
    RateLimited,
    Refused,
    ServerError,
    TemporaryError,
    TimedOut,
    Unintelligible,
    UnknownResource,
)
from markets.kalshi.order_books import OrderBook, RefusedBook
from markets.kalshi.params import (
    CandlestickFilters,
    ComboFilters,
    EventFilters,
    HistoricalMarketFilters,
    MarketFilters,
    Pagination,
    TradeFilters,
)
from markets.kalshi.reach import NO_ANSWER, REFUSED, denied, failed_connection, no_answer
from markets.kalshi.replies import (
    AccountLimits,
    ExchangeSchedule,
    ExchangeStatus,
    HistoricalCutoff,
)
from markets.kalshi.unpacking import MAX_ERROR, MAX_REPLY, unpacked

if TYPE_CHECKING:
    from markets.kalshi.signing import Signer

USER_AGENT = "kalshi-insights/0.1.0"
TOKENS_PER_REQUEST = 10
MAX_ATTEMPTS = 3
CONNECT_SECONDS = 3.0
TIMEOUT = httpx.Timeout(5.0, connect=CONNECT_SECONDS)
TOTAL_TIMEOUT = 10.0
# The list of all series is one reply of about 19 MB.
SERIES_TIMEOUT = 60.0
ERROR_TEXT_LENGTH = 200
NO_JSON = msgspec.DecodeError("unreadable: no valid JSON")

T = TypeVar("T")
Query = dict[str, str | int | bool | list[str]]


@dataclass(frozen=True, slots=True)
class Page:
    """One reply with its raw items.

    `cursor` leads to the next page and is "" at the end; `received_at` is the instant when the
    last byte arrived.
    """

    items: list[msgspec.Raw]
    cursor: str
    received_at: datetime


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, TemporaryError) and not isinstance(error, OutOfTokens)


class Attempts(threading.local):
    """The most attempts that a thread makes at a request."""

    most = MAX_ATTEMPTS


class KalshiClient:
    """Read-only client of the public REST API, which threads may share.

    The counters `requests`, `bytes_received` (compressed, as sent) and `throttled` never decrease.
    After `deadline`, on the clock of `time.monotonic()`, no attempt is begun and no token awaited,
    unless `tokens_until` is later: an attempt that finds too few tokens awaits them until then.
    Every method raises subclasses of `KalshiError` and nothing else.
    """

    def __init__(
        self,
        base_url: str,
        *,
        signer: "Signer | None" = None,
        bucket: TokenBucket | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.requests = 0
        self.bytes_received = 0
        self.throttled = 0
        self.deadline: float | None = None
        self.tokens_until: float | None = None
        self._attempts = Attempts()
        self.total_timeout = TOTAL_TIMEOUT
        self.clock_skew: timedelta | None = None
        self._base_url = _valid_base_url(base_url)
        self._signer = signer
        self._bucket = bucket
        self._sleep = sleep
        self._counters_lock = threading.Lock()
        self._retrying = Retrying(
            stop=self._should_stop,
            wait=wait_exponential_jitter(multiplier=0.2, max=2, jitter=0.2),
            retry=retry_if_exception(_is_retryable),
            sleep=sleep,
            reraise=True,
        )
        self._http = httpx.Client(
            transport=transport,
            timeout=TIMEOUT,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                # The exchange may send translated texts otherwise, and a translation would look
                # like a changed definition.
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
        """RSA, Ed25519, or "" when requests are not signed."""
        return self._signer.key_type if self._signer else ""

    @contextmanager
    def without_retries(self) -> Iterator[None]:
        """Make one attempt only at each request of this block; other threads go on as they do."""
        before = self._attempts.most
        self._attempts.most = 1
        try:
            yield
        finally:
            self._attempts.most = before

    # --- endpoints ------------------------------------------------------------------------------

    def exchange_status(self) -> ExchangeStatus:
        return self._read(replies.exchange_status, "/exchange/status", {})

    def exchange_schedule(self) -> ExchangeSchedule:
        return self._read(replies.exchange_schedule, "/exchange/schedule", {})

    def historical_cutoff(self) -> HistoricalCutoff:
        """Return the instants where the live tier begins; they advance over time."""
        return self._read(replies.historical_cutoff, "/historical/cutoff", {})

    def account_limits(self) -> AccountLimits:
        """Return the rate limits of the API key; the client must have one."""
        return self._read(replies.account_limits, "/account/limits", {})

    def series_list(self) -> Page:
        """Return all series at once: the endpoint is not paginated."""
        return self._page("series", "/series", {}, total_timeout=SERIES_TIMEOUT)

    def series(self, ticker: str) -> Page:
        """Return a page of one item."""
        return self._single("series", f"/series/{_url_quoted(ticker)}", {})

    def fee_changes(self, *, series_ticker: str = "", show_historical: bool = True) -> Page:
        params: Query = {"series_ticker": series_ticker, "show_historical": show_historical}
        return self._page("series_fee_change_arr", "/series/fee_changes", params)

    def event_fee_changes(self, **pagination: Unpack[Pagination]) -> Page:
        params = _query(pagination, limit=1000)
        return self._page("event_fee_changes", "/events/fee_changes", params)

    def event(self, ticker: str) -> Page:
        """Return a page of one item, with its markets as far as the live tier still has them."""
        params: Query = {"with_nested_markets": True}
        return self._single("event", f"/events/{_url_quoted(ticker)}", params)

    def events(self, **filters: Unpack[EventFilters]) -> Page:
        """Return events without combos, by default each with its markets."""
        params = _query(filters, with_nested_markets=True, limit=200)
        return _checked(self._page("events", "/events", params), "/events", filters)

    def multivariate_events(self, **filters: Unpack[ComboFilters]) -> Page:
        """Return combos, by default each with its markets."""
        params = _query(filters, with_nested_markets=True, limit=200)
        return self._page("events", "/events/multivariate", params)

    def markets(self, **filters: Unpack[MarketFilters]) -> Page:
        """Return markets; the exchange silently leaves out tickers that it does not know."""
        page = self._page("markets", "/markets", _query(filters, limit=1000))
        return _checked(page, "/markets", filters)

    def historical_markets(self, **filters: Unpack[HistoricalMarketFilters]) -> Page:
        """Return markets that were settled before the historical cutoff."""
        page = self._page("markets", "/historical/markets", _query(filters, limit=1000))
        return _checked(page, "/historical/markets", filters)

    def order_book(self, ticker: str, *, depth: int = 0) -> OrderBook:
        """Return `depth` levels of each side, or all of them for 0."""
        path = f"/markets/{_url_quoted(ticker)}/orderbook"
        return self._read(order_books.order_book, path, {"depth": depth})

    def order_books(self, tickers: Sequence[str]) -> tuple[dict[str, OrderBook], list[RefusedBook]]:
        """Return the full books of up to 100 markets by ticker, and those that are unreadable.

        The exchange may require a key for this.
        """
        path = "/markets/orderbooks"
        body, _ = self._get(path, {"tickers": list(tickers)})
        (books, refused), faulty = _parse_list(order_books.order_books, body, key="orderbooks")
        honoured.check_names(path, books, tickers)
        return books, [*refused, *(RefusedBook(raw, NO_JSON) for raw in faulty)]

    def trades(self, **filters: Unpack[TradeFilters]) -> Page:
        """Return trades of one market or of all, newest first."""
        page = self._page("trades", "/markets/trades", _query(filters, limit=1000))
        return _checked(page, "/markets/trades", filters)

    def historical_trades(self, **filters: Unpack[TradeFilters]) -> Page:
        """Return trades from before the historical cutoff, newest first."""
        page = self._page("trades", "/historical/trades", _query(filters, limit=1000))
        return _checked(page, "/historical/trades", filters)

    def candlesticks(
        self, series_ticker: str, ticker: str, **filters: Unpack[CandlestickFilters]
    ) -> Page:
        """Return the live tier's candlesticks of a market that end within the time asked for."""
        path = f"/series/{_url_quoted(series_ticker)}/markets/{_url_quoted(ticker)}/candlesticks"
        return self._page("candlesticks", path, _query(filters))

    def batch_candlesticks(
        self, tickers: Sequence[str], **filters: Unpack[CandlestickFilters]
    ) -> dict[str, Sequence[msgspec.Raw]]:
        """Return the live tier's raw candlesticks by ticker.

        One request may ask for up to 100 markets and 10,000 candlesticks.
        """
        params = _query({"market_tickers": tickers, **filters})
        read = candles.batch_candlesticks
        return self._read(read, "/markets/candlesticks", params, key="markets")

    def historical_candlesticks(self, ticker: str, **filters: Unpack[CandlestickFilters]) -> Page:
        """Return candlesticks of a market that was settled before the historical cutoff."""
        path = f"/historical/markets/{_url_quoted(ticker)}/candlesticks"
        return self._page("candlesticks", path, _query(filters))

    # --- requests -------------------------------------------------------------------------------

    def _read(self, read: Callable[[bytes], T], path: str, params: Query, *, key: str = "") -> T:
        """Fetch and parse a reply, leaving out faulty items of the list under `key`."""
        body, _ = self._get(path, params)
        return _parse_list(read, body, key=key)[0] if key else _parse(read, body)

    def _page(
        self, key: str, path: str, params: Query, *, total_timeout: float | None = None
    ) -> Page:
        body, received_at = self._get(path, params, total_timeout=total_timeout)
        envelope, faulty = _parse_list(lambda body: replies.envelope(body, key), body, key=key)
        if envelope.cursor and envelope.cursor == params.get("cursor"):
            raise Unintelligible(f"{path}: the cursor does not advance")
        return Page([*envelope.items, *faulty], envelope.cursor, received_at)

    def _single(self, key: str, path: str, params: Query) -> Page:
        body, received_at = self._get(path, params)
        return Page([_parse_single(body, key)], "", received_at)

    def _get(
        self, path: str, params: Query, *, total_timeout: float | None = None
    ) -> tuple[bytes, datetime]:
        request = self._http.build_request(
            "GET", f"{self._base_url}{path}", params={k: v for k, v in params.items() if v}
        )
        return self._retrying(self._attempt, request, total_timeout or self.total_timeout)

    def _should_stop(self, state: RetryCallState) -> bool:
        is_last = state.attempt_number >= self._attempts.most
        return is_last or self._time_left() <= state.upcoming_sleep

    def _time_left(self) -> float:
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def _attempt(self, request: httpx.Request, total_timeout: float) -> tuple[bytes, datetime]:
        self._wait_for_tokens()
        if self._signer:
            path = request.url.raw_path.decode().partition("?")[0]
            request.headers.update(self._signer.headers(request.method, path))
        give_up_at = time.monotonic() + total_timeout
        self._count(requests=1)
        with _transport_errors(request):
            response = self._http.send(request, stream=True)
            try:
                body = _body(response, give_up_at=give_up_at)
            finally:
                self._count(bytes_received=response.num_bytes_downloaded)
                response.close()
        received_at = datetime.now(UTC)
        self._measure_clock_skew(response, received_at)
        self._raise_for_status(response, body)
        return body, received_at

    def _count(self, *, requests: int = 0, bytes_received: int = 0, throttled: int = 0) -> None:
        with self._counters_lock:
            self.requests += requests
            self.bytes_received += bytes_received
            self.throttled += throttled

    def _wait_for_tokens(self) -> None:
        """Take the tokens of one request. Raises `OutOfTokens` if they come too late."""
        patience = self._time_left()
        if patience <= 0:
            raise OutOfTokens("the time for this run is used up")
        if self._bucket is None:
            return
        if self.tokens_until is not None:
            patience = max(patience, self.tokens_until - time.monotonic())
        with _redis_errors():
            wait = self._bucket.take(TOKENS_PER_REQUEST, patience=min(patience, 1e9))
        if wait > patience:
            raise OutOfTokens(f"no tokens for {wait:.1f} s, longer than this run may take")
        if wait:
            self._sleep(wait)

    def has_tokens_for(self, requests: int) -> bool:
        """Return True if so many requests could be sent now without waiting for tokens."""
        if self._bucket is None:
            return True
        with _redis_errors():
            return self._bucket.wait_for(requests * TOKENS_PER_REQUEST) == 0

    def _raise_for_status(self, response: httpx.Response, body: bytes) -> None:
        status = response.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            self._count(throttled=1)
            if self._bucket:
                with _redis_errors():
                    self._bucket.drain()
            raise RateLimited("the exchange counted too many requests (status 429)")
        raise _error(response, body, key_type=self.key_type, skew=self.clock_skew)

    def _measure_clock_skew(self, response: httpx.Response, received_at: datetime) -> None:
        try:
            exchange_time = parsedate_to_datetime(response.headers.get("Date", ""))
        except (ValueError, OverflowError):
            return
        if exchange_time.tzinfo:
            self.clock_skew = received_at - exchange_time


def _checked(page: Page, path: str, filters: Mapping[str, object]) -> Page:
    """Return the page. Raises `FilterIgnored` if it is visibly not what the filters ask for."""
    honoured.check(path, page.items, filters, has_more=bool(page.cursor))
    return page


def pages(fetch: Callable[[str], Page]) -> Iterator[Page]:
    """Follow cursors to the last page. Raises `Unintelligible` when a cursor is repeated."""
    seen = {""}
    cursor = ""
    while True:
        page = fetch(cursor)
        yield page
        cursor = page.cursor
        if not cursor:
            return
        if cursor in seen:
            raise Unintelligible("the listing repeats a cursor")
        seen.add(cursor)


def ticker_batches(
    tickers: Iterable[str], *, max_url: int = 8000, reserve: int = 300
) -> Iterator[list[str]]:
    """Split tickers into batches that fit into one URL each.

    `reserve` characters are left for the rest of the URL. A ticker that is too long goes alone.
    """
    batch: list[str] = []
    room = max_url - reserve
    for ticker in tickers:
        length = len(_url_quoted(ticker)) + len("%2C")
        if batch and length > room:
            yield batch
            batch, room = [], max_url - reserve
        batch.append(ticker)
        room -= length
    if batch:
        yield batch


def _valid_base_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise ConfigurationError(f"{base_url!r} is not a valid URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{base_url!r} is not an http or https URL with a host")
    return base_url.rstrip("/")


def _query(filters: Mapping[str, object], **defaults: int) -> Query:
    params: Query = dict(defaults)
    for name, value in filters.items():
        params[name] = value if isinstance(value, str | int) else ",".join(cast(list[str], value))
    return params


def _url_quoted(ticker: str) -> str:
    return quote(ticker, safe="")


def _body(response: httpx.Response, *, give_up_at: float) -> bytes:
    """Read a reply, or of an error as much as is needed to understand it."""
    chunks, encoding = response.iter_raw(), response.headers.get("Content-Encoding", "")
    if response.is_stream_consumed:  # its transport has read and unpacked it already
        chunks, encoding = iter([response.content]), ""
    timed = _chunks(chunks, give_up_at=give_up_at)
    if response.status_code == httpx.codes.OK:
        return b"".join(unpacked(timed, encoding=encoding, limit=MAX_REPLY))
    beginning = bytearray()
    with suppress(Unintelligible):
        for piece in unpacked(timed, encoding=encoding, limit=MAX_ERROR):
            beginning += piece
    return bytes(beginning)


def _chunks(chunks: Iterator[bytes], *, give_up_at: float) -> Iterator[bytes]:
    # The timeouts of httpx limit the wait for each chunk, not for the whole reply.
    for chunk in chunks:
        yield chunk
        if time.monotonic() > give_up_at:
            raise httpx.ReadTimeout("the whole reply took too long")


@contextmanager
def _transport_errors(request: httpx.Request) -> Iterator[None]:
    host = request.url.host
    where = f"{host}{request.url.path}"
    try:
        yield
    except httpx.ConnectTimeout:
        raise no_answer(host, seconds=CONNECT_SECONDS) from None
    except httpx.TimeoutException as fault:
        raise TimedOut(f"{NO_ANSWER}: {where} timed out ({type(fault).__name__})") from None
    except httpx.ProxyError as fault:
        raise NoConnection(f"{REFUSED}: by the proxy before {host} ({fault})") from None
    except httpx.LocalProtocolError:
        raise ConfigurationError(f"{where}: the request cannot be sent as HTTP") from None
    except (httpx.TransportError, httpx.DecodingError) as fault:
        if isinstance(fault, httpx.ConnectError) and (error := failed_connection(fault, host)):
            raise error from None
        raise TemporaryError(f"{where}: {fault or type(fault).__name__}") from None


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as fault:
        # `OUR_FAULT` of the recorder's polls looks for these words.
        raise TemporaryError(f"the token bucket cannot be asked: {type(fault).__name__}") from None


def _error(
    response: httpx.Response, body: bytes, *, key_type: str, skew: timedelta | None
) -> KalshiError:
    """Return the error that a status other than 200 and 429 means."""
    # These texts are stored with the poll, and PostgreSQL stores no NUL.
    code, message = (
        text[:ERROR_TEXT_LENGTH].replace("\0", "") for text in replies.error_code_and_message(body)
    )
    status = response.status_code
    where = response.request.url.path
    details = f"status {status} {code} {message}".rstrip()
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return denied(f"{where}: {details}", key_type=key_type, skew=skew)
    if status == httpx.codes.NOT_FOUND:
        return UnknownResource(status, code, message or where)
    if 400 <= status < 500:
        return Refused(status, code, message or where)
    if 300 <= status < 400:
        return ConfigurationError(f"{where}: the URL has moved (status {status})")
    return ServerError(f"{where}: the exchange failed ({details})")


def _parse(read: Callable[[bytes], T], body: bytes) -> T:
    try:
        return read(body)
    except msgspec.MsgspecError as fault:
        raise Unintelligible(str(fault), body=body) from None


def _parse_single(body: bytes, key: str) -> msgspec.Raw:
    """Return the one item under `key`, which may be no JSON itself."""
    try:
        return replies.single_item(body, key)
    except msgspec.ValidationError as fault:
        raise Unintelligible(str(fault), body=body) from None
    except msgspec.DecodeError as fault:
        item = _parse(lambda body: splitting.member(body, key), body)
        if item is None:
            raise Unintelligible(str(fault), body=body) from None
        return item


def _parse_list(
    read: Callable[[bytes], T], body: bytes, *, key: str
) -> tuple[T, list[msgspec.Raw]]:
    """Parse a reply with a list under `key`; return also the items that are no JSON."""
    try:
        return read(body), []
    except msgspec.ValidationError as fault:
        raise Unintelligible(str(fault), body=body) from None
    except msgspec.DecodeError as fault:
        try:
            readable, faulty = splitting.set_apart(body, key)
        except msgspec.DecodeError:
            raise Unintelligible(str(fault), body=body) from None
        return _parse(read, readable), faulty
