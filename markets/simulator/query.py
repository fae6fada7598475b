"""Request parameters and the errors for invalid ones."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

LARGEST = 2**53
WHOLE = re.compile(r"-?[0-9]{1,18}")


class Refusal(Exception):
    """A request that is refused; it becomes an error reply."""

    def __init__(self, status: int, code: str, message: str, *, details: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(code, message, details=details)


def error_body(code: str, message: str, *, details: str = "") -> bytes:
    return msgspec.json.encode({"code": code, "message": message, "details": details})


def malformed(name: str, why: str) -> Refusal:
    return Refusal(400, "invalid_parameters", f"invalid {name}: {why}", details=name)


def unknown(kind: str, ticker: str) -> Refusal:
    return Refusal(404, "not_found", f"{kind} not found: {ticker}", details=ticker)


class Query:
    def __init__(self, raw: Mapping[str, Sequence[str]]) -> None:
        self._raw = raw

    def text(self, name: str) -> str:
        return self._raw.get(name, ("",))[-1]

    def words(self, name: str) -> list[str]:
        """Read a list that is separated by commas or given by repeating the parameter."""
        joined = ",".join(self._raw.get(name, ()))
        return [word for word in joined.split(",") if word]

    def repeated(self, name: str) -> list[str]:
        """Read a list of repeated parameters, in which a comma is part of a value."""
        return [value for value in self._raw.get(name, ()) if value]

    def integer(self, name: str, *, low: int = 0, high: int = LARGEST) -> int | None:
        text = self.text(name)
        if not text:
            return None
        if not WHOLE.fullmatch(text):
            raise malformed(name, "not a whole number")
        if not low <= int(text) <= high:
            raise malformed(name, f"not within {low} and {high}")
        return int(text)

    def required(self, name: str, *, low: int = 0, high: int = LARGEST) -> int:
        value = self.integer(name, low=low, high=high)
        if value is None:
            raise malformed(name, "missing")
        return value

    def limit(self, default: int, most: int) -> int:
        return self.integer("limit", low=1, high=most) or default

    def flag(self, name: str) -> bool | None:
        text = self.text(name).lower()
        if text not in {"", "true", "false"}:
            raise malformed(name, "neither true nor false")
        return None if not text else text == "true"

    def choice(self, name: str, allowed: Collection[str]) -> str:
        text = self.text(name)
        if text and text not in allowed:
            raise malformed(name, "not one of " + ", ".join(sorted(allowed)))
        return text

    def cursor(self) -> str:
        text = self.text("cursor")
        try:
            return base64.b64decode(text.encode(), altchars=b"-_", validate=True).decode()
        except (binascii.Error, ValueError):
            raise malformed("cursor", "not a cursor of this exchange") from None


def encode_cursor(cursor: str) -> str:
    return base64.urlsafe_b64encode(cursor.encode()).decode()
