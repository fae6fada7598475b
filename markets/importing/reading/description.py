"""Descriptions of files by a person: by flags, and by a small file that says the same."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from kalshi_insights.bad_input import BadInput
from markets.importing.reading.fields import FIELDS
from markets.importing.reading.instants import FORMATS
from markets.importing.reading.presets import PRESETS
from markets.kalshi.fields import fits_ticker
from markets.models.imports import Kind

UNITS = ("dollars", "cents")
SCALES = ("yes", "no")
SIZES = ("known", "unknown")
# The words that each setting may have.
WORDS = {
    "preset": tuple(PRESETS),
    "unit": UNITS,
    "scale": SCALES,
    "time_format": FORMATS,
    "sizes": SIZES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A description of files; empty where nothing is said.

    `columns` maps fields to columns; an empty column means that the file has none for the field.
    """

    kind: Kind
    preset: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    scale: str = ""
    time_zone: str = ""
    time_format: str = ""
    ticker: str = ""
    ticker_from_name: bool = False
    sizes: str = ""

    def check(self) -> None:
        """Raise BadInput, which names the flag, for what makes no sense whatever the files are."""
        for name, words in WORDS.items():
            value = getattr(self, name)
            if value and value not in words:
                raise BadInput(_flag(name), f"{value!r} is none of {', '.join(words)}")
        if self.time_zone and not _is_zone(self.time_zone):
            raise BadInput("--time-zone", f"{self.time_zone!r} is no time zone")
        if self.ticker and not fits_ticker(self.ticker):
            raise BadInput("--ticker", f"{self.ticker!r} is not a ticker")
        if self.ticker and self.ticker_from_name:
            raise BadInput("--ticker-from-name", "--ticker names one market already")
        if self.sizes and self.kind != Kind.QUOTES:
            raise BadInput("--sizes", f"{self.kind} have no sizes that may be unknown")
        if self.scale and self.kind in (Kind.SETTLEMENTS, Kind.MARKETS):
            raise BadInput("--scale", f"{self.kind} have no prices of a side")
        for each in self.columns:
            if each not in FIELDS[self.kind]:
                known = ", ".join(FIELDS[self.kind])
                raise BadInput("--column", f"{each!r} is no field of {self.kind}: {known}")


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """Read columns by field, each written FIELD=COLUMN; raises BadInput."""
    columns: dict[str, str] = {}
    for text in texts:
        name, equals, column = text.partition("=")
        if not equals or not name:
            raise BadInput("--column", f"{text!r} is not FIELD=COLUMN")
        if name in columns:
            raise BadInput("--column", f"{name} is given twice")
        columns[name] = column
    return columns


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True
