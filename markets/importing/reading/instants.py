"""Instants of a column: ISO texts, timestamps, or seconds since 1970 and parts of them."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from kalshi_insights.arrays import Bools, Floats, Ints, np
from markets.importing.parsed_rows import MISSING
from markets.importing.reading.values import as_bools, numbers, texts
from markets.kalshi.fields import EARLIEST, LATEST
from markets.models.observations import microseconds

# The microseconds that each number has as the unit of a time.
UNITS: Mapping[str, float] = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
FORMATS = ("iso", *UNITS)
# The exchange's time from 2018 to the year 9900, in seconds, is below this; in smaller parts no
# time of this century is below the bound of the next larger one.
BELOW = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (math.inf, "ns"))
WHOLE = r"^[0-8]?\d{1,18}$"
NUMBER = r"^\d+(\.\d*)?$"
ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?"
ZONE = r"([Zz]|[+-]\d\d(:?\d\d)?)"


class Times(NamedTuple):
    """The times of a column in microseconds since 1970; MISSING where there is none.

    Those that are `local` have no zone, and count from 1970 by the clock of theirs.
    """

    values: Ints
    local: Bools
    malformed: Bools


def read_times(values: pa.Array, form: str) -> Times:
    """Read times written in one of `FORMATS`, or in any of them, which their length tells."""
    if pa.types.is_timestamp(values.type):
        return _timestamps(values)
    if pa.types.is_string(values.type):
        return _texts(texts(values), form)
    if form == "iso" or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return _malformed(values)
    return _numbers(values, form)


def out_of_range(times: Ints, *, latest: datetime = LATEST) -> Bools:
    """Mark times before the exchange existed and after `latest`."""
    outside: Bools = (times != MISSING) & (
        (times < microseconds(EARLIEST)) | (times > microseconds(latest))
    )
    return outside


def _timestamps(values: pa.Array) -> Times:
    known = as_bools(values.is_valid())
    kind = pa.timestamp("us", values.type.tz)
    found = values.cast(kind, safe=False).cast(pa.int64()).fill_null(MISSING).to_numpy()
    return Times(found, known & (values.type.tz is None), ~known & False)


def _malformed(values: pa.Array) -> Times:
    known = as_bools(values.is_valid())
    return Times(np.full(len(values), MISSING), known & False, known)


def _texts(values: pa.Array, form: str) -> Times:
    """Read texts; numbers among them are numbers unless the format is `iso`."""
    is_number = as_bools(pc.fill_null(pc.match_substring_regex(values, NUMBER), False))
    if form == "iso" or not is_number.any():
        return _iso(values) if form in ("iso", "") else _malformed(values)
    by_number = _numbers(pc.if_else(pa.array(is_number), values, None), form)
    rest = pc.if_else(pa.array(is_number), None, values)
    others = _iso(rest) if not form else _malformed(rest)
    return Times(
        np.where(is_number, by_number.values, others.values),
        others.local,
        np.where(is_number, by_number.malformed, others.malformed),
    )


def _numbers(values: pa.Array, form: str) -> Times:
    found, malformed = numbers(values)
    known = ~np.isnan(found)
    size = np.where(known, found, 0.0)
    parts = np.full(len(values), MISSING)
    for unit in UNITS:
        chosen = known & (form == unit if form else _has_unit(size, unit))
        if chosen.any():
            parts[chosen] = _in_microseconds(values, size, unit)[chosen]
    return Times(parts, known & False, malformed | (known & (parts == MISSING)))


def _has_unit(size: Floats, unit: str) -> Bools:
    bounds = [bound for bound, _ in BELOW]
    place = np.searchsorted(bounds, size, side="right")
    wanted = [name for _, name in BELOW].index(unit)
    chosen: Bools = np.minimum(place, len(BELOW) - 1) == wanted
    return chosen


def _in_microseconds(values: pa.Array, size: Floats, unit: str) -> Ints:
    if unit == "ns":  # doubles have no room for them
        return _whole_numbers(values) // 1_000
    fits = size < 2**62 / UNITS[unit]
    scaled: Ints = np.rint(np.where(fits, size, 2**62 / UNITS[unit]) * UNITS[unit]).astype(np.int64)
    return scaled


def _whole_numbers(values: pa.Array) -> Ints:
    if pa.types.is_string(values.type):
        is_whole = pc.fill_null(pc.match_substring_regex(values, WHOLE), False)
        values = pc.if_else(is_whole, values, None)
    found: Ints = values.cast(pa.int64(), safe=False).fill_null(MISSING).to_numpy()
    return found


def _iso(values: pa.Array) -> Times:
    zoned = as_bools(pc.fill_null(pc.match_substring_regex(values, f"{ISO}{ZONE}$"), False))
    local = as_bools(pc.fill_null(pc.match_substring_regex(values, f"{ISO}$"), False))
    found = np.full(len(values), MISSING)
    for chosen, zone in ((zoned, "UTC"), (local, None)):
        if chosen.any():
            times = _parse(pc.if_else(pa.array(chosen), values, None), zone)
            found = np.where(chosen, times, found)
    malformed = as_bools(values.is_valid()) & (found == MISSING)
    return Times(found, local & ~malformed, malformed)


def _parse(values: pa.Array, zone: str | None) -> Ints:
    """Parse texts of the right form; MISSING for days and hours that no calendar has."""
    kind = pa.timestamp("ns", zone)
    try:
        times = values.cast(kind)
    except pa.ArrowInvalid:
        times = pa.array([_parse_one(each, kind) for each in values], kind)
    found: Ints = (
        times.cast(pa.timestamp("us", zone), safe=False)
        .cast(pa.int64())
        .fill_null(MISSING)
        .to_numpy()
    )
    return found


def _parse_one(value: pa.Scalar, kind: pa.DataType) -> pa.Scalar:
    try:
        return value.cast(kind)
    except pa.ArrowInvalid:
        return pa.scalar(None, kind)
