"""Fixtures that tests of backtests share."""

from collections.abc import Iterator

import pytest

from backtests.own.imports import FolderImports


@pytest.fixture(autouse=True)
def _let_go_of_own_strategies() -> Iterator[None]:
    """Let no test find the modules of a folder that another one has imported from."""
    yield
    if FolderImports.current:
        FolderImports.current.end()
