import base64
import gzip
import json
import re
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import redis
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from django.conf import settings
from django.core.management import CommandError, call_command

from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi.client import KalshiClient, Page, pages, ticker_batches
from markets.kalshi.errors import (
    ConfigurationError,
    KalshiError,
    OutOfTokens,
    RateLimited,
    Refused,
    TemporaryError,
    Unintelligible,
    UnknownResource,
)
from markets.kalshi.signing import Signer
from markets.kalshi.unpacking import MAX_REPLY, PIECE
from markets.recording.exchange import kalshi_client
from markets.tests.fake_exchange import market_json

EMPTY = {"markets": [], "cursor": ""}
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ED25519_KEY = Ed25519PrivateKey.generate()


@dataclass
class Reply:
    body: bytes | dict | list = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    content_length: int | None = None
    seconds: float = 0.0
    pause_between_bytes: float = 0.0

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Server:
    """A loopback HTTP server that sends prepared replies in order, then the last one for ever."""

    replies: list[Reply] = field(default_factory=lambda: [Reply(EMPTY)])
    requests: list[tuple[str, dict]] = field(default_factory=list)
    connections: set = field(default_factory=set)
    url: str = ""
    clock_ahead: float = 0.0

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            server.requests.append((self.path, dict(self.headers)))
            server.connections.add(self.client_address)
            reply = server.next_reply()
            time.sleep(reply.seconds)
            content = reply.content()
            self.send_response(reply.status)
            length = len(content) if reply.content_length is None else reply.content_length
            self.send_header("Content-Length", str(length))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.send_body(content, reply)
            self.close_connection = length != len(content)

        def date_time_string(self, timestamp=None):
            return super().date_time_string(time.time() + server.clock_ahead)

        def send_body(self, content, reply):
            step = 1 if reply.pause_between_bytes else len(content) or 1
            for start in range(0, len(content), step):
                try:
                    self.wfile.write(content[start : start + step])
                except OSError:
                    return
                time.sleep(reply.pause_between_bytes)

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def running(server: Server) -> Iterator[Server]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(server))
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}/trade-api/v2"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture
def server():
    with running(Server()) as server:
        yield server


@pytest.fixture
def slept():
    return []


@pytest.fixture
def client(server, slept):
    with KalshiClient(server.url, sleep=slept.append) as client:
        yield client


def query(server):
    parameters = parse_qs(urlsplit(server.requests[-1][0]).query)
    return {name: values[0] for name, values in parameters.items()}


