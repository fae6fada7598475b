"""Misbehaviour on request: what a client must survive, switched on over HTTP or from a test."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

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
    # The next page's cursor is the one that was asked for.
    stuck_cursor: bool = False


class Faults:
    def __init__(self) -> None:
        self.active: list[Fault] = []

    def add(self, body: bytes) -> None:
        """Raises msgspec.ValidationError or DecodeError on what is not a fault."""
        self.active.append(msgspec.json.decode(body, type=Fault))

    def clear(self) -> None:
        self.active = []

    def take(self, path: str) -> list[Fault]:
        """The faults of a request, counted down."""
        found = [fault for fault in self.active if fnmatchcase(path, fault.path)]
        for fault in found:
            if fault.count is not None:
                fault.count -= 1
        self.active = [f for f in self.active if f.count is None or f.count > 0]
        return found


def spoilt(reply: Reply, found: list[Fault], *, cursor: str) -> Reply:
    """The reply after every fault has had its way; `cursor` is the request's."""
    for fault in found:
        if fault.rate_limited:
            return TOO_MANY
        if fault.status:
            body = error_body("simulated", "a fault was asked for")
            return Reply(fault.status, body)
        if reply.status == 200:
            reply = Reply(200, spoilt_body(reply.body, fault, cursor))
    return reply


def spoilt_body(body: bytes, fault: Fault, cursor: str) -> bytes:
    if fault.unknown_field or fault.bad_market or fault.crossed_market or fault.stuck_cursor:
        content = msgspec.json.decode(body)
        for market in markets_in(content):
            spoil_market(market, fault)
        if fault.unknown_field:
            content["simulated_novelty"] = {"since": "tomorrow"}
        if fault.stuck_cursor and cursor:
            content["cursor"] = cursor
        body = msgspec.json.encode(content)
    return body[: len(body) // 2] + b"<html>" if fault.malformed else body


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
    if market["ticker"] == fault.crossed_market:
        crossed = {"yes_bid_dollars": "0.6000", "yes_ask_dollars": "0.4000"}
        market |= crossed | {"yes_bid_size_fp": "10.00", "yes_ask_size_fp": "10.00"}
        market |= {"no_bid_dollars": "0.6000", "no_ask_dollars": "0.4000"}
