"""The command `python -m kalshi_insights.embedded`."""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

from kalshi_insights import embedded
from kalshi_insights.embedded import KINDS, EmbeddedError, Services, print_status, services
from kalshi_insights.processes.parents import ends_with_parent


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kalshi_insights.embedded", description=embedded.__doc__
    )
    parser.add_argument("--folder", type=Path, help="the folder of the data (default: var/live)")
    parser.add_argument("command", nargs="*", help="a command to run with the services, after `--`")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _exit)
    # A shell starts its background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with services(options.folder) as running:
            code = _run(options.command) if options.command else _serve(running)
    except EmbeddedError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _run(command: list[str]) -> int:
    """Run the command, forward SIGINT and SIGTERM to it, and return its exit code."""
    early: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: early.append(received))
    child = subprocess.Popen(command, preexec_fn=ends_with_parent(signal.SIGTERM))  # noqa: PLW1509

    def forward(received: int, frame: FrameType | None) -> None:
        # A terminal sends Ctrl-C to the child as well; a second one would make it stop at once.
        if received != signal.SIGINT or not _is_in_terminal():
            child.send_signal(received)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    for received in early:
        forward(received, None)
    code = child.wait()
    return 128 - code if code < 0 else code


def _is_in_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _serve(running: Services) -> int:
    """Print the addresses of the services, and wait for Ctrl-C or for one of them to end."""
    if not running.environment:
        print_status("DATABASE_URL and REDIS_URL are set, so there is nothing to start.")
        return 0
    for name, url in running.environment.items():
        if name in KINDS:
            address = urlsplit(url)
            print_status(f"{KINDS[name].name:<10} {address.hostname}:{address.port}{address.path}")
    print_status(
        f"The password of Valkey and of the PostgreSQL user kalshi is in {running.folder}/password."
    )
    if not running.servers:
        print_status("Another process runs these services.")
        return 0
    print_status("`manage.py`, `make run` and `make worker` will use them. Ctrl-C ends them.")
    while all(server.process and server.process.poll() is None for server in running.servers):
        time.sleep(0.5)
    print_status(f"One of the services has ended. See the logs in {running.folder}.")
    return 1


if __name__ == "__main__":
    main()
