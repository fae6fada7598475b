"""The reasons that a strategy gives with its orders."""

from collections.abc import Callable, Sequence
from typing import Any

from backtests.annotations.checks import BadAnnotation, named
from kalshi_insights.bad_input import writable

MOST_CHARACTERS = 200


def reason_of(value: Any) -> str:
    """Return a reason as it is stored: what is too long is cut off, and ends with an ellipsis.

    Raises BadAnnotation for what is no text.
    """
    if not isinstance(value, str):
        raise BadAnnotation(f"reason must be a text, not {value!r}")
    text = writable(value[:MOST_CHARACTERS])
    is_cut = len(value) > MOST_CHARACTERS or len(text) > MOST_CHARACTERS
    return text[: MOST_CHARACTERS - 1] + "…" if is_cut else text


def reasons_of_rows(stated_by: Callable[..., Any], values: Sequence[Any], rows: int) -> list[str]:
    """Return the reasons at some rows. Raises BadAnnotation."""
    if len(values) != rows:
        raise BadAnnotation(f"{named(stated_by)} must return {rows:,} reasons, not {len(values):,}")
    return [reason_of(each) for each in values]
