"""A server of this machine that speaks as Google's object storage does, as far as Arrow asks it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "bucket"
LISTING = f"/storage/v1/b/{BUCKET}/o"
REWRITTEN = re.compile(rf"{LISTING}/(.+)/rewriteTo/b/{BUCKET}/o/(.+)")


class GoogleStorage(ThreadingHTTPServer):
    """One bucket, with its objects by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.objects: dict[str, bytes] = {}

    def address(self, folder: str) -> str:
        """Return the address of a folder, for whoever comes without an account."""
        endpoint = f"127.0.0.1:{self.server_port}"
        return f"gs://anonymous@{BUCKET}/{folder}?scheme=http&endpoint_override={endpoint}"

    def told(self, name: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "bucket": BUCKET,
            "name": name,
            "generation": "1",
            "size": str(len(self.objects[name])),
            "updated": "2026-03-02T00:00:00Z",
        }


class Answers(BaseHTTPRequestHandler):
    server: GoogleStorage

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, query = unquote(address.path), parse_qs(address.query)
        name = path.removeprefix(f"{LISTING}/")
        if path == f"/storage/v1/b/{BUCKET}":
            self.answer({"kind": "storage#bucket", "name": BUCKET})
        elif path == LISTING:
            prefix = query.get("prefix", [""])[0]
            found = sorted(each for each in self.server.objects if each.startswith(prefix))
            self.answer({"items": [self.server.told(each) for each in found]})
        elif name not in self.server.objects:
            self.answer({}, status=404)
        elif query.get("alt") == ["media"]:
            self.answer(self.server.objects[name])
        else:
            self.answer(self.server.told(name))

    def do_POST(self) -> None:
        """Begin an upload, or give an object another name."""
        self.body()
        rewritten = REWRITTEN.fullmatch(unquote(urlsplit(self.path).path))
        if not rewritten:
            here = f"http://127.0.0.1:{self.server.server_port}{self.path}"
            self.answer({}, Location=here)
            return
        source, target = rewritten.groups()
        self.server.objects[target] = self.server.objects[source]
        self.answer({"done": True, "resource": self.server.told(target)})

    def do_PUT(self) -> None:
        """Take the whole of an upload."""
        (name,) = parse_qs(urlsplit(self.path).query)["name"]
        self.server.objects[name] = self.body()
        self.answer(self.server.told(name))

    def do_DELETE(self) -> None:
        name = unquote(urlsplit(self.path).path).removeprefix(f"{LISTING}/")
        is_there = self.server.objects.pop(name, None) is not None
        self.answer(b"", status=204 if is_there else 404)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, content: dict[str, Any] | bytes, *, status: int = 200, **more: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def running_google_storage() -> Iterator[GoogleStorage]:
    with GoogleStorage() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
