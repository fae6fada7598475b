"""The site's WSGI application behind an asynchronous server, which waits for the clients.

A thread gets a request once all of it has arrived, and gives back a whole answer, so that no
client can hold one. An export is begun and drawn by one of a few threads that do nothing else, one
chunk at a time, whenever its client has taken the one before. Others wait for their turn in the
event loop, so that they hold nothing and stand in no page's way.
"""

import asyncio
import io
import json
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit
from wsgiref.types import WSGIApplication
from wsgiref.util import FileWrapper

import structlog
from django.conf import settings

from kalshi_insights.export.formats import asks_for_file
from kalshi_insights.middleware.request_id import META, id_of

log = structlog.get_logger(__name__)

# Each thread keeps a database connection.
PAGE_THREADS = STREAM_THREADS = 4
# A client has this many seconds to send the body of a request, and an export waits this long for
# its turn.
BODY_WITHIN = 15.0
STREAM_WITHIN = 10.0
# What is sent of a body that is refused is read for this long, or the client would see a broken
# connection in place of the refusal.
REFUSED_BODY_WITHIN = 2.0

Scope = dict[str, Any]
Environ = dict[str, Any]  # of PEP 3333
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Answer(NamedTuple):
    """The answer of the application: its body, or the stream that will be its body."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: Any = None

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()


class ThreadedSite:
    """An ASGI application that runs a WSGI application in threads.

    It relies on the server to cancel a request whose client has disconnected, and to disconnect a
    client that does not take what is sent to it.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._pages = ThreadPoolExecutor(PAGE_THREADS, "page")
        # A stream keeps to one thread, since its statement runs on that thread's connection.
        self._streamers: asyncio.Queue[ThreadPoolExecutor] = asyncio.Queue()
        for number in range(STREAM_THREADS):
            self._streamers.put_nowait(ThreadPoolExecutor(1, f"stream-{number}"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        body, is_whole = await read_body(scope, receive)
        if body is None:
            await send_whole(send, refusal(408, "timeout", "The body took too long."))
            return
        environ = environ_of(scope, body)
        accepted = header(scope, b"accept").decode("latin-1")
        if asks_for_file(environ["QUERY_STRING"], accepted):
            await self._send_export(send, environ)
        else:
            await self._send_page(send, environ)
        if not is_whole:
            await discard(receive)

    async def _send_page(self, send: Send, environ: Environ) -> None:
        future = self._pages.submit(answer_of, self._application, environ)
        try:
            answer = await asyncio.wrap_future(future)
            # A stream that the request did not foretell waits for its turn like an export.
            thread = None if answer.stream is None else await self._stream_thread()
        except asyncio.CancelledError:
            future.add_done_callback(close_unsent)
            raise
        if answer.stream is None:
            await send_whole(send, answer)
        elif thread is None:
            answer.close()
            await send_whole(send, busy(environ))
        else:
            await self._send_from(thread, future, send)

    async def _send_export(self, send: Send, environ: Environ) -> None:
        thread = await self._stream_thread()
        if thread is None:
            await send_whole(send, busy(environ))
        else:
            future = thread.submit(answer_of, self._application, environ)
            await self._send_from(thread, future, send)

    async def _send_from(
        self, thread: ThreadPoolExecutor, future: "Future[Answer]", send: Send
    ) -> None:
        """Send an answer, of which the thread draws the stream; then let others have the thread."""
        loop = asyncio.get_running_loop()
        try:
            answer = await asyncio.wrap_future(future)
            if answer.stream is None:
                await send_whole(send, answer)
                return
            chunks = iter(answer.stream)
            chunk = await loop.run_in_executor(thread, next, chunks, None)
            await send(start_of(answer))
            while chunk is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await loop.run_in_executor(thread, next, chunks, None)
            await send({"type": "http.response.body", "body": b""})
        finally:
            # The thread may still be at work for a client that has disconnected.
            closing = thread.submit(close_unsent, future)
            closing.add_done_callback(lambda _: self._return_thread(thread, loop))

    async def _stream_thread(self) -> ThreadPoolExecutor | None:
        """Return a thread for a stream; None where all are in use for longer than it may wait."""
        try:
            async with asyncio.timeout(STREAM_WITHIN):
                return await self._streamers.get()
        except TimeoutError:
            return None

    def _return_thread(self, thread: ThreadPoolExecutor, loop: asyncio.AbstractEventLoop) -> None:
        # A loop that is closed needs no threads.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._streamers.put_nowait, thread)


def answer_of(application: WSGIApplication, environ: Environ) -> Answer:
    """Run the application; the answer to a HEAD request has no body."""
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], error: Any = None, /
    ) -> Callable[[bytes], object]:
        started[:] = [int(status.split(" ", 1)[0]), headers]
        return written.append

    result: Any = application(environ, start_response)
    status, sent = started
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in sent]
    if getattr(result, "streaming", False):
        return Answer(status, headers, stream=result)
    try:
        body = b"".join([*written, *result])
    finally:
        result.close()
    return Answer(status, headers, b"" if environ["REQUEST_METHOD"] == "HEAD" else body)


def close_unsent(future: "Future[Answer]") -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


async def read_body(scope: Scope, receive: Receive) -> tuple[bytes | None, bool]:
    """Return the body, or None where it does not arrive in time, and True if it is whole.

    Of a body that is too large nothing is returned: the application refuses it by its length.
    """
    length = header(scope, b"content-length")
    if length.isdigit() and int(length) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        return b"", False
    parts, size = [], 0
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_WITHIN):
            while (message := await receive())["type"] == "http.request":
                parts.append(message["body"])
                size += len(message["body"])
                if not message.get("more_body"):
                    return b"".join(parts), True
                if size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                    scope["headers"].append((b"content-length", b"%d" % size))
                    return b"", False
    return None, False


async def discard(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(REFUSED_BODY_WITHIN):
            while (await receive()).get("more_body"):
                pass


def environ_of(scope: Scope, body: bytes) -> Environ:
    """The environment of PEP 3333, in which all text stands for bytes of Latin-1."""
    target = scope["raw_path"].decode("latin-1")
    path = target if target.startswith("/") else urlsplit(target).path
    server, client = scope["server"] or ("localhost", None), scope["client"] or ("", None)
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "REMOTE_ADDR": client[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        # Files are read as a whole, not in Django's small blocks.
        "wsgi.file_wrapper": lambda file, block_size: FileWrapper(file, 2**20),
    }
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    # A body that came in chunks has told no length.
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def start_of(answer: Answer) -> dict[str, Any]:
    return {
        "type": "http.response.start",
        "status": answer.status,
        "headers": answer.headers,
    }


async def send_whole(send: Send, answer: Answer) -> None:
    await send(start_of(answer))
    await send({"type": "http.response.body", "body": answer.body})


def busy(request: Environ) -> Answer:
    """The answer to an export that did not get its turn in time."""
    request_id = id_of(request.get(META, ""))
    reason = "all threads for streams are in use"
    log.warning("stream_refused", reason=reason, request_id=request_id)
    message = "Too many exports are being sent. Please try again soon."
    headers = (b"retry-after", b"10"), (b"x-request-id", request_id.encode())
    return refusal(503, "busy", message, *headers)


def refusal(status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> Answer:
    # The API's envelope of errors, whose module cannot be loaded before Django is.
    body = json.dumps({"code": code, "message": message, "details": {}}).encode()
    length = (b"content-length", b"%d" % len(body))
    return Answer(status, [(b"content-type", b"application/json"), length, *headers], body)
