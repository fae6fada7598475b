"""Signatures of requests with the API key: RSA-PSS or Ed25519, depending on the key."""

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from markets.kalshi.errors import ConfigurationError

PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class Signer:
    """Signer of requests with an API key. `clock` returns Unix seconds."""

    def __init__(
        self, key_id: str, key: PrivateKey, *, clock: Callable[[], float] = time.time
    ) -> None:
        if not key_id.isascii() or not key_id.isprintable():
            raise ConfigurationError("the key id has characters that an HTTP header cannot carry")
        self._key_id = key_id
        self._key = key
        self._clock = clock

    @classmethod
    def from_file(
        cls, key_id: str, path: str | Path, *, clock: Callable[[], float] = time.time
    ) -> Self:
        """Read a private key in PEM form.

        Raises `ConfigurationError`, which says what is wrong with the file and never quotes it.
        """
        try:
            pem = Path(path).read_bytes()
        except OSError as fault:
            raise ConfigurationError(f"key file {path}: {fault.strerror}") from None
        return cls(key_id, _private_key(pem, path), clock=clock)

    @property
    def key_type(self) -> str:
        return "RSA" if isinstance(self._key, RSAPrivateKey) else "Ed25519"

    def headers(self, method: str, path: str) -> dict[str, str]:
        """Return the headers that sign a request; `path` is the URL's path without the query."""
        timestamp = str(int(self._clock() * 1000))
        signature = self._sign(f"{timestamp}{method.upper()}{path}".encode())
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": timestamp,
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        padding = PSS(mgf=MGF1(hashes.SHA256()), salt_length=PSS.DIGEST_LENGTH)
        return self._key.sign(message, padding, hashes.SHA256())


def _private_key(pem: bytes, path: str | Path) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigurationError(
            f"key file {path} is protected by a password; remove the password"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"key file {path} holds no private key in PEM form") from None
    if not isinstance(key, PrivateKey):
        raise ConfigurationError(f"key file {path} holds neither an RSA nor an Ed25519 key")
    return key
