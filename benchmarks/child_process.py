"""Run a benchmark in its own process, so that its peak memory is its own."""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def run_benchmark(module: str, *arguments: object) -> dict[str, Any]:
    """Run `python -m benchmarks.MODULE ARGUMENTS` and parse what it prints."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", *map(str, arguments)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def print_result(result: Mapping[str, Any]) -> None:
    print(json.dumps({**result, "megabytes": peak_megabytes()}))


def peak_megabytes() -> float:
    """Read the peak memory from /proc, because `ru_maxrss` includes the parent's on Linux."""
    if STATUS.exists():
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
