"""An HTTP/1.1 server on loopback for the simulated exchange, with keep-alive and one thread."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from math import inf
from typing import NamedTuple, TypedDict, Unpack, cast
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from markets.simulator.board import Listings
from markets.simulator.cadence import DAY
from markets.simulator.exchange import Exchange, Reply
from markets.simulator.faults import TOO_MANY, Fault, Faults, FaultTarget
from markets.simulator.hours import Span, TradingHours
from markets.simulator.liveliness import with_trades_per_second
from markets.simulator.query import error_body
from markets.simulator.universe import SimulatedUniverse

HOST = "127.0.0.1"
PREFIX = "/trade-api/v2"
PAST = "/simulator/at/"
COST = 10
BURST_SECONDS = 3
LARGEST_HEAD = 65_536
KEY_HEADERS = ("kalshi-access-key", "kalshi-access-timestamp", "kalshi-access-signature")
PHRASES = {member.value: member.phrase for member in HTTPStatus}


@dataclass(frozen=True, slots=True)
class SimulatedClock:
    """Simulated time: wall time, or a clock that runs `speed` times faster from `origin` on."""

    speed: float = 1.0
    origin: float = 0.0
    started: float = 0.0

    @classmethod
    def starting(cls, *, speed: float = 1.0, origin: float | None = None) -> SimulatedClock:
        started = time.time()
        return cls(speed, started if origin is None else origin, started)

    def now(self) -> float:
        return self.origin + (time.time() - self.started) * self.speed


class SimulatedBucket:
    """A token bucket that fills evenly. A rate of 0 means no limit."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.tokens = rate * BURST_SECONDS
        self.filled = time.monotonic()

    def take(self) -> bool:
        if not self.rate:
            return True
        now = time.monotonic()
        gained = (now - self.filled) * self.rate
        self.tokens = min(self.rate * BURST_SECONDS, self.tokens + gained)
        self.filled = now
        if self.tokens < COST:
            return False
        self.tokens -= COST
        return True


class HttpRequest(NamedTuple):
    """A parsed HTTP request."""

    method: str
    target: str
    body: bytes
    keep_alive: bool
    # True if it has the three headers of an API key; their values are not checked.
    signed: bool


class HttpReply(NamedTuple):
    reply: Reply
    latency: float = 0.0
    cut: bool = False


class Service:
    """The state that all connections share."""

    def __init__(self, exchange: Exchange, clock: SimulatedClock, *, rate: float) -> None:
        self.exchange = exchange
        self.clock = clock
        self.bucket = SimulatedBucket(rate)
        self.faults = Faults()
        self.connections: set[Connection] = set()

    def answer(self, call: HttpRequest) -> HttpReply:
        target = urlsplit(call.target)
        path = unquote(target.path)
        if path == "/simulator/faults":
            return HttpReply(self.control(call))
        if path.startswith(PAST):
            return HttpReply(self.past_reply(path, target.query))
        if not path.startswith(PREFIX + "/"):
            return HttpReply(Reply(404, error_body("not_found", f"path not found: {path}")))
        if call.method != "GET":
            return HttpReply(Reply(405, error_body("method_not_allowed", "only GET is simulated")))
        if not self.bucket.take():
            return HttpReply(TOO_MANY)
        query = parse_qs(target.query, keep_blank_values=True)
        path = path.removeprefix(PREFIX)
        request = FaultTarget(path, query)
        reply = self.exchange.respond(path, query, self.clock.now(), signed=call.signed)
        faults = self.faults.matching(request)
        reply = self.faults.apply(reply, faults, request)
        return HttpReply(reply, sum(f.latency for f in faults), any(f.cut for f in faults))

    def past_reply(self, path: str, query: str) -> Reply:
        """Answer as of a past instant, under `/simulator/at/SECONDS`, without a rate limit."""
        at, _, rest = path.removeprefix(PAST).partition("/")
        if not at.isdecimal() or not f"/{rest}".startswith(PREFIX):
            return Reply(404, error_body("not_found", f"path not found: {path}"))
        parameters = parse_qs(query, keep_blank_values=True)
        return self.exchange.respond(f"/{rest}".removeprefix(PREFIX), parameters, float(at))

    def control(self, call: HttpRequest) -> Reply:
        """List the active faults on GET, add one on POST, and clear all on DELETE."""
        if call.method == "DELETE":
            self.faults.clear()
        if call.method == "POST":
            try:
                self.faults.add(call.body)
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                return Reply(400, error_body("invalid_fault", str(error)))
        return Reply(200, msgspec.json.encode({"faults": self.faults.active}))

    async def warm(self) -> None:
        """Render all markets in idle moments, so that the first complete sweep need not wait."""
        board = self.exchange.listings.live(self.clock.now())
        for start in range(0, len(board), 500):
            board.markets(range(start, min(start + 500, len(board))))
            await asyncio.sleep(0.001)


