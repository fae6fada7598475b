"""Definitions of markets, and their settlements."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from kalshi_insights.arrays import Bools, Ints, np
from markets.importing.parsed_rows import MISSING, TEXTS
from markets.importing.reading.batch_columns import MILLION, BatchColumns
from markets.importing.reading.quotes import TRUTH
from markets.kalshi.fields import LATEST, check_range, fits_ticker
from markets.models.imports import Kind

RESULTS = ("", "yes", "no", "scalar")
RESULT_CODES = {word: code for code, word in enumerate(RESULTS)}
SCALAR = RESULT_CODES["scalar"]
# The settlement value of each result; that of a scalar one says itself.
VALUES = np.array([MISSING, MILLION, 0, MISSING])
TIMES = ("open_time", "close_time", "expected_expiration_time", "settlement_ts")
TICKERS = ("event_ticker", "series_ticker")
STRIKES = ("floor_strike", "cap_strike")
LONGEST = {"category": 200, "strike_type": 50}  # as the exchange's own


def read_results(columns: BatchColumns) -> tuple[list[str], Ints]:
    """Read results as words and settlement values in 1/1,000,000 dollar; either tells the other."""
    code = np.maximum(
        columns.codes("result", {word: RESULT_CODES[word] for word in RESULTS[1:]}), 0
    )
    value = columns.settlement_values()
    if columns.has("result") and columns.has("settlement_value"):
        of_result = VALUES[code]
        contradict = (of_result != MISSING) & (value != MISSING) & (value != of_result)
        name = columns.column("settlement_value").name
        columns.refuse(contradict, columns.column("result"), f"contradicts {name}")
    of_value = np.select([value == MISSING, value == MILLION, value == 0], [0, 1, 2], SCALAR)
    code = np.where(code == 0, of_value, code)
    value = np.where(value == MISSING, VALUES[code], value)
    return [RESULTS[each] for each in code], value


def read_definitions(
    columns: BatchColumns,
) -> tuple[Mapping[str, Ints], Mapping[str, Sequence[str]]]:
    """Read the numbers and the texts of definitions."""
    results, value = read_results(columns)
    numbers = {each: columns.instants(each, latest=LATEST) for each in TIMES}
    is_exclusive = columns.codes("mutually_exclusive", TRUTH)
    texts: dict[str, Sequence[str]] = {
        each: columns.texts(each, longest=LONGEST.get(each, 10_000))
        for each in TEXTS[Kind.MARKETS]
        if each != "result"
    }
    for each in TICKERS:
        _refuse(columns, each, [bool(text) and not fits_ticker(text) for text in texts[each]])
    for each in STRIKES:
        _refuse(columns, each, [bool(text) and not _is_strike(text) for text in texts[each]])
    numbers |= {"settlement_value": value, "mutually_exclusive": is_exclusive}
    return numbers, texts | {"result": results}


def _refuse(columns: BatchColumns, field: str, at_fault: list[bool]) -> None:
    if any(at_fault):
        word = "a ticker" if field in TICKERS else "a strike"
        columns.refuse(np.array(at_fault), columns.column(field), f"is not {word}")


def _is_strike(text: str) -> bool:
    try:
        check_range("strike", Decimal(text))
    except (InvalidOperation, ValueError):
        return False
    return True


def has_no_result(results: Sequence[str]) -> Bools:
    return np.array([not each for each in results], bool)
