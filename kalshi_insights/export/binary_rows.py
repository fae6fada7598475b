"""Columns of numbers into PostgreSQL by binary COPY, without a Python object for each row.

A field is its length and its bytes; of NULL there is the length -1 alone. Rows are put together as
a matrix of bytes in which every value has room, and the room of NULLs is left out at the end.
"""

from collections.abc import Mapping
from typing import NamedTuple

from django.db import connection

from kalshi_insights.arrays import Array, Bools, Ints, np

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
END = b"\xff\xff"
LENGTH = 4  # bytes before each field
# PostgreSQL counts binary instants from 2000 on.
YEAR_2000 = 946_684_800 * 1_000_000
# Numbers are sent in digits of base 10,000.
BASE = 10_000


class BinaryField(NamedTuple):
    """One column: a row of bytes for each value, and which of them are not NULL (None: all)."""

    content: Array
    known: Bools | None = None


def integers(values: Ints, width: int, known: Bools | None = None) -> BinaryField:
    """Whole numbers of so many bytes: 2 for smallint, 4 for integer, 8 for bigint."""
    return BinaryField(_bytes(values.astype(f">i{width}")), known)


def instants(microseconds: Ints, known: Bools | None = None) -> BinaryField:
    """Instants in microseconds since 1970, for timestamptz."""
    return integers(microseconds - YEAR_2000, 8, known)


def decimals(values: Ints, places: int, known: Bools) -> BinaryField:
    """Numbers in parts of 10 ** -places (at most 4 places and never negative), for numeric."""
    per_unit = 10**places
    whole, rest = np.divmod(np.where(known, values, 0), per_unit)
    digits = [rest * (BASE // per_unit)]
    most = int(whole.max(initial=0))
    while most or len(digits) == 1:
        whole, digit = np.divmod(whole, BASE)
        digits.insert(0, digit)
        most //= BASE
    head = (len(digits), len(digits) - 2, 0, places)  # of the first digit the power of the base
    parts = [*(np.full(len(values), each) for each in head), *digits]
    return BinaryField(_bytes(np.stack(parts, axis=1).astype(">i2")), known)


def texts(text: str, rows: int) -> BinaryField:
    """The same text in every row."""
    return BinaryField(np.tile(np.frombuffer(text.encode(), np.uint8), (rows, 1)))


def flags(values: Bools) -> BinaryField:
    return BinaryField(_bytes(values.astype(np.uint8)))


def _bytes(values: Array) -> Array:
    rows = len(values)
    return np.ascontiguousarray(values).view(np.uint8).reshape(rows, -1) if rows else values


def encoded(fields: Mapping[str, BinaryField]) -> bytes:
    """Return rows as binary COPY has them, without what stands before and after them."""
    rows = len(next(iter(fields.values())).content)
    widths = [LENGTH + field.content.shape[1] for field in fields.values()]
    matrix = np.empty((rows, 2 + sum(widths)), np.uint8)
    kept = np.ones(matrix.shape, np.bool_)
    matrix[:, :2] = np.frombuffer(len(fields).to_bytes(2), np.uint8)
    first = 2
    for field, width in zip(fields.values(), widths, strict=True):
        _place(matrix[:, first : first + width], kept[:, first : first + width], field)
        first += width
    return (matrix if kept.all() else matrix[kept]).tobytes()


def _place(matrix: Array, kept: Bools, field: BinaryField) -> None:
    """Write a field into its part of a matrix of bytes, and mark what is not of it."""
    length = field.content.shape[1]
    matrix[:, :LENGTH] = np.frombuffer(length.to_bytes(LENGTH), np.uint8)
    matrix[:, LENGTH:] = field.content
    if field.known is not None:
        matrix[~field.known, :LENGTH] = 0xFF
        kept[:, LENGTH:] = field.known[:, np.newaxis]


def copy_fields(table: str, fields: Mapping[str, BinaryField]) -> None:
    """Append rows to a table; the fields go by the names of its columns."""
    names = ", ".join(f'"{name}"' for name in fields)
    statement = f"COPY {table} ({names}) FROM STDIN (FORMAT binary)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(SIGNATURE)
        copy.write(encoded(fields))
        copy.write(END)
