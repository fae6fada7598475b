"""Run all benchmarks, or the named ones: `make bench ARGS="tick bulk"`."""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import WITHOUT_LIMITS, end_in_order
from kalshi_insights import embedded

NAMES = (
    "recording",
    "universe",
    "tick",
    "bulk",
    "importing",
    "storage",
    "ledger",
    "change",
    "backfill",
    "reading",
    "calibration",
    "search",
    "overview",
    "dearest",
    "api",
    "exports",
    "slow_clients",
    "simulator",
    "backtests",
    "overfitting",
)
ON_REQUEST = (
    "cadence",
    "first_walk",
    "large",
    "week",
    "settled",
    "study",
    "shipped",
    "examples",
    "moving_trades",
    "parameter_search",
    "tape",
    "visits",
    "memory",
    "universe80k",
    "archived_reliability",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join((*NAMES, *ON_REQUEST))}"
    )
    names = parser.parse_args().names or NAMES
    unknown = set(names) - {*NAMES, *ON_REQUEST}
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    end_in_order()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    os.environ |= {"DEBUG": "false", "SECRET_KEY": "for benchmarks", "LOG_LEVEL": "WARNING"}
    os.environ |= WITHOUT_LIMITS
    for name in names:
        print(f"\n{name}", flush=True)
        # Each benchmark has its own process and database, so that memory and caches are its own.
        with tempfile.TemporaryDirectory(prefix="kalshi-bench-") as folder:
            os.environ.pop("DATABASE_URL", None)
            os.environ.pop("REDIS_URL", None)
            with embedded.services(Path(folder) / "services"):
                code = run(name)
        if code:
            return code
    return 0


def run(name: str) -> int:
    """Run a benchmark; where we are told to end, it ends first."""
    benchmark = subprocess.Popen([sys.executable, "-m", f"benchmarks.{name}"])
    try:
        return benchmark.wait()
    except SystemExit:
        benchmark.terminate()
        raise
    finally:
        benchmark.wait()


if __name__ == "__main__":
    sys.exit(main())
