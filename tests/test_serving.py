"""The site's WSGI application behind an asynchronous server."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, TypeVar
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from kalshi_insights.embedded import BASE_DIR
from kalshi_insights.export.formats import asks_for_file
from kalshi_insights.serving import site
from kalshi_insights.serving.site import ThreadedSite

T = TypeVar("T")
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "raw_path": b"/a%20b/%C4%8D%FF",
    "query_string": b"q=%C4",
    "server": ("127.0.0.1", 8000),
    "client": ("192.0.2.1", 50_000),
}


def in_new_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread: the browser of other tests may have a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class Stream:
    """A streaming response that notes the threads it is drawn in, and that it was closed."""

    streaming = True

    def __init__(self, chunks):
        self.chunks = iter(chunks)
        self.threads = set()
        self.closed = threading.Event()

    def __iter__(self):
        return self

    def __next__(self):
        self.threads.add(threading.get_ident())
        return next(self.chunks)

    def close(self):
        self.threads.add(threading.get_ident())
        self.closed.set()


def forever():
    while True:
        yield b"x"


def echo(environ: WSGIEnvironment, start_response: StartResponse):
    start_response("201 Created", [("X-Kind", "echo")])
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    return Response([environ["PATH_INFO"].encode("latin-1"), b"|", body])


class Response(list[bytes]):
    def close(self):
        pass


def answering(response):
    def application(environ: WSGIEnvironment, start_response: StartResponse):
        start_response("200 OK", [])
        return response

    return application


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def respond(application, *parts, headers=(), scope=None):
    """Send a request whose body comes in these parts; return the status and the body."""
    messages = [
        {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]
    sent = []

    async def receive():
        return messages.pop(0) if messages else await never()

    async def send(message):
        sent.append(message)

    await application({**SCOPE, "headers": list(headers), **(scope or {})}, receive, send)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


def response_to(application, *parts, headers=(), scope=None):
    async def run():
        return await respond(ThreadedSite(application), *parts, headers=headers, scope=scope)

    return in_new_loop(run())


def test_the_application_gets_the_bytes_of_the_address_and_the_whole_body():
    headers = [(b"content-length", b"7")]
    answer = response_to(echo, b"one", b" two", headers=headers)
    assert answer == (201, "/a b/č".encode() + b"\xff|one two")


def test_a_body_in_chunks_has_a_length_too():
    headers = [(b"transfer-encoding", b"chunked")]
    assert response_to(echo, b"one", b" two", headers=headers)[1].endswith(b"|one two")


def test_an_address_with_scheme_and_host_is_read_as_its_path():
    answer = response_to(echo, b"", scope={"raw_path": b"http://localhost/here"})
    assert answer[1] == b"/here|"


def test_a_repeated_header_arrives_as_a_list():
    def application(environ: WSGIEnvironment, start_response: StartResponse):
        start_response("200 OK", [])
        return Response([environ["HTTP_X_FORWARDED_FOR"].encode()])

    name = b"x-forwarded-for"
    headers = [(name, b"203.0.113.1"), (name, b"192.0.2.1")]
    assert response_to(application, b"", headers=headers)[1] == b"203.0.113.1,192.0.2.1"


@pytest.mark.parametrize("length", [(b"content-length", b"3000000"), (b"host", b"localhost")])
def test_of_a_body_that_is_too_large_the_application_gets_the_length_alone(length):
    def application(environ: WSGIEnvironment, start_response: StartResponse):
        start_response("413 Too large", [])
        read = len(environ["wsgi.input"].read())
        return Response([f"{environ['CONTENT_LENGTH']} {read}".encode()])

    parts = [b"0" * 1_500_000] * 2 + [b""]
    answer = response_to(application, *parts, headers=[length])
    assert answer == (413, b"3000000 0")


def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch):
    monkeypatch.setattr(site, "BODY_WITHIN", 0.05)

    async def run():
        sent = []

        async def send(message):
            sent.append(message)

        await ThreadedSite(echo)({**SCOPE, "headers": []}, never, send)
        return sent[0]["status"]

    assert in_new_loop(run()) == 408


def test_a_stream_keeps_to_one_thread_and_is_closed_there():
    stream = Stream([b"a", b"", b"b"])
    assert response_to(answering(stream), b"") == (200, b"ab")
    assert stream.closed.wait(5)
    assert len(stream.threads) == 1


def test_a_stream_whose_client_leaves_is_closed_and_its_thread_is_free_again():
    streams = [Stream(forever()) for _ in range(site.STREAM_THREADS)]
    pending = iter([*streams, Stream([b"last"])])

    def application(environ: WSGIEnvironment, start_response: StartResponse):
        start_response("200 OK", [])
        return next(pending)

    async def run():
        served = ThreadedSite(application)
        clients = [asyncio.create_task(respond(served, b"")) for _ in streams]
        while not all(stream.threads for stream in streams):
            await asyncio.sleep(0.01)
        for client in clients:
            client.cancel()
        return await respond(served, b"")

    assert in_new_loop(run()) == (200, b"last")
    assert all(stream.closed.wait(10) for stream in streams)


def test_a_stream_that_finds_no_thread_is_refused_and_closed(monkeypatch):
    monkeypatch.setattr(site, "STREAM_WITHIN", 0.05)
    monkeypatch.setattr(site, "STREAM_THREADS", 0)
    stream = Stream([b"a"])
    status, body = response_to(answering(stream), b"")
    assert status == 503
    assert b"Too many exports" in body
    assert stream.closed.is_set()


EXPORT = {"method": "GET", "query_string": b"format=csv"}


@pytest.mark.parametrize(
    ("query", "accepted", "asks"),
    [
        ("", "*/*", False),
        ("format=json", "text/csv", False),
        ("format=columns", "", False),
        ("q=format%3Dcsv", "application/json", False),
        ("format=csv", "text/html", True),
        ("limit=1&format=%63sv", "", True),
        ("format=parquet", "", True),
        ("format=json&format=arrow", "", True),
        ("", "text/csv", True),
        ("", "Application/vnd.apache.PARQUET;q=1", True),
        ("", "application/vnd.apache.arrow.stream", True),
    ],
)
def test_a_request_tells_that_it_asks_for_a_file(query, accepted, asks):
    assert asks_for_file(query, accepted) is asks


def test_pages_are_answered_while_exports_take_their_time_to_begin():
    go_on, begun = threading.Event(), []

    def application(environ: WSGIEnvironment, start_response: StartResponse):
        start_response("200 OK", [])
        if not environ["QUERY_STRING"].startswith("format="):
            return Response([b"a page"])
        begun.append(1)
        go_on.wait(10)
        return Stream([b"a", b"b"])

    async def run():
        served = ThreadedSite(application)
        many = 3 * (site.PAGE_THREADS + site.STREAM_THREADS)
        exports = [asyncio.create_task(respond(served, b"", scope=EXPORT)) for _ in range(many)]
        while len(begun) < site.STREAM_THREADS:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            page = await respond(served, b"")
        waiting = many - len(begun)
        go_on.set()
        return page, waiting, await asyncio.gather(*exports)

    page, waiting, exports = in_new_loop(run())
    assert page == (200, b"a page")
    assert waiting == len(exports) - site.STREAM_THREADS
    assert set(exports) == {(200, b"ab")}


def test_an_export_that_gets_no_turn_is_refused_before_it_begins(monkeypatch):
    monkeypatch.setattr(site, "STREAM_WITHIN", 0.05)
    monkeypatch.setattr(site, "STREAM_THREADS", 0)
    begun = []

    def application(environ: WSGIEnvironment, start_response: StartResponse):
        begun.append(1)
        return answering(Stream([b"a"]))(environ, start_response)

    status, body = response_to(application, b"", scope=EXPORT)
    assert (status, begun) == (503, [])
    assert b"Too many exports" in body


def test_an_export_may_be_answered_as_a_whole():
    answer = response_to(echo, b"", scope=EXPORT)
    assert answer == (201, "/a b/č".encode() + b"\xff|")


def test_an_export_whose_client_left_before_it_began_is_closed_and_its_thread_free_again(
    monkeypatch,
):
    monkeypatch.setattr(site, "STREAM_THREADS", 1)
    stream, begun, go_on = Stream([b"a"]), threading.Event(), threading.Event()
    pending = iter([stream, Stream([b"last"])])

    def application(environ: WSGIEnvironment, start_response: StartResponse):
        begun.set()
        go_on.wait(5)
        start_response("200 OK", [])
        return next(pending)

    async def run():
        served = ThreadedSite(application)
        client = asyncio.create_task(respond(served, b"", scope=EXPORT))
        await asyncio.to_thread(begun.wait, 5)
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        go_on.set()
        return await respond(served, b"", scope=EXPORT)

    assert in_new_loop(run()) == (200, b"last")
    assert stream.closed.is_set()


def test_a_request_whose_client_left_meanwhile_closes_the_stream_it_would_have_sent():
    stream, begun, go_on = Stream([b"a"]), threading.Event(), threading.Event()

    def application(environ: WSGIEnvironment, start_response: StartResponse):
        begun.set()
        go_on.wait(5)
        start_response("200 OK", [])
        return stream

    async def run():
        client = asyncio.create_task(respond(ThreadedSite(application), b""))
        await asyncio.to_thread(begun.wait, 5)
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        go_on.set()

    in_new_loop(run())
    assert stream.closed.wait(5)


def test_a_file_is_sent_as_a_whole():
    def application(environ: WSGIEnvironment, start_response: StartResponse):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](BytesIO(b"0" * 100_000), 4_096)

    assert response_to(application, b"") == (200, b"0" * 100_000)


def test_the_answer_to_a_head_request_has_no_body():
    assert response_to(echo, b"", scope={"method": "HEAD"}) == (201, b"")


def test_the_application_loads_in_a_fresh_process():
    load = [sys.executable, "-c", "import kalshi_insights.asgi"]
    assert subprocess.run(load, cwd=BASE_DIR, check=False).returncode == 0


def test_a_websocket_is_refused():
    async def run():
        sent = []

        async def send(message):
            sent.append(message)

        await ThreadedSite(echo)({"type": "websocket"}, never, send)
        return sent

    assert in_new_loop(run()) == [{"type": "websocket.close"}]
