"""The command line: `python -m kalshi_insights.embedded`."""

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
from kalshi_insights.embedded import KINDS, EmbeddedError, Services, say, services
from kalshi_insights.embedded.servers import ends_with_parent


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kalshi_insights.embedded", description=embedded.__doc__
    )
    parser.add_argument("--folder", type=Path, help="where the data lie (default: var/live)")
    parser.add_argument("command", nargs="*", help="after `--`: run this with the services")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    # A shell's background jobs begin with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with services(options.folder) as found:
            code = _run(options.command) if options.command else _serve(found)
    except EmbeddedError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _run(command: list[str]) -> int:
    """Runs the command, hands SIGINT and SIGTERM on to it, returns its exit code."""
    early: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: early.append(received))
    child = subprocess.Popen(command, preexec_fn=ends_with_parent(signal.SIGTERM))  # noqa: PLW1509

    def hand_on(received: int, frame: FrameType | None) -> None:
        # A terminal has sent its Ctrl-C to the child as well, and a second one means haste.
        if received != signal.SIGINT or not _is_in_terminal():
            child.send_signal(received)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    for received in early:
        hand_on(received, None)
    code = child.wait()
    return 128 - code if code < 0 else code


def _is_in_terminal() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _serve(found: Services) -> int:
    """Prints where the services are, and stays until Ctrl-C or until one of them ends."""
    if not found.environment:
        say("DATABASE_URL and REDIS_URL are set: nothing to start.")
        return 0
    for name, url in found.environment.items():
        if name in KINDS:
            address = urlsplit(url)
            say(f"{KINDS[name].name:<10} {address.hostname}:{address.port}{address.path}")
    say(
        f"The password, of the PostgreSQL user kalshi and of Valkey, is in {found.folder}/password."
    )
    if not found.servers:
        say("Another process runs them.")
        return 0
    say("`manage.py`, `make run` and `make worker` find them by themselves. Ctrl-C ends them.")
    while all(server.process and server.process.poll() is None for server in found.servers):
        time.sleep(0.5)
    say(f"One of them has ended. See the logs in {found.folder}.")
    return 1


if __name__ == "__main__":
    main()
