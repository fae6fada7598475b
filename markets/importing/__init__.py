"""Import research tables as backfilled quotes, to backtest on real prices and results.

Three formats are supported. What they lack is assumed and marked as assumed: results are known a
day after the close, and fees are the standard ones. Existing rows stay as they are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from markets.importing.baseball import import_baseball
from markets.importing.fed import import_fed
from markets.importing.record_writer import ImportResult, OnProgress
from markets.importing.table_reader import MalformedTable
from markets.importing.weather import import_weather

__all__ = ["FORMATS", "ImportResult", "MalformedTable", "find_tables", "import_tables"]

FORMATS: Mapping[str, Callable[[Path, OnProgress], ImportResult]] = {
    "weather_hourly_ariadne": import_weather,
    "mlb_closing": import_baseball,
    "fed_eco395": import_fed,
}


def find_tables(folder: Path) -> list[Path]:
    """List the folders with a supported format: this one, or those inside it."""
    candidates = [folder, *(folder / name for name in FORMATS)]
    return [each for each in candidates if each.name in FORMATS and each.is_dir()]


def import_tables(folder: Path, on_progress: OnProgress) -> ImportResult:
    """Import a folder of tables; raises MalformedTable.

    Batches written before an error stay, and the same import continues from there.
    """
    return FORMATS[folder.name](folder, on_progress)
