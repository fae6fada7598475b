"""Values of a column: texts, and numbers as whole parts of their unit."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_insights.arrays import Bools, Floats, Ints, np
from markets.importing.parsed_rows import MISSING

# Words that stand for no value, in lower case.
NO_VALUE = pa.array(["", "nan", "nat", "none", "null", "na", "n/a", "<na>"])
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
# Numbers of a float that was computed, such as 0.30000000000000004, differ from what they mean by
# less than this share of a unit or of themselves.
ROUNDING, RELATIVE_ROUNDING = 1e-6, 4e-16
LARGEST = 2.0**62  # larger numbers are read as this one


class Numbers(NamedTuple):
    """The numbers of a column; NaN where there is none or where it is malformed."""

    values: Floats
    malformed: Bools


class WholeParts(NamedTuple):
    """Numbers in whole parts of their unit; MISSING where there is none, and where it is faulty."""

    values: Ints
    malformed: Bools
    too_fine: Bools  # numbers that are no whole parts
    negative: Bools


def texts(values: pa.Array) -> pa.Array:
    """Return values as texts without blanks around them; null where they stand for no value."""
    plain = values if pa.types.is_string(values.type) else values.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(plain)
    return pc.if_else(pc.is_in(pc.utf8_lower(trimmed), NO_VALUE), None, trimmed)


def numbers(values: pa.Array) -> Numbers:
    """Read numbers; a double holds up to fifteen digits, more than any number here has."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        found = as_floats(values.cast(pa.float64(), safe=False))
        return Numbers(np.where(np.isinf(found), np.nan, found), np.isinf(found))
    if (plain := _plain_numbers(values)) is not None:
        return Numbers(plain, np.zeros(len(plain), bool))
    written = texts(values)
    is_number = pc.fill_null(pc.match_substring_regex(written, NUMBER), False)
    found = as_floats(pc.if_else(is_number, written, None).cast(pa.float64()))
    malformed = as_bools(pc.and_(pc.is_valid(written), pc.invert(is_number))) | np.isinf(found)
    return Numbers(np.where(malformed, np.nan, found), malformed)


def _plain_numbers(values: pa.Array) -> Floats | None:
    """Read texts that are numbers, all of them, in a tenth of the time; else return None."""
    if not pa.types.is_string(values.type):
        return None
    try:
        found = as_floats(values.cast(pa.float64()))
    except pa.ArrowInvalid:
        return None
    return found if np.isfinite(found).all() else None


def whole_parts(values: pa.Array, per_unit: int) -> WholeParts:
    """Read numbers in parts of which a unit has so many."""
    found, malformed = numbers(values)
    known = ~np.isnan(found)
    parts = np.where(known, np.clip(found, -LARGEST, LARGEST), 0.0) * per_unit
    whole = np.rint(parts)
    too_fine = np.abs(parts - whole) > ROUNDING + RELATIVE_ROUNDING * np.abs(parts)
    negative = ~too_fine & (whole < 0)
    fits = known & ~too_fine & ~negative
    integers = np.where(fits, np.minimum(whole, LARGEST), MISSING).astype(np.int64)
    return WholeParts(integers, malformed, too_fine, negative)


def codes(values: pa.Array, words: Mapping[str, int]) -> tuple[Ints, Bools]:
    """Return the code of each word, whatever its case; MISSING without one. The second array marks
    other words."""
    encoded = pc.dictionary_encode(pc.utf8_lower(texts(values)))
    known = [words.get(word, MISSING) for word in encoded.dictionary.to_pylist()]
    places = pc.fill_null(encoded.indices, len(known)).to_numpy(zero_copy_only=False)
    found = np.array([*known, MISSING], np.int64)[places]
    return found, (found == MISSING) & (places < len(known))


def as_floats(values: pa.Array) -> Floats:
    array: Floats = values.to_numpy(zero_copy_only=False)
    return array


def as_bools(values: pa.Array) -> Bools:
    array: Bools = values.to_numpy(zero_copy_only=False)
    return array
