"""The demo: unit tests of its parts, and system tests of the whole."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kalshi_insights import demo, embedded
from kalshi_insights.demo import Children, DemoError, DemoOptions, read_options
from kalshi_insights.embedded.servers import free_port

# Like `python -m kalshi_insights.demo`, but in a folder that a running demo does not use.
DEMO_ELSEWHERE = """
import sys
from pathlib import Path
from kalshi_insights import demo, embedded
embedded.DEMO = embedded.LIVE = Path(sys.argv[1])
demo.main()
"""


@pytest.fixture
def children(tmp_path):
    results = Children(tmp_path / "logs")
    yield results
    results.end()


def test_a_plan_has_defaults():
    options = read_options({"PORT": str(free_port())})
    assert (options.live, options.seconds, options.folder) == (False, None, embedded.DEMO)


def test_a_live_plan_records_into_the_live_folder():
    assert read_options({"PORT": str(free_port()), "LIVE": "1"}).folder == embedded.LIVE


def test_a_busy_port_is_named_with_the_way_out():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoError, match=f"Port {port} is in use.*make demo PORT="):
            read_options({"PORT": str(port)})


@pytest.mark.parametrize("wrong", [{"PORT": "eight"}, {"PORT": "70000"}, {"DEMO_SECONDS": "soon"}])
def test_an_invalid_setting_is_refused_by_name(wrong):
    with pytest.raises(DemoError, match=next(iter(wrong))):
        read_options({"PORT": str(free_port()), **wrong})


def test_a_child_that_ends_is_reported_with_its_last_words(children):
    children.start("talker", "-c", "print('my last words')").wait(10)
    with pytest.raises(DemoError, match=r"talker has ended, code 0(.|\n)*my last words"):
        children.check()


def test_an_errand_that_ends_well_is_announced_and_one_that_fails_is_reported(children):
    output = []
    children.on_success |= {
        "good": lambda: output.append("done"),
        "bad": lambda: output.append("never"),
    }
    children.start("good", "-c", "").wait(10)
    children.check()
    assert (output, children.running) == (["done"], {})
    children.start("bad", "-c", "raise SystemExit(3)").wait(10)
    with pytest.raises(DemoError, match="bad has ended, code 3"):
        children.check()
    assert output == ["done"]


def test_a_child_that_does_not_listen_is_ended_by_force(children, monkeypatch):
    monkeypatch.setattr(demo, "STOPPED_WITHIN", 0.2)
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    process = children.start("deaf", "-c", f"{deaf}; time.sleep(60)")
    assert children.wait_until(lambda: (children.logs / "deaf.log").read_text() != "", seconds=10)
    children.end()
    assert process.returncode == -signal.SIGKILL


class OneGoodAnswer(BaseHTTPRequestHandler):
    """The health of a site that answers well once and is too busy afterwards."""

    def do_GET(self) -> None:
        self.server.answers = getattr(self.server, "answers", 0) + 1  # type: ignore[attr-defined]
        self.send_response(200 if self.server.answers == 1 else 503)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b'{"status": "recording"}')

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


def test_a_site_that_was_ready_once_is_announced_however_busy_it_is_then(children, capsys):
    with ThreadingHTTPServer(("127.0.0.1", 0), OneGoodAnswer) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        options = DemoOptions(live=False, port=site.server_port, seconds=None)
        credentials = demo.Credentials("password", "token")
        assert demo._announce(options, children, demo.StartupLog(), credentials=credentials)
        site.shutdown()
    assert f"READY  {options.address}" in capsys.readouterr().out


@contextmanager
def running_demo(folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    settings = {**os.environ, **environment}
    for name in ("DATABASE_URL", "REDIS_URL"):
        settings.pop(name)
    with subprocess.Popen(
        [sys.executable, "-c", DEMO_ELSEWHERE, str(folder)],
        cwd=embedded.BASE_DIR,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def output_until_ready(process: subprocess.Popen[str], sign: str = "READY") -> str:
    output = ""
    for line in process.stdout or ():
        output += str(line)
        if sign in line:
            return output
    pytest.fail(f"The demo ended before it wrote {sign}:\n{output}")


def descendants_of(parent: int) -> set[int]:
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except FileNotFoundError:
        return set()
    children = {int(pid) for pid in text.split()}
    return children.union(*(descendants_of(pid) for pid in children))


def survivors(pids: set[int], *, within: float) -> set[str]:
    """List the commands of the processes that do not exit in time."""
    deadline = time.monotonic() + within
    while (left := {pid for pid in pids if is_alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    return {f"{pid} {command_of(pid)}" for pid in left}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def folder():
    root = Path(tempfile.mkdtemp(prefix="embedded-demo-", dir=embedded.BASE_DIR / "var"))
    root.chmod(0o755)
    yield root / "demo"
    embedded.remove(root / "demo")
    shutil.rmtree(root)


@pytest.mark.system
def test_the_demo_records_shows_and_ends_by_itself_leaving_nothing(folder):
    port = free_port()
    with running_demo(folder, PORT=str(port), DEMO_SECONDS="3") as process:
        output = output_until_ready(process)
        assert re.search(r"demo with the password \S{8,}", output)
        started = descendants_of(process.pid)
        assert len(started) > 10
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/markets/?limit=1") as answer:
            assert json.load(answer)["results"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            assert answer.status == 200
        assert process.wait(60) == 0
    assert survivors(started, within=1) == set()


@pytest.mark.system
def test_the_demo_ends_its_start_with_backtests_to_look_at(folder):
    port = free_port()
    with running_demo(folder, PORT=str(port)) as process:
        output_until_ready(process)
        done = finished_backtests(port, within=180)
    assert {run["strategy"] for run in done} == set(demo.BACKTESTS)
    assert all(run["verdict"] and run["markets"] > 100 for run in done)


def finished_backtests(port: int, *, within: float) -> list[dict[str, Any]]:
    address = f"http://127.0.0.1:{port}/api/v1/backtests/?status=done"
    deadline = time.monotonic() + within
    while True:
        with urllib.request.urlopen(address) as answer:
            results: list[dict[str, Any]] = json.load(answer)["results"]
        if len(results) == len(demo.BACKTESTS) or time.monotonic() > deadline:
            return results
        time.sleep(0.5)


@pytest.mark.system
def test_a_live_demo_says_why_nothing_is_recorded_and_goes_on_trying(folder):
    port, exchange = free_port(), free_port()
    environment = {
        "LIVE": "1",
        "PORT": str(port),
        "KALSHI_API_URL": f"http://127.0.0.1:{exchange}/trade-api/v2",
        "POLL_INTERVAL": "1",
    }
    with running_demo(folder.parent / "live", **environment) as process:
        output = output_until_ready(process)
        assert "WRONG  reach     connection refused: nothing answers at 127.0.0.1" in output
        assert "nothing is recorded yet: connection refused" in output
        command = [sys.executable, "-m", "markets.simulator", "--port", str(exchange)]
        with subprocess.Popen([*command, "--markets", "50"], stdout=subprocess.DEVNULL) as there:
            try:
                assert "checkkalshi" in output_until_ready(process, "is being recorded")
            finally:
                there.terminate()
    embedded.remove(folder.parent / "live")


@pytest.mark.system
def test_a_demo_killed_by_force_leaves_nothing(folder):
    with running_demo(folder, PORT=str(free_port())) as process:
        output_until_ready(process)
        started = descendants_of(process.pid)
        process.kill()
        assert survivors(started, within=30) == set()


@pytest.mark.system
def test_a_second_demo_of_a_checkout_is_refused_and_a_dead_child_ends_the_first(folder):
    with running_demo(folder, PORT=str(free_port())) as process:
        output_until_ready(process)
        with running_demo(folder, PORT=str(free_port())) as second:
            assert "running already" in second.communicate(timeout=30)[0]
            assert second.returncode == 1
        started = descendants_of(process.pid)
        [exchange] = [pid for pid in started if "markets.simulator" in command_of(pid)]
        os.kill(exchange, signal.SIGKILL)
        assert "exchange has ended" in process.communicate(timeout=60)[0]
        assert process.returncode == 1
    assert survivors(started, within=1) == set()


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
