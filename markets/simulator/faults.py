"""Misbehaviour on request: what a client must survive, switched on over HTTP or from a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from markets.simulator.exchange import Reply
from markets.simulator.query import error_body

TOO_MANY = Reply(429, b'{"error":"too many requests"}')


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to do to the replies of matching requests, `count` times or until cleared."""

    # A shell pattern on the path behind /trade-api/v2: "/markets", "/markets*".
    path: str = "*"
    count: int | None = None
    latency: float = 0.0
    status: int = 0
    rate_limited: bool = False
    # The connection is cut in the middle of the body.
    cut: bool = False
    # The body is not JSON.
    malformed: bool = False
    unknown_field: bool = False
    # A ticker whose prices make no sense, and one whose bid is above its ask.
    bad_market: str = ""
    crossed_market: str = ""
    # A word for the status of one ticker that nobody knows.
    unknown_word: str = ""
    bad_word_market: str = ""
    # Numbers as they were until 2026: whole cents and contracts, under names without a unit.
    old_shape: bool = False
    # The next page's cursor is the one that was asked for.
    stuck_cursor: bool = False
    # The items of the page before, and the cursor going on; a first page has none before it.
    duplicate_page: bool = False
    # The items in another order.
    shuffled: bool = False

    @property
    def edits(self) -> bool:
        """Whether it rewrites the items or the cursor of a reply."""
        named = (self.bad_market, self.crossed_market, self.bad_word_market)
        moved = (self.stuck_cursor, self.duplicate_page, self.shuffled)
        return any((*named, *moved, self.unknown_field, self.old_shape))


class Asked(NamedTuple):
    """A request's path and query, as far as faults care."""

    path: str
    query: Mapping[str, Sequence[str]]

    @property
    def cursor(self) -> str:
        return self.query.get("cursor", ("",))[-1]

    @property
    def listing(self) -> str:
        """What its pages have in common."""
        return f"{self.path}?{sorted((k, v) for k, v in self.query.items() if k != 'cursor')}"


class Faults:
    def __init__(self) -> None:
        self.active: list[Fault] = []
        # The newest page of each listing, while a fault may want it.
        self._pages: dict[str, bytes] = {}

    def add(self, body: bytes) -> None:
        """Raises msgspec.ValidationError or DecodeError on what is not a fault."""
        self.active.append(msgspec.json.decode(body, type=Fault))

    def clear(self) -> None:
        self.active = []

    def take(self, asked: Asked) -> list[Fault]:
        """The faults of a request, counted down."""
        found = [
            fault
            for fault in self.active
            if fnmatchcase(asked.path, fault.path)
            and (not fault.duplicate_page or (asked.cursor and asked.listing in self._pages))
        ]
        for fault in found:
            if fault.count is not None:
                fault.count -= 1
        self.active = [f for f in self.active if f.count is None or f.count > 0]
        return found

    def spoil(self, reply: Reply, found: list[Fault], asked: Asked) -> Reply:
        """The reply after every fault has had its way."""
        before = self._remember(reply, asked)
        for fault in found:
            if fault.rate_limited:
                return TOO_MANY
            if fault.status:
                return Reply(fault.status, error_body("simulated", "a fault was asked for"))
            if reply.status == 200:
                reply = Reply(200, spoilt_body(reply.body, fault, cursor=asked.cursor, last=before))
        return reply

    def _remember(self, reply: Reply, asked: Asked) -> bytes:
        """Keep a page for the next one; returns the page before this one."""
        before = self._pages.get(asked.listing, reply.body)
        if not any(fault.duplicate_page for fault in self.active):
            self._pages = {}
        elif reply.status == 200:
            self._pages[asked.listing] = reply.body
        return before


def spoilt_body(body: bytes, fault: Fault, *, cursor: str, last: bytes) -> bytes:
    if fault.edits:
        content = msgspec.json.decode(body)
        if fault.duplicate_page:
            content = msgspec.json.decode(last) | {"cursor": content["cursor"]}
        for market in markets_in(content):
            spoil_market(market, fault)
        if fault.unknown_field:
            content["simulated_novelty"] = {"since": "tomorrow"}
        if fault.stuck_cursor and cursor:
            content["cursor"] = cursor
        if fault.shuffled:
            content = {name: shuffled(value) for name, value in content.items()}
        body = msgspec.json.encode(aged(content) if fault.old_shape else content)
    return body[: len(body) // 2] + b"<html>" if fault.malformed else body


def shuffled(items: Any) -> Any:
    """Neither the order of before nor its reverse: the odd ones first, from behind."""
    return items[1::2][::-1] + items[::2] if isinstance(items, list) else items


def aged(content: Any) -> Any:
    """Every amount of dollars as whole cents, every count whole, and their names without units."""
    if isinstance(content, list):
        return [aged(part) for part in content]
    if not isinstance(content, dict):
        return content
    return dict(aged_field(name, value) for name, value in content.items())


def aged_field(name: str, value: Any) -> tuple[str, Any]:
    for unit, factor in (("_dollars", 100), ("_fp", 1)):
        if name.endswith(unit):
            return name.removesuffix(unit), whole(value, factor)
    return name, aged(value)


def whole(value: Any, factor: int) -> Any:
    if isinstance(value, str):
        return round(float(value) * factor)
    if isinstance(value, list):
        # The levels of a book: a price and a count.
        return [[whole(price, 100), whole(count, 1)] for price, count in value]
    return aged(value)


def markets_in(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if "yes_bid_dollars" in content:
            yield content
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from markets_in(part)


def spoil_market(market: dict[str, Any], fault: Fault) -> None:
    if fault.unknown_field:
        market["simulated_novelty"] = ["a field", "of tomorrow"]
    if market["ticker"] == fault.bad_market:
        market["yes_bid_dollars"] = "a lot"
    if market["ticker"] == fault.bad_word_market:
        market["status"] = fault.unknown_word
    if market["ticker"] == fault.crossed_market:
        crossed = {"yes_bid_dollars": "0.6000", "yes_ask_dollars": "0.4000"}
        market |= crossed | {"yes_bid_size_fp": "10.00", "yes_ask_size_fp": "10.00"}
        market |= {"no_bid_dollars": "0.6000", "no_ask_dollars": "0.4000"}
