"""The folder of one's own strategies: the files that may hold some, and who may write to them."""

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from kalshi_insights.bad_input import writable

MAX_BYTES = 1_000_000  # of a file
MAX_FILES = 500
PACKAGE = "__init__.py"
# The name of a strategy, as its class states it.
STATED_NAME = re.compile(
    r"""^[ \t]+name\b[^=\n]*=\s*["']([a-z0-9][a-z0-9-]{0,99})["']""", re.MULTILINE
)


class BadFolder(ValueError):
    """A folder whose files cannot be listed, for a reason in words."""


@dataclass(frozen=True, slots=True, order=True)
class StrategyFile:
    """A file that may hold strategies, or a package: a folder with an `__init__.py`."""

    name: str  # within the folder, such as `cheap_side.py` or `ladder/__init__.py`
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def module(self) -> str:
        return self.name.removesuffix(f"/{PACKAGE}").removesuffix(".py")


def strategy_files(folder: Path) -> list[StrategyFile]:
    """List the files that may hold strategies, by name; none where there is no such folder.

    Names that begin with an underscore or a dot are helpers, and tests are tests. Raises
    BadFolder.
    """
    try:
        found = sorted(_candidates(folder))
    except FileNotFoundError:
        return []
    except OSError as fault:
        raise BadFolder(f"The folder {folder.name} cannot be read: {fault.strerror}.") from None
    if len(found) > MAX_FILES:
        raise BadFolder(f"The folder {folder.name} has more than {MAX_FILES} files.")
    return found


def _candidates(folder: Path) -> Iterator[StrategyFile]:
    for path in filter(lambda path: is_candidate(path.name), folder.iterdir()):
        if path.suffix == ".py":
            yield StrategyFile(path.name, folder)
        # Not the method of the path, which raises for a folder that nobody may look into.
        elif os.path.isfile(path / PACKAGE):
            yield StrategyFile(f"{path.name}/{PACKAGE}", folder)


def code_files(folder: Path) -> Iterator[Path]:
    """The files of code in a folder and in its packages. Raises OSError."""
    yield from folder.glob("*.py")
    for init in folder.glob(f"*/{PACKAGE}"):
        yield from init.parent.rglob("*.py")


def is_candidate(name: str) -> bool:
    """Return whether a file or package of this name may hold strategies."""
    is_helper = name.startswith(("_", ".", "test_")) or name in ("conftest.py", "tests")
    return not is_helper and writable(name) == name


def content_of(path: Path) -> bytes:
    """The content of a file. Raises OSError, also for what could be read without an end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "It is no regular file")
    if found.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"It has more than {MAX_BYTES:,} bytes")
    return path.read_bytes()


def content_hash(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    return sha256(content_of(path)).hexdigest()


def stated_names(file: StrategyFile) -> list[str]:
    """The names that the classes of a file state, as far as its text tells without running it."""
    try:
        text = content_of(file.path).decode(errors="replace")
    except OSError:
        return []
    return list(dict.fromkeys(STATED_NAME.findall(text)))


def writable_by_others(path: Path) -> bool:
    """Return whether users other than the owner may write to a file or a folder.

    A group with the number of the owner is the owner's alone, as many systems make it.
    """
    try:
        found = path.stat()
    except OSError:
        return False
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid != found.st_uid
    return bool(found.st_mode & stat.S_IWOTH or by_group)


def file_at(path: Path) -> StrategyFile:
    """The file or the package at a path, which may name the package or its `__init__.py`.

    Raises BadFolder.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir():
        if not (path / PACKAGE).is_file():
            raise BadFolder(f"{path} is no package: it has no {PACKAGE}.")
        path /= PACKAGE
    if not path.is_file():
        raise BadFolder(f"There is no file {path}.")
    if path.name == PACKAGE:
        return StrategyFile(f"{path.parent.name}/{PACKAGE}", path.parent.parent)
    return StrategyFile(path.name, path.parent)


def warning_of(file: StrategyFile, imported: Iterable[str] = ()) -> str:
    """Say who else could change what a strategy does, in its file or in another one that it
    imports; empty where nobody could."""
    for name in dict.fromkeys([file.name, *imported]):
        path = file.folder / name
        if writable_by_others(path):
            return _warning(name)
        if any(map(writable_by_others, (path.parent, file.folder))):
            return _warning("its folder")
    return ""


def _warning(words: str) -> str:
    return (
        f"Other users of this machine may write to {words}, and what they write is run as you."
        " Take that away with chmod go-w."
    )
