"""The health of one role, for containers: `python -m kalshi_insights.processes.checkhealth ROLE`.

It ends with code 0 or 1 and a line that says why. It reads signs of life and asks the site; it
loads no Django and opens no database, so that it costs little however often it is called.
"""

import os
import sys
import urllib.request
from argparse import ArgumentParser
from http.client import HTTPException
from pathlib import Path

from kalshi_insights.processes.pulse import GOOD_RUN, LOOP, signs
from kalshi_insights.processes.supervisor import ROLES

WEB = "web"
WEB_SECONDS = 8


def main() -> None:
    parser = ArgumentParser(
        prog="python -m kalshi_insights.processes.checkhealth", description=__doc__
    )
    parser.add_argument("role", choices=[*ROLES, WEB])
    role = parser.parse_args().role
    problem = problem_of_web() if role == WEB else problem_of(role)
    sys.stdout.write(f"{role}: {problem or 'healthy'}\n")
    sys.exit(bool(problem))


def problem_of(role: str) -> str:
    """Say what is wrong with a watched process; empty where nothing is."""
    base = os.environ.get("PULSE_PATH")
    if not base:
        return "PULSE_PATH is not set"
    found = signs(Path(base) / role)
    if LOOP not in found:
        return "it is not running"
    if role == "recorder" and GOOD_RUN not in found:
        return "it has recorded nothing yet"
    late = [f"{each.name} by {each.overdue:.1f} s" for each in found.values() if each.overdue > 0]
    return f"signs of life are overdue: {', '.join(late)}" if late else ""


def problem_of_web() -> str:
    """Ask the site of this container for its health."""
    # ALLOWED_HOSTS may not name the loopback address, so the first host it names is asked for.
    host = os.environ.get("ALLOWED_HOSTS", "").split(",")[0].strip("*. ") or "localhost"
    port = os.environ.get("PORT", "8000")
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/health/", headers={"Host": host}
    )
    try:
        with urllib.request.urlopen(request, timeout=WEB_SECONDS):  # noqa: S310
            return ""
    except (OSError, HTTPException) as fault:
        return f"{request.full_url}: {fault}"


if __name__ == "__main__":
    main()
