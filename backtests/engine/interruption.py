"""The ways in which a run is ended from outside: an exception, and a flag for compiled code."""

import numpy as np

from backtests.data.universe import Ints


class Interrupted(KeyboardInterrupt):
    """Raised in a run that is to end, wherever it is at that moment.

    A KeyboardInterrupt, since that is what may come at any instant: strategies that catch their
    own errors let it pass, and the database driver cancels its query for it.
    """


def stop_flag() -> Ints:
    """Return a new flag, which ends runs of the kernel once another thread has set it to one."""
    return np.zeros(1, np.int64)
