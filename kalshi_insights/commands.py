"""Helpers of management commands: instants on the command line, and a progress bar."""

import time
from argparse import ArgumentTypeError
from datetime import UTC, date, datetime
from datetime import time as clock_time
from io import StringIO
from typing import Self, TextIO

from tqdm import tqdm

from kalshi_insights.bad_input import BadInput

# Every update checks the time by itself, so tqdm needs no thread that watches for stalled bars.
tqdm.monitor_interval = 0

DRAW_EVERY_SECONDS = 0.1
LINE_EVERY_SECONDS = 5.0
LONGEST_PERIOD = 365 * 24 * 3600  # seconds
BAR_FORMAT = "{percentage:3.0f}% |{bar:30}| {elapsed}<{remaining} {desc}"
LINE_FORMAT = "{percentage:3.0f}% {elapsed}<{remaining} {desc}"


def parse_instant(option: str, text: str) -> datetime:
    """Read an instant with its time zone, or a day, which means its midnight in UTC.

    Raises BadInput, which names the option.
    """
    try:
        if len(text) == len("2026-11-01"):
            return datetime.combine(date.fromisoformat(text), clock_time(), UTC)
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(option, f"{text!r} is neither a day nor an instant") from None
    if instant.tzinfo is None:
        raise BadInput(option, f"{text!r} has no time zone; append Z for UTC")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise BadInput(option, f"{text!r} lies outside the years 1 to 9999") from None


def parse_period(text: str) -> int:
    """Read a number of seconds as argparse does; raises ArgumentTypeError."""
    # Python's own reader takes other digits, and more of them than it likes to.
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= seconds <= LONGEST_PERIOD:
        raise ArgumentTypeError(
            f"{text!r} is not a whole number of seconds from 1 to {LONGEST_PERIOD:,}"
        )
    return seconds


class ProgressBar:
    """The progress of a command: a bar on a terminal, elsewhere a line every few seconds.

    The time left is estimated from what was done since the first update, or since the share last
    fell, which begins another stage. A terminal keeps nothing of the bar when it is left.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._bar: tqdm | None = None
        self._next_line = time.monotonic() + LINE_EVERY_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def update(self, share: float, doing: str) -> None:
        """Show the share that is done, from 0 to 1, and what the command is doing."""
        if self._bar is None or share < self._bar.n:
            self._close()
            self._bar = self._open(share, doing)
        self._bar.set_description_str(doing, refresh=False)
        self._bar.update(share - self._bar.n)
        if not self._is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_SECONDS
            self._out.write(f"{self._bar}\n")
            self._out.flush()

    def _open(self, share: float, doing: str) -> tqdm:
        return tqdm(
            desc=doing,
            total=1,
            initial=share,
            # tqdm redraws its line, which only a terminal can show.
            file=self._out if self._is_terminal else StringIO(),
            bar_format=BAR_FORMAT if self._is_terminal else LINE_FORMAT,
            leave=False,
            mininterval=DRAW_EVERY_SECONDS if self._is_terminal else LINE_EVERY_SECONDS,
            miniters=0,
        )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
