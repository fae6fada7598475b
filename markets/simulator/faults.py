"""Fault injection: errors that a client must survive, switched on over HTTP or from a test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from markets.simulator.exchange import Reply
from markets.simulator.query import error_body

TOO_MANY = Reply(429, b'{"error":"too many requests"}')


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fault in the replies to matching requests, `count` times or until cleared."""

    # A shell pattern for the path after /trade-api/v2: "/markets", "/markets*".
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
    # The ticker of a market with an invalid price, and of one with a crossed book.
    bad_market: str = ""
    crossed_market: str = ""
    # An unknown status word, and the ticker of the market that gets it.
    unknown_word: str = ""
    bad_word_market: str = ""
    # Numbers have their shape of before 2026: whole cents and contracts, under names without units.
    old_shape: bool = False
    # The cursor of the next page equals the one of the request.
    stuck_cursor: bool = False
    # The page repeats the items of the page before, while its cursor moves on.
    duplicate_page: bool = False
    # The items come in another order.
    shuffled: bool = False

    @property
    def edits_content(self) -> bool:
        """True if the fault changes the items or the cursor of a reply."""
        named = (self.bad_market, self.crossed_market, self.bad_word_market)
        moved = (self.stuck_cursor, self.duplicate_page, self.shuffled)
        return any((*named, *moved, self.unknown_field, self.old_shape))


class FaultTarget(NamedTuple):
    """The path and the query of a request, which faults are matched with."""

    path: str
    query: Mapping[str, Sequence[str]]

    @property
    def cursor(self) -> str:
        return self.query.get("cursor", ("",))[-1]

    @property
    def listing(self) -> str:
        """A key that all pages of one listing share."""
        return f"{self.path}?{sorted((k, v) for k, v in self.query.items() if k != 'cursor')}"


class Faults:
    def __init__(self) -> None:
        self.active: list[Fault] = []
        # The newest page of each listing, kept while a fault may repeat it.
        self._pages: dict[str, bytes] = {}

    def add(self, body: bytes) -> None:
        """Add a fault; raises msgspec.ValidationError or DecodeError if the body is none."""
        self.active.append(msgspec.json.decode(body, type=Fault))

    def clear(self) -> None:
        self.active = []

    def matching(self, target: FaultTarget) -> list[Fault]:
        """List the faults for a request and count them down."""
        found = [
            fault
            for fault in self.active
            if fnmatchcase(target.path, fault.path)
            and (not fault.duplicate_page or (target.cursor and target.listing in self._pages))
        ]
        for fault in found:
            if fault.count is not None:
                fault.count -= 1
        self.active = [f for f in self.active if f.count is None or f.count > 0]
        return found

    def apply(self, reply: Reply, found: list[Fault], target: FaultTarget) -> Reply:
        """Apply faults to a reply."""
        before = self._keep_page(reply, target)
        for fault in found:
            if fault.rate_limited:
                return TOO_MANY
            if fault.status:
                return Reply(fault.status, error_body("simulated", "a simulated fault"))
            if reply.status == 200:
                reply = Reply(
                    200, corrupt_body(reply.body, fault, cursor=target.cursor, last=before)
                )
        return reply

    def _keep_page(self, reply: Reply, target: FaultTarget) -> bytes:
        """Keep a page for the next request; returns the page before it."""
        before = self._pages.get(target.listing, reply.body)
        if not any(fault.duplicate_page for fault in self.active):
            self._pages = {}
        elif reply.status == 200:
            self._pages[target.listing] = reply.body
        return before


def corrupt_body(body: bytes, fault: Fault, *, cursor: str, last: bytes) -> bytes:
    if fault.edits_content:
        content = msgspec.json.decode(body)
        if fault.duplicate_page:
            content = msgspec.json.decode(last) | {"cursor": content["cursor"]}
        for market in markets_in(content):
            corrupt_market(market, fault)
        if fault.unknown_field:
            content["simulated_novelty"] = {"since": "tomorrow"}
        if fault.stuck_cursor and cursor:
            content["cursor"] = cursor
        if fault.shuffled:
            content = {name: shuffled(value) for name, value in content.items()}
        body = msgspec.json.encode(in_old_shape(content) if fault.old_shape else content)
    return body[: len(body) // 2] + b"<html>" if fault.malformed else body


def shuffled(items: Any) -> Any:
    """Reorder items into neither their order nor its reverse: the odd ones first, backwards."""
    return items[1::2][::-1] + items[::2] if isinstance(items, list) else items


def in_old_shape(content: Any) -> Any:
    """Write dollars as whole cents and counts as whole numbers, under names without units."""
    if isinstance(content, list):
        return [in_old_shape(part) for part in content]
    if not isinstance(content, dict):
        return content
    return dict(old_shape_field(name, value) for name, value in content.items())


def old_shape_field(name: str, value: Any) -> tuple[str, Any]:
    for unit, factor in (("_dollars", 100), ("_fp", 1)):
        if name.endswith(unit):
            return name.removesuffix(unit), whole_number(value, factor)
    return name, in_old_shape(value)


def whole_number(value: Any, factor: int) -> Any:
    if isinstance(value, str):
        return round(float(value) * factor)
    if isinstance(value, list):
        # These are the levels of an order book, each with a price and a count.
        return [[whole_number(price, 100), whole_number(count, 1)] for price, count in value]
    return in_old_shape(value)


def markets_in(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        if "yes_bid_dollars" in content:
            yield content
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from markets_in(part)


def corrupt_market(market: dict[str, Any], fault: Fault) -> None:
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