def pem(key, *, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


# --- requests -------------------------------------------------------------------------------


def test_requests_ask_for_english_and_name_the_client(server, client):
    client.markets()
    _, headers = server.requests[0]
    assert headers["Accept-Language"] == "en"
    assert headers["Accept-Encoding"] == "gzip"
    assert re.fullmatch(r"kalshi-insights/\d+\.\d+\.\d+", headers["User-Agent"])
    assert not [name for name in headers if name.startswith("KALSHI")]


def test_a_page_has_items_a_cursor_and_the_instant_of_its_last_byte(server, client):
    server.replies = [Reply({"markets": [market_json("KXA-1-X")], "cursor": "next"})]
    page = client.markets()
    assert [json.loads(bytes(raw))["ticker"] for raw in page.items] == ["KXA-1-X"]
    assert (page.cursor, str(page.received_at.tzinfo)) == ("next", "UTC")


@pytest.mark.parametrize("body", [{}, {"markets": None}, {"cursor": ""}, {"markets": []}])
def test_a_list_that_is_null_or_missing_is_empty(server, client, body):
    server.replies = [Reply(body)]
    assert client.markets().items == []


@pytest.mark.parametrize("end", [{}, {"cursor": None}, {"cursor": ""}])
def test_a_missing_or_blank_cursor_ends_the_listing(server, client, end):
    server.replies = [Reply({"markets": [], **end})]
    assert client.markets().cursor == ""


def test_only_given_parameters_are_sent(server, client):
    client.markets(tickers=["KXA-1-T3.00", "KXB-1-X"], cursor="abc")
    assert query(server) == {"tickers": "KXA-1-T3.00,KXB-1-X", "cursor": "abc", "limit": "1000"}
    server.replies = [Reply({"events": [], "cursor": ""})]
    client.events(status="open")
    assert query(server) == {"status": "open", "limit": "200", "with_nested_markets": "true"}


def test_a_ticker_is_quoted_in_a_path(server, client):
    server.replies = [Reply({"series": {}})]
    client.series("KX/A?-T3.00")
    assert server.requests[0][0] == "/trade-api/v2/series/KX%2FA%3F-T3.00"


def test_every_listing_is_read_from_its_own_key(server, client):
    span = {"start_ts": 1, "end_ts": 2, "period_interval": 60}
    for key, ask in {
        "series": client.series_list,
        "series_fee_change_arr": client.fee_changes,
        "trades": lambda: client.trades(ticker="KXA-1-X"),
        "markets": lambda: client.historical_markets(tickers=["KXA-1-X"]),
        "candlesticks": lambda: client.candlesticks("KXA", "KXA-1-X", **span),
        "event_fee_changes": client.event_fee_changes,
    }.items():
        server.replies = [Reply({key: [{}, {}]})]
        assert len(ask().items) == 2


def test_status_and_order_books_are_parsed(server, client):
    server.replies = [Reply({"exchange_active": True, "trading_active": False})]
    assert not client.exchange_status().trading_active
    server.replies = [Reply({"orderbook_fp": {"yes_dollars": [["0.42", "1"]], "no_dollars": []}})]
    assert len(client.order_book("KXA-1-X").yes) == 1


def test_the_historical_tier_has_its_own_paths(server, client):
    span = {"start_ts": 1, "end_ts": 2, "period_interval": 60}
    server.replies = [Reply({"trades": [{}], "candlesticks": [{}]})]
    assert len(client.historical_trades(ticker="KXA-1-X").items) == 1
    assert len(client.historical_candlesticks("KXA-1-X", **span).items) == 1
    paths = [path.removeprefix("/trade-api/v2").partition("?")[0] for path, _ in server.requests]
    assert paths == ["/historical/trades", "/historical/markets/KXA-1-X/candlesticks"]


def test_a_batch_of_candlesticks_comes_by_ticker_and_unparsed(server, client):
    market = {"market_ticker": "KXA-1-X", "candlesticks": [{"nonsense": 1}]}
    server.replies = [Reply({"markets": [market]})]
    span = {"start_ts": 1, "end_ts": 2, "period_interval": 60}
    by_ticker = client.batch_candlesticks(["KXA-1-X", "KXA-1-Y"], **span)
    assert {ticker: len(candles) for ticker, candles in by_ticker.items()} == {"KXA-1-X": 1}
    assert query(server)["market_tickers"] == "KXA-1-X,KXA-1-Y"


def test_order_books_are_requested_by_a_repeated_parameter(server, client):
    server.replies = [Reply({"orderbooks": []})]
    assert client.order_books(["KXA-1-X", "KXA-1-Y"]) == ({}, [])
    assert server.requests[0][0].endswith("?tickers=KXA-1-X&tickers=KXA-1-Y")


def test_a_single_event_or_series_comes_as_a_page(server, client):
    server.replies = [Reply({"event": {}, "series": {}})]
    assert len(client.event("KXA-1").items) == len(client.series("KXA").items) == 1


def test_the_historical_cutoff_is_parsed(server, client):
    instants = dict.fromkeys(("market_settled_ts", "trades_created_ts"), "2026-11-01T12:00:00Z")
    server.replies = [Reply(instants)]
    assert client.historical_cutoff().trades_created_ts == datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_bytes_are_counted_as_compressed(server, client):
    plain = json.dumps({"markets": [market_json("KXA-1-X")] * 20, "cursor": ""}).encode()
    packed = gzip.compress(plain)
    server.replies = [Reply(packed, headers={"Content-Encoding": "gzip"})]
    assert len(client.markets().items) == 20
    assert (client.requests, client.bytes_received) == (1, len(packed))


def test_one_connection_serves_many_requests(server, client):
    for _ in range(5):
        client.markets()
    assert len(server.connections) == 1


def test_the_clock_skew_to_the_exchange_is_measured(server, client):
    client.markets()
    assert client.clock_skew is not None
    assert abs(client.clock_skew.total_seconds()) < 2


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 30 Nov 99999999999 12:00:00 GMT",
        "Mon, 30 Nov 2026 12:00:00 +99999999999",
        "Mon, 99 Foo 2026 99:99:99 GMT",
        "yesterday",
        "",
    ],
)
def test_a_date_that_is_no_instant_leaves_the_clock_skew_unknown(date):
    def answer(request):
        return httpx.Response(200, json=EMPTY, headers={"Date": date})

    with KalshiClient("http://exchange.test", transport=httpx.MockTransport(answer)) as client:
        assert client.markets().items == []
        assert client.clock_skew is None


