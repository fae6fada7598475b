"""Processes that end with the one that started them."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable


def ends_with_parent(number: signal.Signals, *, parent: int | None = None) -> Callable[[], None]:
    """Return a `preexec_fn` that ends the child with this signal when its parent thread ends.

    A child that knows its `parent` may call it itself: among threads, a `preexec_fn` could wait
    for a lock that nobody releases. Only Linux can do that; elsewhere the function does nothing.
    """
    parent = parent or os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def request_signal() -> None:
        if prctl:
            prctl(1, int(number))
            if os.getppid() != parent:
                os.kill(os.getpid(), number)

    return request_signal
