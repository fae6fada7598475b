import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from markets.kalshi.signing import Signer
from markets.tests.fake_exchange import Exchange


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def signer(tmp_path):
    key = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key.pem").write_bytes(key)
    return Signer.from_file("an id", str(tmp_path / "key.pem"))
