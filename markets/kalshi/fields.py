"""What one field of a payload may hold: as the contract writes it, and as a database can keep it.

Numbers are decimal strings. Decimal itself would also take NaN, Infinity, spaces, underscores
and exponents.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

T = TypeVar("T")

Ticker = Annotated[str, Meta(min_length=1, max_length=200)]
Word = Annotated[str, Meta(max_length=50)]
Label = Annotated[str, Meta(max_length=100)]
Instant = Annotated[datetime, Meta(tz=True)]
Integer = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Price(Decimal):
    """0 to 1 dollar in at most four decimals."""

    __slots__ = ()


class Count(Decimal):
    """Contracts, zero or more, in at most two decimals and sixteen digits before them."""

    __slots__ = ()


class SettlementValue(Decimal):
    """0 to 1 dollar in at most six decimals."""

    __slots__ = ()


class Numbers(dict[str, Decimal]):
    """Numbers by their text: parsing is five times the cost of looking up, and texts repeat."""

    def __init__(self, kind: type[Decimal], *, pattern: str) -> None:
        super().__init__()
        self.kind = kind
        self.matches = re.compile(pattern, re.ASCII).fullmatch

    def __missing__(self, text: str) -> Decimal:
        if self.matches(text) is None:
            raise ValueError(f"{text[:40]!r} is no {self.kind.__name__}")
        if len(self) >= NUMBERS_KEPT:
            self.clear()
        number = self[text] = self.kind(text)
        return number


# About 60 MB at the most, reached by the counts of a whole universe.
NUMBERS_KEPT = 250_000
PRICES = Numbers(Price, pattern=r"0(?:\.\d{1,4})?|1(?:\.0{1,4})?")
COUNTS = Numbers(Count, pattern=r"(?:0|[1-9]\d{0,15})(?:\.\d{1,2})?")
VALUES = Numbers(SettlementValue, pattern=r"0(?:\.\d{1,6})?|1(?:\.0{1,6})?")
BY_KIND: dict[type, Numbers] = {Price: PRICES, Count: COUNTS, SettlementValue: VALUES}


def _number(kind: type, text: object) -> Decimal:
    if not isinstance(text, str):
        raise TypeError(f"{kind.__name__} is written as a string")
    return BY_KIND[kind][text]


def refuse_outside(name: str, number: Decimal | None, *, digits: int, least: int) -> None:
    """Refuse what a numeric column with this many digits before the point cannot hold."""
    if number is None:
        return
    fits = number.is_finite() and number.adjusted() < digits and number >= least
    # PostgreSQL refuses to read an absurdly small number rather than round it.
    if not fits or int(number.as_tuple().exponent) < -30:
        raise ValueError(f"{name} is out of range")


_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search


def refuse_nul(text: bytes) -> None:
    """PostgreSQL stores neither text nor JSON with a NUL in it."""
    if b"\\u0000" in text and _ESCAPED_NUL(text):
        raise msgspec.ValidationError("text contains a NUL character")


def refuse_odd_instants(payload: Struct) -> None:
    for name in payload.__struct_fields__:
        value = getattr(payload, name)
        if isinstance(value, datetime) and not MIN_INSTANT <= value <= MAX_INSTANT:
            raise ValueError(f"{name} is out of range")


MIN_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
MAX_INSTANT = datetime(9999, 12, 31, tzinfo=UTC)


def blank_for_null(payload: Struct, *names: str) -> None:
    for name in names:
        if getattr(payload, name) is None:
            msgspec.structs.force_setattr(payload, name, "")


def decoder(kind: type[T]) -> Callable[[bytes | Raw], T]:
    decode = msgspec.json.Decoder(kind, dec_hook=_number).decode

    def read(raw: bytes | Raw) -> T:
        try:
            return decode(raw)
        except (UnicodeDecodeError, RecursionError) as fault:
            raise msgspec.DecodeError(f"unreadable: {type(fault).__name__}") from None

    return read