# --- compression ----------------------------------------------------------------------------

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


def packed(content, encoding):
    for name in encoding.split(", "):
        content = PACKERS[name](content)
    return content


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "gzip, gzip", "identity, gzip"])
def test_every_compression_of_http_is_read(server, client, encoding):
    body = packed(json.dumps({"markets": [market_json("KXA-1-X")] * 3}).encode(), encoding)
    server.replies = [Reply(body, headers={"Content-Encoding": encoding})]
    assert len(client.markets().items) == 3


def test_a_deflated_reply_may_lack_its_header(server, client):
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(json.dumps(EMPTY).encode()) + deflate.flush()
    server.replies = [Reply(body, headers={"Content-Encoding": "deflate"})]
    assert client.markets().items == []


def test_a_reply_that_fills_whole_pieces_is_read_to_its_end(server, client):
    for size in (PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 20 * PIECE):
        body = b'{"markets": [], "cursor": ""}'.ljust(size)
        server.replies = [Reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})]
        assert client.markets().items == []


def bomb(encoding, *, size=4 * MAX_REPLY):
    """Return a small body that unpacks to `size` bytes of an otherwise readable reply."""
    return packed(b'{"markets": [], "cursor": ""}'.ljust(size), encoding)


@contextmanager
def bounded_memory(most):
    """Fail if the block ever holds more than `most` bytes in Python's memory."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak:,} bytes"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", "deflate, gzip"])
def test_a_reply_that_unpacks_to_too_much_is_refused_in_little_memory(server, client, encoding):
    body = bomb(encoding)
    assert len(body) < 2**20
    server.replies = [Reply(body, headers={"Content-Encoding": encoding})]
    with bounded_memory(1.5 * MAX_REPLY), pytest.raises(Unintelligible, match="more than"):
        client.markets()
    assert client.requests == 1


def test_a_layer_that_unpacks_to_too_much_is_refused_even_if_the_next_one_is_small(server, client):
    endless = gzip.compress(b"") * (4 * MAX_REPLY // len(gzip.compress(b"")))
    body = gzip.compress(gzip.compress(json.dumps(EMPTY).encode()) + endless)
    server.replies = [Reply(body, headers={"Content-Encoding": "gzip, gzip"})]
    with bounded_memory(MAX_REPLY), pytest.raises(Unintelligible, match="more than"):
        client.markets()


def test_a_large_reply_without_compression_is_refused(server, client):
    server.replies = [Reply(bomb("identity", size=MAX_REPLY + 1))]
    with pytest.raises(Unintelligible, match="more than"):
        client.markets()


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, Refused), (404, UnknownResource), (429, RateLimited), (500, TemporaryError)],
)
def test_an_error_is_told_by_its_status_whatever_its_body_unpacks_to(server, client, status, error):
    body = gzip.compress(bomb("gzip"))
    headers = {"Content-Encoding": "gzip, gzip"}
    server.replies = [Reply(body, status=status, headers=headers)]
    with bounded_memory(4 * 2**20), pytest.raises(error):
        client.markets()


@pytest.mark.parametrize(
    "encoding", ["br", "compress", "gzip, gzip, gzip", ", ".join(["gzip"] * 999)]
)
def test_a_compression_that_was_not_asked_for_is_refused(server, client, encoding):
    server.replies = [Reply(b"[]", headers={"Content-Encoding": encoding})]
    with pytest.raises(Unintelligible, match="not asked for"):
        client.markets()


@pytest.mark.parametrize("cut", [1, 8, 12])
def test_a_compressed_reply_without_its_end_is_retried(server, client, cut):
    body = gzip.compress(json.dumps(EMPTY).encode())[:-cut]
    server.replies = [Reply(body, headers={"Content-Encoding": "gzip"}), Reply(EMPTY)]
    assert client.markets().items == []
    assert client.requests == 2


def test_the_list_of_all_series_fits_three_times_over(server, client):
    body = json.dumps({"series": [{"title": "x" * 19_000}] * 3000}).encode()
    assert 3 * 19_000_000 < len(body) < MAX_REPLY
    server.replies = [Reply(gzip.compress(body), headers={"Content-Encoding": "gzip"})]
    assert len(client.series_list().items) == 3000


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_tried_three_times(server, client, slept, status):
    server.replies = [Reply(status=status)]
    with pytest.raises(TemporaryError, match=str(status)):
        client.markets()
    assert (client.requests, len(slept)) == (3, 2)
    assert 0 < slept[0] < slept[1] < 2


def test_temporary_errors_are_retried_until_a_reply_comes(server, client):
    server.replies = [Reply(status=503), Reply({"error": "too many requests"}, 429), Reply(EMPTY)]
    assert client.markets().items == []
    assert (client.requests, client.throttled) == (3, 1)


def test_throttling_has_its_own_error(server, client):
    server.replies = [Reply({"error": "too many requests"}, 429)]
    with pytest.raises(RateLimited):
        client.markets()
    assert client.throttled == 3


def test_a_truncated_reply_is_retried(server, client):
    server.replies = [Reply(b'{"markets": [', content_length=100), Reply(EMPTY)]
    assert client.markets().items == []
    assert client.requests == 2


def test_a_reply_that_cannot_be_decompressed_is_retried(server, client):
    server.replies = [Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), Reply(EMPTY)]
    assert client.markets().items == []


def test_a_refused_connection_is_a_temporary_error(slept):
    with (
        KalshiClient("http://127.0.0.1:9/trade-api/v2", sleep=slept.append) as client,
        pytest.raises(TemporaryError),
    ):
        client.markets()
    assert len(slept) == 2


@pytest.mark.parametrize(("total", "silence"), [(None, 5), (0.2, 5), (60, 30)])
def test_who_waits_longer_for_a_whole_reply_waits_longer_for_its_beginning(total, silence):
    timeouts = []

    def answer(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"])
        return httpx.Response(200, json={"markets": []})

    with KalshiClient("http://exchange.test", transport=httpx.MockTransport(answer)) as client:
        client.total_timeout = total or client.total_timeout
        client.markets()
    assert [(each["read"], each["connect"]) for each in timeouts] == [(silence, 3)]


def test_a_slow_reply_is_abandoned_after_the_total_timeout(server, client):
    server.replies = [Reply(EMPTY, pause_between_bytes=0.05)]
    client.total_timeout = 0.2
    client.deadline = time.monotonic() + 0.1
    began = time.monotonic()
    with pytest.raises(TemporaryError, match="timed out"):
        client.markets()
    assert time.monotonic() - began < 0.6


@pytest.mark.parametrize(
    "body",
    [
        {"code": "invalid_parameters", "message": "bad cursor", "details": "x"},
        {"error": {"code": "invalid_parameters", "message": "bad cursor"}},
    ],
)
def test_a_refusal_is_not_retried_and_keeps_its_code(server, client, body):
    server.replies = [Reply(body, 400)]
    with pytest.raises(Refused, match="bad cursor") as caught:
        client.markets()
    assert (caught.value.status, caught.value.code) == (400, "invalid_parameters")
    assert client.requests == 1


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b'{"code": 5}', b"\xff"])
def test_a_refusal_without_code_or_message_names_the_path(server, client, body):
    server.replies = [Reply(body, 404)]
    with pytest.raises(UnknownResource) as caught:
        client.series("KXA")
    assert caught.value.code == ""
    assert "/series/KXA" in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 301, 302])
def test_a_configuration_error_is_not_retried(server, client, status):
    server.replies = [Reply(status=status, headers={"Location": "/elsewhere"})]
    with pytest.raises(ConfigurationError, match=str(status)):
        client.markets()
    assert client.requests == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"error": "too many requests"}',
        b'{"data": [{}], "cursor": ""}',
        b'{"markets": {}}',
        b'{"markets": [], "cursor": "a\\u0000b"}',
        b'{"markets": [1',
        b'{"markets": [], "cursor": 5}',
        b'{"markets": [' + b"[" * 100_000 + b"]}",
        b'{"markets": [], "cursor": "\xff"}',
    ],
)
def test_a_reply_that_breaks_the_contract_is_unintelligible(server, client, body):
    server.replies = [Reply(body)]
    with pytest.raises(Unintelligible):
        client.markets()
    assert client.requests == 1


@pytest.mark.parametrize(
    "address", ["", "kalshi.com", "ftp://kalshi.com", "http://", "http://kalshi.com:port"]
)
def test_an_invalid_base_url_is_refused_at_once(address):
    with pytest.raises(ConfigurationError):
        KalshiClient(address)


def test_all_errors_share_one_base_class():
    errors = [ConfigurationError, TemporaryError, Refused, Unintelligible]
    assert all(issubclass(error, KalshiError) for error in errors)
    assert issubclass(RateLimited, TemporaryError)
    assert issubclass(OutOfTokens, TemporaryError)


# --- deadline and tokens ------------------------------------------------------------------------


def test_no_request_is_sent_after_the_deadline(server, client):
    client.deadline = time.monotonic() - 1
    with pytest.raises(OutOfTokens):
        client.markets()
    assert client.requests == 0


def test_no_retry_waits_beyond_the_deadline(server, client):
    server.replies = [Reply(status=503)]
    client.deadline = time.monotonic() + 0.15
    with pytest.raises(TemporaryError, match="503"):
        client.markets()
    assert client.requests == 1


@pytest.fixture
def bucket():
    with redis.Redis.from_url(settings.REDIS_URL) as connection:
        yield TokenBucket(connection, rate=10, capacity=20, key="test:client")
        connection.delete("test:client")


def test_requests_wait_for_their_tokens(server, bucket, slept):
    with KalshiClient(server.url, bucket=bucket, sleep=slept.append) as client:
        for _ in range(3):
            client.markets()
    assert slept == pytest.approx([1], abs=0.5)


def test_no_request_waits_for_tokens_that_come_after_the_deadline(server, bucket, slept):
    bucket.take(20)
    with KalshiClient(server.url, bucket=bucket, sleep=slept.append) as client:
        client.deadline = time.monotonic() + 0.5
        with pytest.raises(OutOfTokens):
            client.markets()
    assert (slept, server.requests) == ([], [])
    assert bucket.take(0) < 0.1


def test_throttling_drains_the_shared_bucket(server, bucket, slept):
    server.replies = [Reply(status=429), Reply(EMPTY)]
    with KalshiClient(server.url, bucket=bucket, sleep=slept.append) as client:
        client.markets()
    backoff, tokens = slept
    assert 0 < backoff < 1
    # The tokens of one request, at a lowered rate.
    assert 1 < tokens < 2


def test_an_unreachable_token_bucket_is_a_temporary_error(server, slept):
    nowhere = TokenBucket.from_url("redis://127.0.0.1:9/0", rate=10)
    with (
        KalshiClient(server.url, bucket=nowhere, sleep=slept.append) as client,
        pytest.raises(TemporaryError, match="token bucket"),
    ):
        client.markets()
    assert server.requests == []


# --- signatures ---------------------------------------------------------------------------------


def signed(server, key):
    signer = Signer("key-id", key, clock=lambda: 1_795_000_000.1234)
    with KalshiClient(server.url, signer=signer) as client:
        client.markets(tickers=["KXA-1-X"])
    path, headers = server.requests[0]
    assert headers["KALSHI-ACCESS-KEY"] == "key-id"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1795000000123"
    assert "?" in path
    return base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"])


MESSAGE = b"1795000000123GET/trade-api/v2/markets"


def test_an_rsa_key_signs_with_pss(server):
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    RSA_KEY.public_key().verify(signed(server, RSA_KEY), MESSAGE, scheme, hashes.SHA256())


def test_an_ed25519_key_signs_the_same_message(server):
    ED25519_KEY.public_key().verify(signed(server, ED25519_KEY), MESSAGE)


def test_the_path_is_signed_as_it_is_sent(server):
    server.replies = [Reply({"series": {}})]
    with KalshiClient(server.url, signer=Signer("key-id", ED25519_KEY)) as client:
        client.series("KX/A-T3.00")
    path, headers = server.requests[0]
    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"])
    message = f"{headers['KALSHI-ACCESS-TIMESTAMP']}GET{path}".encode()
    ED25519_KEY.public_key().verify(signature, message)


def test_every_attempt_is_signed_anew(server, slept):
    server.replies = [Reply(status=503), Reply(EMPTY)]
    ticks = iter([1.0, 2.0])
    signer = Signer("key-id", ED25519_KEY, clock=lambda: next(ticks))
    with KalshiClient(server.url, signer=signer, sleep=slept.append) as client:
        client.markets()
    stamps = [headers["KALSHI-ACCESS-TIMESTAMP"] for _, headers in server.requests]
    assert stamps == ["1000", "2000"]


@pytest.mark.parametrize(
    ("key", "kind"), [(RSA_KEY, "RSA"), (ED25519_KEY, "Ed25519")], ids=["rsa", "ed25519"]
)
def test_the_type_of_a_key_is_read_from_its_file(tmp_path, key, kind):
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key))
    assert Signer.from_file("key-id", path).key_type == kind


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no private key"),
        (b"hunter2", "no private key"),
        (pem(RSA_KEY)[:-200], "no private key"),
        (pem(RSA_KEY, encryption=BestAvailableEncryption(b"hunter2")), "password"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither"),
    ],
    ids=["empty", "no-key", "cut", "password", "other-kind"],
)
def test_an_unusable_key_file_is_named_without_its_content(tmp_path, content, words):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        Signer.from_file("key-id", path)
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere.pem: No such file"):
        Signer.from_file("key-id", tmp_path / "nowhere.pem")


@pytest.mark.parametrize("key_id", ["a\nb", "schlüssel"])
def test_a_key_id_that_does_not_fit_into_a_header_is_refused(key_id):
    with pytest.raises(ConfigurationError):
        Signer(key_id, ED25519_KEY)


def test_no_error_shows_key_or_signature(server):
    server.replies = [Reply({"code": "unauthorized"}, 401)]
    with KalshiClient(server.url, signer=Signer("the-key-id", ED25519_KEY)) as client:
        with pytest.raises(ConfigurationError) as caught:
            client.markets()
        shown = f"{caught.value!r} {caught.value} {client!r} {client._signer!r}"
    assert "the-key-id" not in shown
    assert server.requests[0][1]["KALSHI-ACCESS-SIGNATURE"] not in shown


# --- pages and batches --------------------------------------------------------------------------


def listing(cursors):
    instant = datetime.now(UTC)
    return lambda cursor: Page([], cursors[cursor], instant)


def test_cursors_are_followed_to_the_end():
    assert len(list(pages(listing({"": "a", "a": "b", "b": ""})))) == 3


def test_a_repeated_cursor_is_refused():
    with pytest.raises(Unintelligible):
        list(pages(listing({"": "a", "a": "b", "b": "a"})))


def test_a_cursor_that_does_not_advance_is_refused_at_once(server, client):
    server.replies = [Reply({"markets": [], "cursor": "a"})]
    with pytest.raises(Unintelligible, match="advance"):
        client.markets(cursor="a")


def test_batches_keep_the_order_and_fit_into_a_url(server, client):
    tickers = [f"KXHIGHNY-26NOV20-B{number}.5" for number in range(1000)]
    batches = list(ticker_batches(tickers))
    assert [ticker for batch in batches for ticker in batch] == tickers
    for batch in batches:
        client.markets(tickers=batch)
    assert max(len(path) for path, _ in server.requests) <= 8000
    assert min(len(path) for path, _ in server.requests[:-1]) > 7000


def test_a_ticker_longer_than_a_url_goes_alone():
    assert list(ticker_batches(["A" * 9000, "B"])) == [["A" * 9000], ["B"]]
    assert list(ticker_batches([])) == []


# --- checkkalshi --------------------------------------------------------------------------------


@pytest.fixture
def installation(settings):
    """Make the configured client again with the settings of each test."""
    kalshi_client.cache_clear()
    yield settings
    if kalshi_client.cache_info().currsize:
        kalshi_client().close()
    kalshi_client.cache_clear()


def event_json(*markets):
    return {
        "event_ticker": "KXA-1",
        "series_ticker": "KXA",
        "title": "What of it?",
        "sub_title": "",
        "collateral_return_type": "",
        "mutually_exclusive": False,
        "settlement_sources": None,
        "markets": markets,
    }


STATUS = {"exchange_active": True, "trading_active": False}
LIMITS = {
    "usage_tier": "basic",
    "read": {"refill_rate": 200, "bucket_capacity": 600},
    "write": {"refill_rate": 100, "bucket_capacity": 100},
    "grants": [],
}


def configure(installation, server, path):
    installation.KALSHI_API_URL = server.url
    installation.KALSHI_API_KEY_ID = "key-id"
    installation.KALSHI_PRIVATE_KEY_PATH = str(path)


def run_check(capsys):
    call_command("checkkalshi")
    return capsys.readouterr().out


def test_the_check_reports_each_part_of_the_connection(server, installation, capsys):
    installation.KALSHI_API_URL = server.url
    bad = market_json("KXA-1-Y", yes_bid_dollars="NaN")
    events = [event_json(market_json("KXA-1-X"), bad)]
    server.replies = [Reply(STATUS), Reply({"events": events, "cursor": ""})]
    words = run_check(capsys)
    assert "exchange active, trading paused" in words
    assert "none: public data only, at 60 tokens" in words
    assert "agrees with the exchange's" in words
    assert "1 events and 1 markets read, 1 rejected, the first because of KXA-1-Y: 'NaN'" in words


def test_the_check_reports_tier_and_rate_limit_of_a_key(server, installation, capsys, tmp_path):
    (tmp_path / "key.pem").write_bytes(pem(ED25519_KEY))
    configure(installation, server, tmp_path / "key.pem")
    server.replies = [Reply(STATUS), Reply(LIMITS), Reply({"events": []})]
    assert "Ed25519, accepted: tier basic, 200 tokens a second" in run_check(capsys)
    installation.KALSHI_RATE = 300
    server.replies = [Reply(STATUS), Reply(LIMITS), Reply({"events": []})]
    with pytest.raises(CommandError, match="Problems to correct: 1"):
        call_command("checkkalshi")
    assert "fewer than KALSHI_RATE=300" in capsys.readouterr().out


def test_the_check_fails_if_the_key_is_not_accepted(server, installation, capsys, tmp_path):
    (tmp_path / "key.pem").write_bytes(pem(RSA_KEY))
    configure(installation, server, tmp_path / "key.pem")
    server.replies = [Reply(STATUS), Reply(status=401), Reply({"events": []})]
    with pytest.raises(CommandError):
        call_command("checkkalshi")
    assert (
        "WRONG  key       RSA: key: the exchange denies access (/trade-api/v2/account/limits"
        in (capsys.readouterr().out)
    )


def test_the_check_fails_if_the_key_file_is_missing(server, installation, capsys, tmp_path):
    configure(installation, server, tmp_path / "key.pem")
    with pytest.raises(CommandError):
        call_command("checkkalshi")
    assert "No such file" in capsys.readouterr().out


def test_the_check_fails_if_the_exchange_cannot_be_reached(installation, capsys):
    installation.KALSHI_API_URL = "http://127.0.0.1:9/trade-api/v2"
    with pytest.raises(CommandError):
        call_command("checkkalshi")
    assert "WRONG  reach" in capsys.readouterr().out


def test_the_check_fails_if_the_clocks_differ(server, installation, capsys):
    installation.KALSHI_API_URL = server.url
    server.clock_ahead = 90
    server.replies = [Reply(STATUS), Reply({"events": []})]
    with pytest.raises(CommandError):
        call_command("checkkalshi")
    words = r"WRONG  clock     this machine's clock is (89|90) s behind the exchange's"
    assert re.search(words, capsys.readouterr().out)
