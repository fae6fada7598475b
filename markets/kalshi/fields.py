"""Types of single fields, narrowed to what the contract allows and PostgreSQL can store.

Numbers are decimal strings and are matched against a pattern first: `Decimal` itself would also
accept NaN, Infinity, spaces, underscores and exponents.
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
    """A price from 0 to 1 dollar with at most four decimals."""

    __slots__ = ()


class Count(Decimal):
    """A number of contracts with at most sixteen digits before the point and two after it."""

    __slots__ = ()


class SettlementValue(Decimal):
    """A settlement value from 0 to 1 dollar with at most six decimals."""

    __slots__ = ()


class NumberCache(dict[str, Decimal]):
    """Parsed numbers by their text.

    Texts repeat, and a look-up costs a fifth of parsing. A text that is not written as the
    contract writes it raises ValueError.
    """

    def __init__(self, kind: type[Decimal], *, pattern: str) -> None:
        super().__init__()
        self.kind = kind
        self.matches = re.compile(pattern, re.ASCII).fullmatch

    def __missing__(self, text: str) -> Decimal:
        if self.matches(text) is None:
            raise ValueError(f"{text[:40]!r} is not a {self.kind.__name__}")
        if len(self) >= CACHE_SIZE:
            self.clear()
        number = self[text] = self.kind(text)
        return number


# The counts of the whole universe fill a cache of this size, which then takes about 60 MB.
CACHE_SIZE = 250_000
PRICES = NumberCache(Price, pattern=r"0(?:\.\d{1,4})?|1(?:\.0{1,4})?")
COUNTS = NumberCache(Count, pattern=r"(?:0|[1-9]\d{0,15})(?:\.\d{1,2})?")
SETTLEMENT_VALUES = NumberCache(SettlementValue, pattern=r"0(?:\.\d{1,6})?|1(?:\.0{1,6})?")
CACHES: dict[type, NumberCache] = {
    Price: PRICES,
    Count: COUNTS,
    SettlementValue: SETTLEMENT_VALUES,
}


def _decode_number(kind: type, text: object) -> Decimal:
    if not isinstance(text, str):
        raise TypeError(f"{kind.__name__} must be written as a string")
    return CACHES[kind][text]


def check_range(name: str, number: Decimal | None, *, integer_digits: int, minimum: int) -> None:
    """Raise ValueError unless a numeric column with so many digits before the point can hold it."""
    if number is None:
        return
    fits = number.is_finite() and number.adjusted() < integer_digits and number >= minimum
    # PostgreSQL raises an error for an extremely small number instead of rounding it.
    if not fits or int(number.as_tuple().exponent) < -30:
        raise ValueError(f"{name} is out of range")


_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search


def check_no_nul(text: bytes) -> None:
    """Raise for JSON with a NUL character, which PostgreSQL stores neither as text nor as JSON."""
    if b"\\u0000" in text and _ESCAPED_NUL(text):
        raise msgspec.ValidationError("text contains a NUL character")


def check_instants(payload: Struct) -> None:
    """Raise ValueError for an instant that lies outside the years 1 to 9999 in UTC."""
    for name in payload.__struct_fields__:
        value = getattr(payload, name)
        if isinstance(value, datetime) and not MIN_INSTANT <= value <= MAX_INSTANT:
            raise ValueError(f"{name} is out of range")


MIN_INSTANT = datetime(1, 1, 1, tzinfo=UTC)
MAX_INSTANT = datetime(9999, 12, 31, tzinfo=UTC)


def replace_nulls_with_blanks(payload: Struct, *names: str) -> None:
    for name in names:
        if getattr(payload, name) is None:
            msgspec.structs.force_setattr(payload, name, "")


def decoder(kind: type[T]) -> Callable[[bytes | Raw], T]:
    """Return a function that decodes JSON to `kind` and raises nothing but `MsgspecError`."""
    decode = msgspec.json.Decoder(kind, dec_hook=_decode_number).decode

    def read(raw: bytes | Raw) -> T:
        try:
            return decode(raw)
        except (UnicodeDecodeError, RecursionError) as fault:
            raise msgspec.DecodeError(f"unreadable: {type(fault).__name__}") from None

    return read
