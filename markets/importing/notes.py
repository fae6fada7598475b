"""Notes for whoever imports files: what is taken for granted of them, and what backtests need."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markets.importing.fee_terms import series_without_fees
from markets.importing.reading.source_file import Survey
from markets.models import Import
from markets.models.imports import ImportFile, ImportState, Kind, Recording

SERIES_SHOWN = 3
# What an import is said to be that no flag says.
WITHOUT_A_FLAG = ("columns", "only")


def notes_on_files(said: Mapping[str, Any], surveys: Sequence[Survey]) -> Iterator[str]:
    """Yield the notes on all files of a command; `said` are the words beside their shapes."""
    kind = surveys[0].shape.kind
    if kind not in (Kind.QUOTES, Kind.BOOKS):
        return
    if "recording" not in said:
        yield (
            f"--recording {Recording.SAMPLED.value} is taken: a row proves the quote at its"
            f" instant; {Recording.ON_CHANGE.value} says that it stood until the next row as well"
        )
    if "gap_after" not in said:
        yield "Without --gap-after nobody claims a gap, however far apart rows are"
    without = sum(not each.shape.has_sizes for each in surveys)
    if kind == Kind.QUOTES and without:
        files = f" in {without:,} of {len(surveys):,} files" if without < len(surveys) else ""
        yield f"Sizes are unknown{files}, so a backtest needs --assumed-size"
    if "fee_type" not in said:
        yield from _on_fees(surveys)


def notes_on_earlier_imports(file: ImportFile) -> Iterator[str]:
    """Yield a note on each import of the same file that was said to be something else."""
    for row in Import.objects.of_same_content(file):
        state = "" if row.state == ImportState.FINISHED else f", {row.state},"
        yield (
            f"Import {row.pk}{state} has read this file too, with {stated_flags(row.said)}; undo"
            f" one of them unless both are meant: manage.py undoimport {row.pk}"
        )


def stated_flags(said: Mapping[str, Any]) -> str:
    """Write what was said of an import as the flags that say it."""
    flags = [f"--column {field}={column}" for field, column in said.get("columns", {}).items()]
    flags += [
        f"--{name.replace('_', '-')} {value}"
        for name, value in said.items()
        if name not in WITHOUT_A_FLAG
    ]
    return " ".join(flags)


def _on_fees(surveys: Sequence[Survey]) -> Iterator[str]:
    series = series_without_fees({ticker for each in surveys for ticker in each.tickers})
    if series:
        more = len(series) - SERIES_SHOWN
        names = ", ".join(series[:SERIES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        yield (
            f"Fees are unknown of {names}, so a backtest needs them stated: --fee-type, and"
            " --fee-multiplier where it is not 1"
        )
