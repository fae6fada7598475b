"""The process that reads a file of one's own and prints what its strategies are, as JSON.

    python -m backtests.own.describe FOLDER NAME PARENT

It ends with its parent, has limits of memory and time, and none of the settings of the site. What
the file prints goes nowhere.
"""

import os
import resource
import signal
import sys
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import msgspec

from backtests.own.folder import StrategyFile
from backtests.own.imports import BadFile, FolderImports, load_within
from backtests.strategies.descriptions import StrategyDescription, StrategyOrigin, describe
from kalshi_insights.processes.parents import ends_with_parent

MAX_MEMORY = 4 * 1024**3  # of addresses, of which libraries take far more than they use
MAX_CPU_SECONDS = 30


@dataclass(frozen=True, slots=True)
class FileReport:
    """The strategies of a file, or the error that it ended with.

    `files` has the SHA-256 of every file that was imported, itself included, by its name. A report
    `is_unanswered` where the process that read the file ended without one, or did not end.
    """

    strategies: list[StrategyDescription] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    error: str = ""
    is_unanswered: bool = False


def report(file: StrategyFile) -> FileReport:
    imports = FolderImports(file.folder)
    found, error = [], ""
    try:
        for strategy in load_within(imports, file):
            found.append(replace(describe(strategy, origin=StrategyOrigin.OWN), file=file.name))
    except BadFile as fault:
        found, error = [], str(fault)
    files = {name: sha256(content).hexdigest() for name, content in imports.contents.items()}
    return FileReport(found, files, error)


def main() -> None:
    folder, name, parent = sys.argv[1:]
    ends_with_parent(signal.SIGKILL, parent=int(parent))()
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    reply = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reply.write(msgspec.json.encode(report(StrategyFile(name, Path(folder)))))
    reply.close()
    # Whatever the file has started, such as threads, is over.
    os._exit(0)


if __name__ == "__main__":
    main()
