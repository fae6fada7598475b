"""Files of one's own strategies, as tests write them."""

import time
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


def is_gone(pid: int) -> bool:
    """Return whether a process ends within seconds; a zombie that nobody waits for has ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().split()[2]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
