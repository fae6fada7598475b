"""Types of single fields, narrowed to what the contract allows and PostgreSQL can store.

Numbers are decimal strings and are matched against a pattern first: `Decimal` itself would also
accept NaN, Infinity, spaces, underscores and exponents.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, NamedTuple, Optional, TypeVar, get_args

import msgspec
from msgspec import Meta, Raw, Struct

T = TypeVar("T")

# The characters that a segment of an address carries as they are, but for the comma, which stands
# between the tickers of a query. The contract has capital letters, digits, dots and dashes.
TICKER = r"[A-Za-z0-9][A-Za-z0-9._~:@!$&()*+;=-]*"
LONGEST_TICKER = 200
is_ticker = re.compile(TICKER).fullmatch
# Texts whose characters are checked later.
TickerText = Annotated[str, Meta(min_length=1, max_length=LONGEST_TICKER)]
Ticker = Annotated[TickerText, Meta(pattern=rf"^{TICKER}\Z")]
Word = Annotated[str, Meta(max_length=50)]
Label = Annotated[str, Meta(max_length=100)]
Instant = Annotated[datetime, Meta(tz=True)]
Integer = Annotated[int, Meta(ge=0, le=2**31 - 1)]
# A list that may be null in the JSON, of which only msgspec needs to know: `settle_unknowns` puts
# the field's default in its place.
if TYPE_CHECKING:
    NullableList = Annotated[T, "may be null"]
else:
    NullableList = Optional


def fits_ticker(text: str) -> bool:
    """Return True for a ticker that is no longer than the record can hold."""
    return len(text) <= LONGEST_TICKER and is_ticker(text) is not None


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


# The digits before the point and after it that a column without a fixed scale must hold: those of
# any strike. `exact_field` of the models has the same limits.
EXACT_DIGITS = 18
EXACT_PLACES = 20


def check_range(name: str, number: Decimal | None, *, minimum: int = -(10**EXACT_DIGITS)) -> None:
    """Raise ValueError for a number that its column could not keep to the digit."""
    if number is None:
        return
    fits = number.is_finite() and number.adjusted() < EXACT_DIGITS and number >= minimum
    if not fits or int(number.as_tuple().exponent) < -EXACT_PLACES:
        raise ValueError(f"{name} is out of range")


_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000").search


def check_no_nul(text: bytes) -> None:
    """Raise for JSON with a NUL character, which PostgreSQL stores neither as text nor as JSON."""
    if b"\\u0000" in text and _ESCAPED_NUL(text):
        raise msgspec.ValidationError("text contains a NUL character")


# The exchange is younger than this. Who has no instant to tell sends the first one that his
# programming language knows, such as the year 1 or 1970, or the last one, the year 9999. Up to
# the latest instant here any timer can be added without leaving what Python counts.
EARLIEST = datetime(2018, 1, 1, tzinfo=UTC)
LATEST = datetime(9900, 1, 1, tzinfo=UTC)


def read_instant(text: str) -> datetime | None:
    """Return the instant that a text of a stored payload names; None for blanks, zero times and
    whatever else is no instant.
    """
    try:
        at = msgspec.convert(text, Instant)
    except msgspec.ValidationError:
        return None
    return at if at >= EARLIEST else None


class _FieldRule(NamedTuple):
    name: str
    key: str  # in the JSON
    nullable: bool
    is_text: bool
    default: object
    nested: type[Struct] | None


@lru_cache(maxsize=100)
def _rules(kind: type[Struct]) -> tuple[_FieldRule, ...]:
    return tuple(map(_rule, msgspec.structs.fields(kind)))


def _rule(info: msgspec.structs.FieldInfo) -> _FieldRule:
    kinds = get_args(info.type) if type(None) in get_args(info.type) else (info.type,)
    bare = [get_args(kind)[0] if hasattr(kind, "__metadata__") else kind for kind in kinds]
    nested = [kind for kind in bare if isinstance(kind, type) and issubclass(kind, Struct)]
    return _FieldRule(
        name=info.name,
        key=info.encode_name,
        nullable=type(None) in kinds,
        is_text=str in bare,
        default=None if info.default is msgspec.NODEFAULT else info.default,
        nested=nested[0] if nested else None,
    )


def settle_unknowns(payload: Struct) -> None:
    """Replace what stands for an unknown value: a null by its field's default, and an instant
    outside the exchange's time by None.

    Raises ValueError for such an instant where the field cannot do without one.
    """
    for rule in _rules(type(payload)):
        value = getattr(payload, rule.name)
        if value is None and rule.default is not None:
            msgspec.structs.force_setattr(payload, rule.name, rule.default)
        elif isinstance(value, datetime) and not EARLIEST <= value < LATEST:
            if not rule.nullable:
                raise ValueError(f"{rule.key} is not an instant of the exchange's time")
            msgspec.structs.force_setattr(payload, rule.name, None)


def _blanks_as_nulls(raw: bytes | Raw, kind: type[Struct]) -> bytes | None:
    """Return JSON with null for each blank text that stands where a number or an instant may be
    null, or None if there is none.
    """
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Raw])
    except msgspec.ValidationError:
        return None
    blanks: dict[str, Raw] = {}
    for rule in _rules(kind):
        text = fields.get(rule.key)
        if text is None:
            continue
        if rule.nested and (mended := _blanks_as_nulls(text, rule.nested)):
            blanks[rule.key] = Raw(mended)
        elif rule.nullable and not rule.is_text and bytes(text) == b'""':
            blanks[rule.key] = Raw(b"null")
    return msgspec.json.encode(fields | blanks) if blanks else None


def decoder(kind: type[T]) -> Callable[[bytes | Raw], T]:
    """Return a function that decodes JSON to `kind` and raises nothing but `MsgspecError`.

    A blank text where a number or an instant may be null is read as null.
    """
    decode = msgspec.json.Decoder(kind, dec_hook=_decode_number).decode

    def decode_without_blanks(raw: bytes | Raw) -> T:
        try:
            return decode(raw)
        except msgspec.ValidationError:
            mended = None
            if isinstance(kind, type) and issubclass(kind, Struct):
                mended = _blanks_as_nulls(raw, kind)
            if mended is None:
                raise
        return decode(mended)

    def read(raw: bytes | Raw) -> T:
        try:
            return decode_without_blanks(raw)
        except (UnicodeDecodeError, RecursionError) as fault:
            raise msgspec.DecodeError(f"unreadable: {type(fault).__name__}") from None

    return read
