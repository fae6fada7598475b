"""Reports on the files of one's own: read by other processes once, and kept in the cache.

A file is read again when it has changed, or any other file of the folder that it imports; one with
an error after a while, too, and whenever a file of the folder has changed. All processes share the
cache; while it does not answer, each reads for itself and remembers the newest reports.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import redis
import structlog
from django.core.cache import cache

from backtests.own import folder, reading
from backtests.own.describe import FileReport
from backtests.own.folder import StrategyFile

KEPT_SECONDS = 30 * 86_400
# An error may come of something besides the files, such as a library that is not installed yet, so
# a file with one is read again. One that gives no answer keeps whoever lists strategies waiting:
# each time it does, twice as long passes before the next time.
AGAIN_SECONDS, AGAIN_AT_MOST = 60.0, 86_400.0
PROCESSES = 4
# Reports that a process remembers while the cache does not answer, by their keys.
MOST_REMEMBERED = 200
_remembered: dict[str, bytes] = {}

log = structlog.get_logger(__name__)
_reading = threading.Lock()


def _hash(contents: Sequence[bytes]) -> str:
    return sha256(b"\0".join(contents)).hexdigest()


# What is kept was read by this code.
APP = Path(__file__).resolve().parent.parent
CODE = _hash(
    [
        path.read_bytes()
        for place in ("own", "strategies")
        for path in sorted((APP / place).glob("*.py"))
    ]
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A report as it is kept, with a hash of the state of the folder at that time.

    One with an error is true until `until`, in seconds since 1970: `pause` seconds after reading.
    """

    report: FileReport
    state: str
    pause: float
    until: float


def reports(files: Sequence[StrategyFile]) -> list[FileReport]:
    """The report of each file of one folder; those that are not kept are read now."""
    known = _valid(files)
    if len(known) < len(files):
        # Others that wait here find the reports of the first.
        with _reading:
            known = _valid(files)
            known |= _read([file for file in files if file not in known])
    return [known[file] for file in files]


def _read(files: Sequence[StrategyFile]) -> dict[StrategyFile, FileReport]:
    """Read files and keep what they are."""
    found, keys = {}, {}
    for file in files:
        try:
            keys[file] = _key(file)
        except OSError as fault:
            found[file] = FileReport(error=f"{file.name}: It cannot be read. {fault.strerror}.")
    states, before = [_state(file.folder) for file in keys], _kept(list(keys))
    # Only the waiting is done by threads, of which each would open its own session of the cache.
    with ThreadPoolExecutor(PROCESSES) as pool:
        read = list(pool.map(reading.read, keys))
    for (file, key), report, state in zip(keys.items(), read, states, strict=True):
        pause = _pause(report, before.get(file), state)
        _keep(key, Kept(report, state, pause, time.time() + pause))
        found[file] = report
    return found


def _pause(report: FileReport, before: Kept | None, state: str) -> float:
    """Return for how many seconds a file with this report is not read again."""
    if not report.is_unanswered or before is None or before.state != state:
        return AGAIN_SECONDS
    return min(2 * before.pause, AGAIN_AT_MOST) if before.report.is_unanswered else AGAIN_SECONDS


def _keep(key: str, kept: Kept) -> None:
    value = msgspec.json.encode(kept)
    try:
        cache.set(key, value, KEPT_SECONDS)
    except redis.RedisError as fault:
        log.warning("cache_unavailable", error=type(fault).__name__)
        _remember(key, value)


def _remember(key: str, value: bytes) -> None:
    _remembered.pop(key, None)
    while len(_remembered) >= MOST_REMEMBERED:
        del _remembered[next(iter(_remembered))]
    _remembered[key] = value


def _valid(files: Sequence[StrategyFile]) -> dict[StrategyFile, FileReport]:
    """The reports that are kept and still true."""
    return {file: kept.report for file, kept in _kept(files).items() if _is_true(file, kept)}


def _is_true(file: StrategyFile, kept: Kept) -> bool:
    if not all(_is_same(file.folder / name, was) for name, was in kept.report.files.items()):
        return False
    is_error = bool(kept.report.error)
    return not is_error or (time.time() < kept.until and kept.state == _state(file.folder))


def _kept(files: Sequence[StrategyFile]) -> Mapping[StrategyFile, Kept]:
    keys = {}
    for file in files:
        try:
            keys[file] = _key(file)
        except OSError:
            continue
    try:
        values = cache.get_many(keys.values())
    except redis.RedisError as fault:
        log.warning("cache_unavailable", error=type(fault).__name__)
        values = _remembered
    return {
        file: msgspec.json.decode(values[key], type=Kept)
        for file, key in keys.items()
        if key in values
    }


def _key(file: StrategyFile) -> str:
    """Raises OSError."""
    content = folder.content_hash(file.path)
    return f"own-strategy-{_hash([CODE.encode(), os.fsencode(file.path), content.encode()])}"


def _is_same(path: Path, was: str) -> bool:
    try:
        return folder.content_hash(path) == was
    except OSError:
        return False


def _state(place: Path) -> str:
    """A hash of the names in a folder, and of the size and the time of every file of code in it and
    in its packages; empty where there is no such folder any more."""
    try:
        names = sorted(os.fsencode(path.name) for path in place.iterdir())
        code = [_stamp(path) for path in sorted(folder.code_files(place))]
    except OSError:
        return ""
    return _hash([*names, *code])


def _stamp(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return os.fsencode(path)
    return os.fsencode(path) + f" {found.st_size} {found.st_mtime_ns}".encode()
