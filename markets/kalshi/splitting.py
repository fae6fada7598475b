"""Splits JSON that is invalid as a whole, so that one faulty item costs only itself.

A lone surrogate, a raw control character or a wrong escape in one text makes a whole reply
unreadable. Here only quotes and brackets count, so the fault stays inside its item, which is then
refused on its own. A page of a thousand markets takes about a tenth of a second.

Text that ends too early raises `DecodeError`: what is missing may be items.
"""

import re
from collections.abc import Iterator

import msgspec
from msgspec import Raw

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{},:]', re.DOTALL)


def set_apart(text: bytes, key: str) -> tuple[bytes, list[Raw]]:
    """Return a JSON object whose list under `key` has only readable items, and the other items.

    Raises `DecodeError` where there is no such list.
    """
    rest, items = split_off(text, key)
    if not items:
        raise msgspec.DecodeError("unreadable, and not because of an item")
    readable = [bytes(item) for item in items if _is_readable(item)]
    faulty = [item for item in items if not _is_readable(item)]
    members = [bytes(rest)[1:-1], b'"%b":[%b]' % (key.encode(), b",".join(readable))]
    return b"{%b}" % b",".join(filter(None, members)), faulty


def split_off(text: bytes | Raw, key: str) -> tuple[Raw, list[Raw]]:
    """Return a JSON object without its list under `key`, and the items of that list."""
    items: list[Raw] = []
    rest = []
    for name, value in _split(bytes(text)):
        if _text(name) == key and value.startswith(b"["):
            items += (Raw(item) for _, item in _split(value))
        else:
            rest.append(b"%b:%b" % (name, value))
    return Raw(b"{%b}" % b",".join(rest)), items


def member(text: bytes | Raw, key: str) -> Raw | None:
    """Return the value under `key` of a JSON object, readable or not."""
    values = (Raw(value) for name, value in _split(bytes(text)) if _text(name) == key)
    return next(values, None)


def text_member(text: bytes | Raw, key: str) -> str:
    """Return the text under `key` of a JSON object, "" where there is none that can be read."""
    value = member(text, key)
    return "" if value is None else _text(value)


def _is_readable(item: Raw) -> bool:
    try:
        msgspec.json.decode(item, type=Raw)
    except msgspec.DecodeError:
        return False
    return True


def _text(value: bytes | Raw) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _split(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each member of an object with its key, or each item of a list with an empty one."""
    depth = start = 0
    key = b""
    if not text.lstrip().startswith((b"{", b"[")):
        raise msgspec.DecodeError("unreadable: neither an object nor a list")
    for token in _TOKENS.finditer(text):
        sign = token[0]
        if sign in (b"[", b"{"):
            depth += 1
            start = token.end() if depth == 1 else start
        elif sign in (b"]", b"}"):
            depth -= 1
        if depth == 1 and sign == b":":
            key, start = text[start : token.start()].strip(), token.end()
        elif depth == 0 or (depth == 1 and sign == b","):
            value = text[start : token.start()].strip()
            if value:
                yield key, value
            key, start = b"", token.end()
        if depth == 0:
            return
    raise msgspec.DecodeError("unreadable: the text ends too early")
