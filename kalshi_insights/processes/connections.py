"""Options of connections that notice when their other end has gone without a word.

A host that lost its power, a failover or a firewall says nothing, and TCP alone goes on believing
in the connection for two hours. Every process uses these options, for PostgreSQL and for Redis.
"""

import socket
from typing import Any

# A connection that is not made within these seconds is given up.
CONNECT_SECONDS = 5
# A silent peer is asked after so many seconds, and then at these intervals, so many times.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 5, 3, 3
# What was sent and is not acknowledged within these seconds ends the connection. Shorter, and a
# server that stops reading while its disk is busy would count as dead.
UNACKNOWLEDGED_SECONDS = 20
# Redis answers within milliseconds, or something is wrong.
REDIS_SECONDS = 3
REDIS_CHECK_SECONDS = 5

# libpq ignores what a system or a Unix socket does not have.
POSTGRES_OPTIONS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": KEEPALIVE_IDLE,
    "keepalives_interval": KEEPALIVE_INTERVAL,
    "keepalives_count": KEEPALIVE_COUNT,
    "tcp_user_timeout": UNACKNOWLEDGED_SECONDS * 1000,
}
_TCP_OPTIONS = {
    "TCP_KEEPIDLE": KEEPALIVE_IDLE,
    "TCP_KEEPINTVL": KEEPALIVE_INTERVAL,
    "TCP_KEEPCNT": KEEPALIVE_COUNT,
    "TCP_USER_TIMEOUT": UNACKNOWLEDGED_SECONDS * 1000,
}


def redis_options(url: str, *, seconds: float = REDIS_SECONDS) -> dict[str, Any]:
    """The options of a connection by redis-py that waits for an answer no longer than `seconds`."""
    options = {"socket_timeout": seconds, "health_check_interval": REDIS_CHECK_SECONDS}
    if url.startswith("unix:"):
        return options
    # Not every system has all of them.
    tcp = {getattr(socket, n): v for n, v in _TCP_OPTIONS.items() if hasattr(socket, n)}
    return options | {
        "socket_connect_timeout": seconds,
        "socket_keepalive": True,
        "socket_keepalive_options": tcp,
    }
