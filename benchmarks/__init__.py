"""Benchmarks for `make bench`, which print each figure beside a reference from the same run."""

import signal
import sys
from types import FrameType
from typing import NoReturn

# Settings of the site under which it answers as often as it is asked.
WITHOUT_LIMITS = dict.fromkeys(
    ("API_RATE_ANONYMOUS", "PAGE_RATE_ANONYMOUS", "PAGE_RATE_REFRESHES"), "none"
)


def end_in_order() -> None:
    """Let SIGTERM leave `with` blocks as Ctrl-C does, so that no process and no file stays."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit("ended by a signal")
