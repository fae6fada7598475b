"""The notebooks run from their first cell to their last, in the kernel of `make notebook`."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import nbformat
import pytest
from django.core.management import call_command
from django.db import connection
from jupyter_client.blocking.client import BlockingKernelClient
from nbclient import NotebookClient

from kalshi_insights.embedded.servers import free_port
from markets.kalshi.client import KalshiClient
from markets.recording.recorder import record_tick
from markets.recording.reference import refresh
from markets.simulator.server import running_exchange
from markets.simulator.universe import SimulatedUniverse

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
OWN = (
    "01-data-exploration",
    "02-strategy-development",
    "03-backtesting-analysis",
    "04-calibration",
)
KERNEL = "django_extensions"
READY_WITHIN = 90.0
# A stored output larger than this would make every change of a notebook hard to read.
LARGEST_NOTEBOOK = 40_000

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class Lab(NamedTuple):
    address: str
    token: str
    runtime: Path

    def ask(self, path: str, payload: dict[str, Any] | None = None) -> Any:
        answer = httpx.request(
            "POST" if payload else "GET",
            f"{self.address}{path}",
            json=payload,
            headers={"Authorization": f"token {self.token}"},
        )
        return answer.raise_for_status().json()

    def is_ready(self) -> bool:
        try:
            return bool(self.ask("/api/status"))
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def lab(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab as `make notebook` starts it, on the test's database and without a browser."""
    folder, port = tmp_path_factory.mktemp("jupyter"), free_port()
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder / "runtime")
    allowed = {"ServerApp": {"allow_root": True}}  # in a container, tests may run as root
    (folder / "jupyter_server_config.json").write_text(json.dumps(allowed))
    with pytest.MonkeyPatch.context() as patch:
        database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{database_name()}")
        for name, value in {
            "DATABASE_URL": database.geturl(),
            "SIMULATED": "true",
            "JUPYTER_CONFIG_DIR": str(folder),
            "JUPYTER_RUNTIME_DIR": str(lab.runtime),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_PORT": str(port),
            "JUPYTER_TOKEN": lab.token,
        }.items():
            patch.setenv(name, value)
        # Only the settings let a kernel use the ORM.
        patch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE", raising=False)
        with running_lab(lab, folder / "log"):
            yield lab


def database_name() -> str:
    return str(connection.settings_dict["NAME"])


@contextmanager
def running_lab(lab: Lab, log: Path) -> Iterator[None]:
    command = [sys.executable, "manage.py", "shell_plus", "--lab", "--no-browser"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + READY_WITHIN
        while not lab.is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def run_cell(lab: Lab, code: str) -> str:
    """Run code in a kernel that the lab starts, and return what it prints."""
    started = lab.ask("/api/kernels", {"name": KERNEL})
    client = BlockingKernelClient(connection_file=str(lab.runtime / f"kernel-{started['id']}.json"))
    client.load_connection_file()
    # On a busy machine a kernel that still loads misses heartbeats, which is taken for its death.
    client.start_channels(hb=False)
    printed: list[str] = []
    try:
        client.wait_for_ready(timeout=READY_WITHIN)
        reply = client.execute_interactive(
            code,
            timeout=READY_WITHIN,
            output_hook=lambda message: printed.append(str(message["content"].get("text", ""))),
        )
    finally:
        client.stop_channels()
    assert reply["content"]["status"] == "ok", reply
    return "".join(printed)


def outputs_of(name: str) -> str:
    """Run the cells of a notebook, and return their output."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name=KERNEL,
        resources={"metadata": {"path": str(FOLDER)}},
    ).execute()
    return "\n".join(
        str(output.get("text", output.get("data", "")))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_a_cell_of_the_lab_has_the_models_and_may_ask_them(lab):
    code = "print(Market.objects.count(), BacktestResult.objects.count(), timedelta(hours=1))"
    assert run_cell(lab, code).strip() == "0 0 1:00:00"


def test_the_first_says_so_where_nothing_is_recorded(lab):
    assert "Nothing is recorded yet" in outputs_of("01-data-exploration")


def test_every_notebook_finds_an_answer_in_a_day_of_the_demo(lab, settings):
    settings.SIMULATED = True
    with running_exchange(SimulatedUniverse(seed=1, markets=120), pauses=False) as exchange:
        settings.KALSHI_API_URL = exchange.url
        call_command("recordpast", hours=12)
        with KalshiClient(exchange.url) as client:
            record_tick(client, interval=60)
            refresh(client)
    shown = {name: outputs_of(name) for name in OWN}
    assert "simulated prices" in shown["01-data-exploration"]
    assert "earned most on the earlier markets" in shown["02-strategy-development"]
    assert "True" in shown["03-backtesting-analysis"].splitlines()[-1]
    assert {name for name, output in shown.items() if "image/png" not in output} == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_is_stored_small_and_for_its_kernel(path):
    notebook = json.loads(path.read_text())
    kernel = "python3" if path.stem == "05-api-client" else KERNEL
    assert notebook["metadata"]["kernelspec"]["name"] == kernel
    assert path.stat().st_size < LARGEST_NOTEBOOK
