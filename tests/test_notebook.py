"""The notebook runs from its first cell to its last."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
from django.db import connection
from nbclient import NotebookClient

from markets.recording.recorder import record_tick
from markets.tests.fake_exchange import Exchange

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "01-data-exploration.ipynb"


def outputs_of(monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the cells in a kernel against the test's database, and return their output."""
    address = urlsplit(os.environ["DATABASE_URL"])
    name = connection.settings_dict["NAME"]
    monkeypatch.setenv("DATABASE_URL", address._replace(path=f"/{name}").geturl())
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parent.parent))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return "\n".join(
        str(output.get("text", output.get("data", "")))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_shows_what_is_recorded(monkeypatch):
    exchange = Exchange()
    exchange.list("KXFED-26DEC-H25")
    with exchange.client() as client:
        record_tick(client, interval=60)
    shown = outputs_of(monkeypatch)
    assert "KXFED-26DEC-H25" in shown
    assert "image/png" in shown


@pytest.mark.django_db(transaction=True)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_says_so_where_nothing_is_recorded(monkeypatch):
    assert "Nothing is recorded yet" in outputs_of(monkeypatch)