class Connection(asyncio.Protocol):
    def __init__(self, service: Service) -> None:
        self.service = service
        self.received = b""
        self.busy = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.service.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.service.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.proceed()

    def proceed(self) -> None:
        """Answer the requests that have fully arrived, one after the other."""
        while not self.busy and self.transport is not None:
            head, separator, rest = self.received.partition(b"\r\n\r\n")
            if not separator:
                if len(self.received) > LARGEST_HEAD:
                    self.transport.abort()
                return
            call = read(head, rest)
            if call is None:
                return
            self.received = rest[len(call.body) :]
            self.busy = True
            self.handle(call)

    def handle(self, call: HttpRequest) -> None:
        answer = self.service.answer(call)
        if answer.latency:
            loop = asyncio.get_running_loop()
            loop.call_later(answer.latency, self.send, call, answer)
        else:
            self.send(call, answer)

    def send(self, call: HttpRequest, answer: HttpReply) -> None:
        if self.transport is None:
            return
        head, body = head_of(answer.reply, keep_alive=call.keep_alive), answer.reply.body
        if answer.cut:
            self.transport.write(head + body[: len(body) // 2])
        else:
            self.transport.writelines((head, body))
        if answer.cut or not call.keep_alive:
            self.transport.close()
            return
        self.busy = False
        # More requests may have arrived while a slow reply was pending.
        if answer.latency:
            self.proceed()


def read(head: bytes, rest: bytes) -> HttpRequest | None:
    """Parse a request; None while its body has not fully arrived."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, remainder = first.partition(" ")
    target, _, version = remainder.rpartition(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    size = int(length) if length.isdecimal() else 0
    if len(rest) < size:
        return None
    connection = headers.get("connection", "close" if version == "HTTP/1.0" else "keep-alive")
    signed = all(headers.get(name) for name in KEY_HEADERS)
    return HttpRequest(method, target, rest[:size], connection.lower() == "keep-alive", signed)


def head_of(reply: Reply, *, keep_alive: bool) -> bytes:
    return (
        f"HTTP/1.1 {reply.status} {PHRASES.get(reply.status, '')}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(reply.body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    ).encode()


async def serve(
    service: Service, *, port: int, stop: asyncio.Event, ready: Callable[[str], None]
) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), HOST, port)
    bound = server.sockets[0].getsockname()[1]
    warming = asyncio.create_task(service.warm())
    ready(f"http://{HOST}:{bound}{PREFIX}")
    await stop.wait()
    warming.cancel()
    server.close()
    for connection in list(service.connections):
        if connection.transport is not None:
            connection.transport.abort()
    await asyncio.sleep(0)


class RunningExchange:
    """A simulated exchange running in a thread of this process."""

    def __init__(self, url: str, service: Service) -> None:
        self.url = url
        self.service = service

    @property
    def faults_url(self) -> str:
        return self.url.removesuffix(PREFIX) + "/simulator/faults"

    def add_fault(self, fault: Fault) -> None:
        self.service.faults.active.append(fault)

    def clear_faults(self) -> None:
        self.service.faults.clear()


class ExchangeOptions(TypedDict, total=False):
    """The options of an exchange beside its universe and its clock."""

    # Tokens a second; 0, the default, means no limit.
    rate: float
    bias: bool
    retention: int
    pauses: bool
    # Spans in seconds since 1970 during which only the exchange's status and schedule are served.
    maintenance: Sequence[Span]
    needs_key: bool
    combos: int


def build_service(
    universe: SimulatedUniverse, clock: SimulatedClock, options: ExchangeOptions
) -> Service:
    hours = TradingHours(
        pauses=options.get("pauses", True), maintenance=list(options.get("maintenance", ()))
    )
    retention = options.get("retention", 2 * DAY)
    listings = Listings(universe, bias=options.get("bias", True), retention=retention, hours=hours)
    exchange = Exchange(
        listings, needs_key=options.get("needs_key", False), combos=options.get("combos", 0)
    )
    return Service(exchange, clock, rate=options.get("rate", 0.0))


@contextmanager
def running_exchange(
    universe: SimulatedUniverse,
    *,
    clock: SimulatedClock | None = None,
    **options: Unpack[ExchangeOptions],
) -> Iterator[RunningExchange]:
    """Serve a universe on a free port during a `with` block."""
    serving = build_service(universe, clock or SimulatedClock.starting(), options)
    address: Future[str] = Future()
    running_in: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        running_in.set_result((asyncio.get_running_loop(), stop))
        await serve(serving, port=0, stop=stop, ready=address.set_result)

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="simulated-exchange")
    thread.start()
    try:
        yield RunningExchange(address.result(timeout=30), serving)
    finally:
        loop, stop = running_in.result(timeout=30)
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument(
        "--markets", type=int, default=2000, help="approximate number of open markets"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument(
        "--rate", type=float, default=200.0, help="tokens a second; 0 means no limit"
    )
    parser.add_argument(
        "--retention-days",
        type=float,
        default=2.0,
        help="days until settled markets move to the historical tier",
    )
    parser.add_argument(
        "--no-bias", action="store_true", help="quote without the favourite-longshot bias"
    )
    parser.add_argument(
        "--no-pauses", action="store_true", help="skip the weekly pause on Thursday mornings"
    )
    parser.add_argument(
        "--maintenance",
        type=span,
        action="append",
        default=[],
        metavar="START:END",
        help="a maintenance window in seconds since 1970; may be repeated",
    )
    parser.add_argument(
        "--needs-key", action="store_true", help="require an API key for batches of order books"
    )
    parser.add_argument(
        "--combos", type=int, default=0, help="number of combinations at the front of /markets"
    )
    parser.add_argument(
        "--trades-per-second",
        type=positive,
        help="of all markets together, the mean over trading time (default: grows with --markets)",
    )


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < inf:
        raise ValueError("not above zero")
    return number


def span(text: str) -> Span:
    start, _, end = text.partition(":")
    if int(start) >= int(end):
        raise ValueError("ends before it begins")
    return int(start), int(end)


def run(options: Namespace, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM."""
    universe = SimulatedUniverse(seed=options.seed, markets=options.markets)
    if options.trades_per_second is not None:
        universe = with_trades_per_second(universe, options.trades_per_second)
    clock = SimulatedClock.starting(speed=options.speed)
    exchange_options: ExchangeOptions = {
        "rate": options.rate,
        "bias": not options.no_bias,
        "retention": int(options.retention_days * DAY),
        "pauses": not options.no_pauses,
        "maintenance": options.maintenance,
        "needs_key": options.needs_key,
        "combos": options.combos,
    }
    serving = build_service(universe, clock, exchange_options)

    def ready(url: str) -> None:
        words = f"{options.markets} markets, seed {options.seed}, speed {options.speed:g}"
        announce(f"Simulated exchange on {url} ({words})")

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        serving.exchange.listings.live(clock.now())
        await serve(serving, port=options.port, stop=stop, ready=ready)

    asyncio.run(main())
