"""Reading what one's own strategies are, without importing their files here."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import msgspec

from backtests.own.describe import FileReport
from backtests.own.folder import StrategyFile
from backtests.own.machine_paths import ROOT

SECONDS = 10.0
# No secrets of the site, nor the addresses of its services.
ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def read(file: StrategyFile, *, seconds: float = SECONDS) -> FileReport:
    """Read a file in a process with limits; whatever becomes of that process is its error."""
    command = [sys.executable, "-m", "backtests.own.describe"]
    with subprocess.Popen(
        [*command, str(file.folder), file.name, str(os.getpid())],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            reply, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return _failed(file, f"Importing it takes longer than {seconds:g} seconds.")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        return _failed(file, f"The process that imports it ended with {_code(process.returncode)}.")
    try:
        return msgspec.json.decode(reply, type=FileReport)
    except msgspec.MsgspecError:
        return _failed(file, "It cannot be described.")


def _failed(file: StrategyFile, words: str) -> FileReport:
    return FileReport(error=f"{file.name}: {words}", is_unanswered=True)


def _code(returncode: int) -> str:
    if returncode > 0:
        return f"code {returncode}"
    return signal.Signals(-returncode).name
