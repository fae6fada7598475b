"""Measurements in a process of their own, so that nothing but themselves is in their memory."""

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def figures(module: str, *arguments: object) -> dict[str, Any]:
    """What `python -m benchmarks.MODULE ARGUMENTS` answers."""
    command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{module}", *map(str, arguments)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def answer(told: Mapping[str, Any]) -> None:
    print(json.dumps({**told, "megabytes": peak_megabytes()}))


def peak_megabytes() -> float:
    """Linux counts what the parent had before it started this process, but not in here."""
    if STATUS.exists():
        peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
