"""Research tables put on record as backfilled quotes, for studies on one's own machine.

Three shapes are known. What they do not tell is assumed and marked: results are known a day
after the close, and fees are the plain ones. What is on record stays.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from markets.importing.baseball import import_baseball
from markets.importing.fed import import_fed
from markets.importing.records import Imported, Tell
from markets.importing.tables import Malformed
from markets.importing.weather import import_weather

__all__ = ["FORMATS", "Imported", "Malformed", "found_in", "import_tables"]

FORMATS: Mapping[str, Callable[[Path, Tell], Imported]] = {
    "weather_hourly_ariadne": import_weather,
    "mlb_closing": import_baseball,
    "fed_eco395": import_fed,
}


def found_in(folder: Path) -> list[Path]:
    """The folders of tables that can be read: this one, or those inside it."""
    candidates = [folder, *(folder / name for name in FORMATS)]
    return [each for each in candidates if each.name in FORMATS and each.is_dir()]


def import_tables(folder: Path, tell: Tell) -> Imported:
    """Raises Malformed. What was written before the fault stays; the same goes on from there."""
    return FORMATS[folder.name](folder, tell)
