"""Bodies of replies, parsed; an item that is no JSON costs itself alone."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from markets.kalshi import replies, splitting
from markets.kalshi.errors import Unintelligible

NO_JSON = msgspec.DecodeError("unreadable: no valid JSON")

T = TypeVar("T")


def parse(read: Callable[[bytes], T], body: bytes) -> T:
    try:
        return read(body)
    except msgspec.MsgspecError as fault:
        raise Unintelligible(str(fault), body=body) from None


def parse_single(body: bytes, key: str) -> msgspec.Raw:
    """Return the one item under `key`, which may be no JSON itself."""
    try:
        return replies.single_item(body, key)
    except msgspec.ValidationError as fault:
        raise Unintelligible(str(fault), body=body) from None
    except msgspec.DecodeError as fault:
        item = parse(lambda body: splitting.member(body, key), body)
        if item is None:
            raise Unintelligible(str(fault), body=body) from None
        return item


def parse_list(read: Callable[[bytes], T], body: bytes, *, key: str) -> tuple[T, list[msgspec.Raw]]:
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
        return parse(read, readable), faulty
