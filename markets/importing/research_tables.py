"""Import research tables as backfilled quotes, to backtest on real prices and results.

Four formats are supported. What they lack is assumed and marked as assumed: results are known a
day after the close, and fees are the standard ones. Existing rows stay as they are.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from markets.importing.baseball import import_baseball
from markets.importing.fed import import_fed
from markets.importing.record_writer import ImportResult, OnProgress
from markets.importing.sports_asks import import_asks
from markets.importing.table_reader import MalformedTable
from markets.importing.weather import import_weather
from markets.models import ImportedPeriod

__all__ = ["FORMATS", "ImportResult", "MalformedTable", "find_tables", "import_tables"]


class TableFormat(NamedTuple):
    """A reader of tables; the rows of candlesticks have their period of themselves."""

    read: Callable[[Path, OnProgress], ImportResult]
    has_candlesticks: bool


FORMATS: Mapping[str, TableFormat] = {
    "weather_hourly_ariadne": TableFormat(import_weather, has_candlesticks=True),
    "mlb_closing": TableFormat(import_baseball, has_candlesticks=False),
    "fed_eco395": TableFormat(import_fed, has_candlesticks=True),
    "sports_asks_cockpit": TableFormat(import_asks, has_candlesticks=False),
}


def find_tables(folder: Path) -> list[Path]:
    """List the folders with a supported format: this one, or those inside it."""
    candidates = [folder, *(folder / name for name in FORMATS)]
    return [each for each in candidates if each.name in FORMATS and each.is_dir()]


def import_tables(
    folder: Path, on_progress: OnProgress, *, gap_after: int | None = None
) -> ImportResult:
    """Import a folder of tables; raises MalformedTable.

    Batches written before an error stay, and the same import continues from there. `gap_after` is
    the usual time between rows that are no candlesticks, in seconds; None states nothing.
    """
    imported = FORMATS[folder.name].read(folder, on_progress)
    if gap_after is not None:
        ImportedPeriod.objects.state(imported.rows, gap_after, at=datetime.now(UTC))
    return imported
