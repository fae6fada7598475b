"""The memory of each role of a demo, after its day is recorded and its backtests have run.

`python -m benchmarks.memory PID` measures a demo that runs already.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.process_memory import PROC, parent_of, pss, pss_by_role
from kalshi_insights.embedded.servers import free_port
from kalshi_insights.processes.supervisor import ROLES

SIMULATOR = "simulator"
# Words in the command line of each role's first process.
WORDS = {
    **{role: f"kalshi_insights.processes.supervisor {role} " for role in ROLES},
    "web": "-m gunicorn ",
    "postgresql": "/bin/postgres ",
    "valkey": "valkey-server ",
    SIMULATOR: "-m markets.simulator ",
}
# Like `python -m kalshi_insights.demo`, but in a folder of its own.
DEMO_ELSEWHERE = """
import sys
from pathlib import Path
from kalshi_insights import demo, embedded
embedded.DEMO = Path(sys.argv[1])
demo.main()
"""
# By then both backtests have run.
SETTLED_AFTER = 60.0


@contextmanager
def running_demo() -> Iterator[int]:
    """Run a demo during a `with` block; yields its process id once its day is recorded."""
    with tempfile.TemporaryDirectory(prefix="kalshi-bench-") as folder:
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


def roles_of(demo: int) -> dict[str, int]:
    """The first process of each role that a demo has started."""
    found: dict[str, int] = {}
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if parent_of(int(entry.name)) != demo:
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            found |= {role: int(entry.name) for role, words in WORDS.items() if words in command}
    return found


def report(demo: int) -> None:
    megabytes = {"demo": pss(demo), **pss_by_role(roles_of(demo))}
    for role, size in megabytes.items():
        print(f"  {role:<58}{size:>9.1f} MB")
    everything = sum(size for role, size in megabytes.items() if role != SIMULATOR)
    print(f"  {'everything but the simulator':<58}{everything:>9.1f} MB", flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        report(int(sys.argv[1]))
        return
    with running_demo() as demo:
        time.sleep(SETTLED_AFTER)
        report(demo)


if __name__ == "__main__":
    main()
