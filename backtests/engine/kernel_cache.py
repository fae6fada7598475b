"""The folder of the kernel's compiled code, named by everything that is compiled into it.

numba looks only at the file of the function that it compiles. The rules of fees, ledger and
execution are compiled into the kernel from files of their own, so a changed rule would go on
being computed in its old form.
"""

import ast
import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FALLBACK = ".cache/kalshi-insights"


def cache_folder(kernel: Path, *, chosen: str) -> Path | None:
    """Return the folder for what is compiled from the files as they are now; remove older ones.

    It lies in the `chosen` folder ("" where none is), else beside the kernel, else in the user's
    home: wherever can be written. None if nothing can.
    """
    place = f"kernel-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}-"
    name = place + content_hash(compiled_in(kernel))
    homes = [Path(chosen)] if chosen else []
    for base in (*homes, kernel.parent / "__pycache__", *_in_home()):
        if _is_writable(base / name):
            for old in base.glob(f"{place}*"):
                if old.name != name:
                    shutil.rmtree(old, ignore_errors=True)
            return base / name
    return None


def compiled_in(kernel: Path) -> list[Path]:
    """Return the kernel's file and every file of ours that it imports, and that these import."""
    found: set[Path] = set()
    waiting = [kernel]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _files_imported_by(path)
    return sorted(found)


def content_hash(paths: Iterable[Path]) -> str:
    content = hashlib.sha256()
    for path in paths:
        content.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]


def _files_imported_by(path: Path) -> Iterator[Path]:
    for statement in ast.parse(path.read_bytes()).body:
        # What only the type checker imports is not compiled.
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                yield from _files_of(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                yield from _files_of([node.module, *names])


def _files_of(modules: Iterable[str]) -> Iterator[Path]:
    """Yield the files of those modules that are ours."""
    for module in modules:
        base = ROOT.joinpath(*module.split("."))
        candidates = (base.with_suffix(".py"), base / "__init__.py")
        yield from (path for path in candidates if path.is_file())


def _in_home() -> list[Path]:
    try:
        return [Path.home() / FALLBACK]
    except RuntimeError:  # a user without a home
        return []


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
