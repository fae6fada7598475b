import pytest

from markets.tests.exchange import Exchange


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()
