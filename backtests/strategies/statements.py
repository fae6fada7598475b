"""The numbers that a signal may state: whole targets, and probabilities."""

from collections.abc import Callable
from typing import Any

from backtests.annotations.checks import named
from backtests.data.universe import CONTRACT, Bools, Floats, Ints
from backtests.rules.execution import HOLD
from kalshi_insights.arrays import np
from markets.fees import MOST_COUNT

MOST_CONTRACTS = MOST_COUNT // CONTRACT


class BadStatement(ValueError):
    """A signal stated what is no target or no probability; the message names its method."""


def targets(values: Any, stated_by: Callable[..., Any], *, rows: int) -> Ints:
    """Return one target for each row, as integers. Raises BadStatement."""
    array = _one_for_each_row(values, stated_by, rows)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array) | (array != np.trunc(array))
        _refuse(bad, array, stated_by, "whole and finite, or HOLD")
    is_hold = array == HOLD
    _refuse(
        ~is_hold & ((array > MOST_CONTRACTS) | (array < -MOST_CONTRACTS)), array, stated_by,
        f"at most {MOST_CONTRACTS:,} contracts",
    )  # fmt: skip
    whole: Ints = array.astype(np.int64, copy=False)
    return whole


def probabilities(values: Any, stated_by: Callable[..., Any], *, rows: int) -> Floats:
    """Return one probability for each row, NaN where none is stated. Raises BadStatement."""
    array = _one_for_each_row(values, stated_by, rows)
    _refuse((array < 0) | (array > 1), array, stated_by, "from 0 to 1, or NaN for none")
    floats: Floats = array.astype(np.float64, copy=False)
    return floats


def _one_for_each_row(values: Any, stated_by: Callable[..., Any], rows: int) -> Any:
    array = np.asarray(values)
    if array.shape != (rows,):
        shape = f"{len(array):,} values" if array.ndim == 1 else f"the shape {array.shape}"
        raise BadStatement(f"{named(stated_by)} must return {rows:,} values, not {shape}")
    if array.dtype.kind not in "biuf":
        raise BadStatement(f"{named(stated_by)} must return numbers, not {array.dtype}")
    return array


def _refuse(bad: Bools, array: Any, stated_by: Callable[..., Any], must_be: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        found = f"{array[rows[0]]} at row {rows[0]:,} of its history"
        raise BadStatement(f"{named(stated_by)} must be {must_be}: found {found}")
