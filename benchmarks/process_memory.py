"""Memory of processes with their children, each shared page divided among those that map it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def pss_by_role(pids: Mapping[str, int]) -> dict[str, float]:
    """Return for each role the megabytes (PSS) of its process and of all that it has started."""
    children = defaultdict(list)
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            children[parent_of(int(entry.name))].append(int(entry.name))
    return {role: sum(map(pss, family(pid, children))) for role, pid in pids.items()}


def family(pid: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, ()):
        yield from family(child, children)


def parent_of(pid: int) -> int:
    # The name of the program stands in parentheses, and may hold anything.
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def pss(pid: int) -> float:
    with suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
