"""As much of a browser as counts bytes: pages with their files, and what open pages fetch anew."""

import gzip
import json
import time
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urljoin

import brotli  # type: ignore[import-untyped]

HEADERS = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br",
}
# A page may wait for the database for fifteen seconds.
PATIENCE = 60
DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.decompress,
    "br": brotli.decompress,
}
CHART = "/chart.json"


class Answer(NamedTuple):
    status: int
    size: int  # of head and body, as they were sent
    body: bytes
    tag: str
    seconds: float


def fetch(port: int, address: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Send a request on a connection of its own."""
    began = time.perf_counter()
    client = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request("GET", address, headers={**HEADERS, **(headers or {})})
    answer = client.getresponse()
    sent = answer.read()
    seconds = time.perf_counter() - began
    client.close()
    head = sum(len(name) + len(value) + 4 for name, value in answer.getheaders())
    # An answer without a body may still name the encoding that it would have.
    body = DECODERS[answer.headers.get("Content-Encoding", "")](sent) if sent else b""
    return Answer(answer.status, head + len(sent), body, answer.headers.get("ETag", ""), seconds)


class Fragment(NamedTuple):
    """A part of a page that htmx fetches."""

    address: str
    target: str
    at_once: bool
    again: bool

    @property
    def headers(self) -> dict[str, str]:
        return {"HX-Request": "true", "HX-Target": self.target}


class Page(HTMLParser):
    """Everything that a page refers to and that a browser fetches by itself."""

    def __init__(self, address: str, html: str) -> None:
        super().__init__()
        self.address = address
        self.files: dict[str, None] = {}  # each once, in their order
        self.fragments: list[Fragment] = []
        self.columns = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "img") and "src" in given:
            self.files[urljoin(self.address, given["src"])] = None
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.files[urljoin(self.address, given["href"])] = None
        if "data-url" in given:
            chart = "?range=1d" if given["data-url"].endswith(CHART) else ""
            self.columns = urljoin(self.address, given["data-url"] + chart)
        self.add_fragment(given)

    def add_fragment(self, given: Mapping[str, str]) -> None:
        triggers = [trigger.strip() for trigger in given.get("hx-trigger", "").split(",")]
        at_once, again = "load" in triggers, any(each.startswith("every ") for each in triggers)
        if at_once or again:
            target = given.get("hx-target", given.get("id", "")).removeprefix("#")
            address = urljoin(self.address, given["hx-get"])
            self.fragments.append(Fragment(address, target, at_once, again))


class Tab:
    """An open page: what its first visit took, and what each refresh takes."""

    def __init__(self, port: int, address: str) -> None:
        self.port = port
        page = self.get(address)
        self.page = Page(address, page.body.decode())
        self.tags: dict[str, str] = {}
        self.newest = 0
        self.sizes = {address: page.size}
        self.sizes |= {file: self.get(file).size for file in self.page.files}
        for fragment in self.page.fragments:
            if fragment.at_once:
                self.sizes[f"#{fragment.target}"] = self.refresh_fragment(fragment)
        if self.page.columns:
            self.sizes[self.page.columns] = self.fetch_columns(self.page.columns)

    def get(self, address: str, headers: Mapping[str, str] | None = None) -> Answer:
        answer = fetch(self.port, address, headers)
        assert answer.status in (200, 304), (address, answer.status)
        return answer

    def refresh(self) -> dict[str, int]:
        """Fetch what the page fetches every few seconds; return the bytes of each part."""
        sizes = {
            f"#{fragment.target}": self.refresh_fragment(fragment)
            for fragment in self.page.fragments
            if fragment.again
        }
        if CHART in self.page.columns:
            sizes["chart"] = self.fetch_columns(f"{self.page.columns}&since={self.newest}")
        return sizes

    def refresh_fragment(self, fragment: Fragment) -> int:
        """Fetch a fragment, with the tag of the last one as a browser's cache sends it."""
        known = self.tags.get(fragment.target)
        condition = {"If-None-Match": known} if known else {}
        answer = self.get(fragment.address, {**fragment.headers, **condition})
        self.tags[fragment.target] = answer.tag
        return answer.size

    def fetch_columns(self, address: str) -> int:
        answer = self.get(address)
        if CHART in address and (instants := json.loads(answer.body)["t"]):
            self.newest = instants[-1]
        return answer.size
