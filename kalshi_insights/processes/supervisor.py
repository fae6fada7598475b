"""The processes of the recorder, watched from outside.

    python -m kalshi_insights.processes.supervisor ROLE...

A process that hangs cannot say so. Each gives signs of life (see `pulse`), and one whose sign is
overdue is killed and started anew. A run of the recorder that hangs is killed alone, since its
worker replaces it at once. A process that ends by itself ends the supervisor with its exit code,
so that what restarts containers sees it; one that was killed is started again.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

from kalshi_insights.processes.parents import ends_with_parent
from kalshi_insights.processes.pulse import ATTEMPT, LOOP, RUN, Pulse, Sign, forget, signs

# The module of each role, with its arguments.
ROLES = {
    "recorder": ("kalshi_insights.processes.worker", "recorder"),
    "worker": ("kalshi_insights.processes.worker", "worker"),
    "backtester": ("kalshi_insights.processes.worker", "backtester"),
    "beat": ("kalshi_insights.processes.beat",),
}
# What a pass of all markets has allocated goes back to the system after it. By default the C
# library keeps replies and batches of each thread: some 100 MB at 72,000 markets.
RETURNS_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "262144",
}
# Backtests allocate and release arrays all the time, for which asking the system each time is slow.
ENVIRONMENTS = {"recorder": RETURNS_MEMORY}
# A process has this long to start.
STARTED_WITHIN = 90.0
LOOK_EVERY = 0.25
BEFORE_RESTART = 1.0
# Containers are given thirty seconds.
STOPPED_WITHIN = 25.0


class Watched:
    """One process of a role."""

    def __init__(self, role: str, folder: Path) -> None:
        self.role = role
        self.folder = folder / role
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        forget(self.folder)
        Pulse(self.folder, LOOP).beat(within=STARTED_WITHIN)
        return subprocess.Popen(
            [sys.executable, "-m", *ROLES[self.role]],
            env={
                **ENVIRONMENTS.get(self.role, {}),
                **os.environ,
                "PULSE_PATH": str(self.folder),
            },
            # A Ctrl-C in a terminal reaches the supervisor, which ends its processes in order.
            process_group=0,
            # Without its broker a worker can neither end cleanly nor finish starting.
            preexec_fn=ends_with_parent(signal.SIGKILL),  # noqa: PLW1509
        )

    def look(self) -> int | None:
        """Replace what hangs or was killed; return the exit code of a process that has ended."""
        code = self.process.poll()
        if code is not None and code >= 0:
            return code
        if code is not None:
            report(f"the {self.role} was killed by signal {-code}: it is started again")
            self.kill()
            time.sleep(BEFORE_RESTART)
            self.process = self.start()
            return None
        found = signs(self.folder)
        for name in (RUN, LOOP, ATTEMPT):
            if name in found and found[name].overdue > 0:
                self.replace(found[name])
                break
        return None

    def replace(self, sign: Sign) -> None:
        report(
            f"the {self.role} hangs, its {sign.name} should have given a sign of life"
            f" {sign.overdue:.1f} s ago: it is replaced"
        )
        if sign.name == RUN:
            with suppress(ProcessLookupError):
                os.kill(sign.pid, signal.SIGKILL)
            Pulse(self.folder, RUN).end()
            return
        self.kill()
        self.process = self.start()

    def kill(self) -> None:
        """End the process with its children, also where it is stopped."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def await_end(self, *, until: float) -> None:
        try:
            self.process.wait(max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            report(f"the {self.role} does not end: it is killed")
            self.kill()


def main() -> None:
    parser = ArgumentParser(
        prog="python -m kalshi_insights.processes.supervisor", description=__doc__
    )
    parser.add_argument("roles", nargs="+", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    roles = parser.parse_args().roles
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)
    with ExitStack() as stack:
        folder = os.environ.get("PULSE_PATH") or stack.enter_context(tempfile.TemporaryDirectory())
        watched: list[Watched] = []
        stack.callback(stop, watched)
        watched += (Watched(role, Path(folder)) for role in roles)
        sys.exit(watch(watched))


def watch(watched: list[Watched]) -> int:
    """Watch over these processes until one of them ends; return its exit code."""
    while True:
        for each in watched:
            code = each.look()
            if code is not None:
                report(f"the {each.role} has ended, code {code}")
                return code
        time.sleep(LOOK_EVERY)


def stop(watched: list[Watched]) -> None:
    """Let all of them finish what they are doing."""
    for each in watched:
        # One that has ended may be another's by now.
        if each.process.poll() is None:
            each.process.terminate()
    until = time.monotonic() + STOPPED_WITHIN
    for each in watched:
        each.await_end(until=until)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    # A second signal must not interrupt the orderly end that begins now.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(0)


def report(words: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} [warning  ] supervisor: {words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
