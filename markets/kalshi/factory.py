"""The client of the exchange, built from plain settings."""

from typing import TYPE_CHECKING

from kalshi_insights.lazy import LazyModule
from kalshi_insights.token_bucket import TokenBucket
from markets.kalshi.client import KalshiClient

if TYPE_CHECKING:
    from markets.kalshi import signing
else:
    # Only who has a key signs requests, and its libraries take 7 MB.
    signing = LazyModule("markets.kalshi.signing")


def make_client(
    url: str, *, redis_url: str, rate: float, key_id: str = "", key_path: str = ""
) -> KalshiClient:
    """Make a client that shares the token bucket of all processes, `rate` tokens a second.

    Requests are signed where `key_id` is given. Raises `ConfigurationError` for an address or a
    key file that cannot be used.
    """
    signer = signing.Signer.from_file(key_id, key_path) if key_id else None
    bucket = TokenBucket.from_url(redis_url, rate=rate)
    return KalshiClient(url, signer=signer, bucket=bucket)
