"""The exchange's client as this installation configures it."""

from functools import lru_cache

from django.conf import settings

from markets.kalshi.client import KalshiClient
from markets.kalshi.factory import make_client


@lru_cache(maxsize=1)
def kalshi_client() -> KalshiClient:
    """Return the configured client, one for each process so that its connections stay open."""
    return make_client(
        settings.KALSHI_API_URL,
        redis_url=settings.REDIS_URL,
        rate=settings.KALSHI_RATE,
        key_id=settings.KALSHI_API_KEY_ID,
        key_path=settings.KALSHI_PRIVATE_KEY_PATH,
    )
