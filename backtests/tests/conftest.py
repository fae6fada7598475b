"""Fixtures that tests of backtests share."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backtests.own.imports import FolderImports


@pytest.fixture(autouse=True)
def _let_go_of_own_strategies() -> Iterator[None]:
    """Let no test find the modules of a folder that another one has imported from."""
    yield
    if FolderImports.current:
        FolderImports.current.end()


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """Let this process hear SIGINT, which a shell lets what it begins in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """The folder of strategies of one's own, still empty."""
    path = tmp_path / "strategies"
    path.mkdir(mode=0o755)
    settings.STRATEGIES_PATH = path
    return path
