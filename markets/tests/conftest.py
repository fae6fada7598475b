import pytest

from markets.tests.fake_exchange import Exchange


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()
