"""Addresses of the exchange's web site, and the tickers that they name.

A market's page is `/markets/{series}/{words}/{event}`, in lower case, and in other places
`/events/{event}/markets/{market}`, or a ticker in the query or behind `#`. So every part of an
address may be one, and the record decides.
"""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

ADDRESS = re.compile(r"(https?://)?([a-z0-9-]+\.)*kalshi\.com?(:[0-9]+)?([/?#]\S*)?", re.IGNORECASE)
MAX_NAMES = 20


def names_in_address(text: str) -> list[str] | None:
    """Return what may be tickers in an address of Kalshi; None where the text is no address."""
    text = text.strip()
    if not ADDRESS.fullmatch(text):
        return None
    address = urlsplit(text if "://" in text else f"https://{text}")
    queried = [value for _, value in parse_qsl(address.query)]
    parts = [*unquote(address.path).split("/"), *queried, *unquote(address.fragment).split("/")]
    return [part for part in parts if part][:MAX_NAMES]
