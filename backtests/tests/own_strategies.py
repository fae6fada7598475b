"""Files of one's own strategies, as tests write them."""

from pathlib import Path

SIGNAL = """\
from typing import ClassVar

from backtests.strategies.base import CONTRACTS, HOLD, Schema, Signal
from kalshi_insights.arrays import np


class {class_name}(Signal):
    name = "{name}"
    version = "{version}"
    summary = "Buys NO everywhere."
    schema: ClassVar[Schema] = {{"contracts": CONTRACTS}}

    def targets(self, history):
        return np.where(history.bid > 0, -self.p.contracts, HOLD)
"""


def write(folder: Path, file: str, text: str) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_signal(
    folder: Path, file: str = "cheap_side.py", *, name: str = "cheap-side", version: str = "1",
    class_name: str = "CheapSide", more: str = "",
) -> Path:  # fmt: skip
    """Write a file with a signal that buys NO everywhere, after `more` lines of its own."""
    text = SIGNAL.format(class_name=class_name, name=name, version=version)
    return write(folder, file, more + text)
