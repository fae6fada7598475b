"""The memory of each role of a demo, or of the processes that are named by their ids.

PSS counts a page of memory that several processes share as a part of each, so that the sum is what
they take together. The processes are the named ones and all of their descendants.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kalshi_insights.embedded.servers import free_port

MEGABYTE = 1024  # of the kilobytes in which the kernel counts
PROC = Path("/proc")
# The first pattern that a command line matches tells the role.
ROLES = {
    "supervisors": r"kalshi_insights\.processes\.supervisor",
    "beat": r"kalshi_insights\.processes\.beat|celery.* beat",
    "recorder": r"processes\.worker recorder|celery.* recorder@",
    "worker": r"processes\.worker worker|celery.* work@",
    "backtester": r"processes\.worker backtester|celery.* backtests@",
    "web": r"gunicorn",
    "simulator": r"markets\.simulator",
    "demo": r"demo\.main|kalshi_insights\.demo",
    "postgresql": r"^(\S*/)?postgres\b",
    "valkey": r"^(\S*/)?(valkey|redis)-server",
}
SIMULATOR = "simulator"
# Like `python -m kalshi_insights.demo`, but in a folder of its own.
DEMO_ELSEWHERE = """
import sys
from pathlib import Path
from kalshi_insights import demo, embedded
embedded.DEMO = Path(sys.argv[1])
demo.main()
"""
# After the last day is recorded and both backtests have run.
SETTLED_AFTER = 90.0


def pss_by_role(pids: Iterable[int]) -> dict[str, float]:
    """Megabytes of PSS by role, of these processes and of their descendants."""
    megabytes: dict[str, float] = defaultdict(float)
    for pid in descendants(pids):
        try:
            megabytes[role_of(pid)] += pss(pid)
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
    return dict(megabytes)


def together(megabytes: dict[str, float]) -> float:
    """The sum of all roles but the simulator, which takes the place of the exchange."""
    return sum(value for role, value in megabytes.items() if role != SIMULATOR)


def descendants(pids: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.glob("[0-9]*"):
        try:
            # The name before the parent's id may hold blanks and brackets.
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        children[int(parent)].append(int(entry.name))
    found: set[int] = set()
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children[pid]
    return found


def role_of(pid: int) -> str:
    command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return next((role for role, words in ROLES.items() if re.search(words, command)), "other")


def pss(pid: int) -> float:
    rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / MEGABYTE


@contextmanager
def running_demo() -> Iterator[int]:
    """Run a demo during a `with` block; yields its process id once its first day is recorded."""
    with tempfile.TemporaryDirectory(prefix="kalshi-memory-") as folder:
        # PostgreSQL runs as another user where this one is root.
        Path(folder).chmod(0o755)
        demo = subprocess.Popen(
            [sys.executable, "-c", DEMO_ELSEWHERE, folder],
            env={**os.environ, "PORT": str(free_port())},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            if not any("backtests are running" in line for line in demo.stdout or ()):
                raise SystemExit("The demo has ended.")
            yield demo.pid
        finally:
            demo.terminate()
            demo.wait()


def report(pids: Iterable[int]) -> None:
    megabytes = pss_by_role(pids)
    for role in (*ROLES, "other"):
        if role in megabytes:
            print(f"  {role:<58}{megabytes[role]:>9.1f} MB")
    print(f"  {'all but the simulator':<58}{together(megabytes):>9.1f} MB", flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        report(map(int, sys.argv[1:]))
        return
    with running_demo() as pid:
        time.sleep(SETTLED_AFTER)
        report([pid])


if __name__ == "__main__":
    main()
