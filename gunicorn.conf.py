"""The configuration of gunicorn, which loads this file from the folder that it starts in."""

import socket
import sys

from gunicorn.arbiter import Arbiter

# A client that has stopped reading an export holds a thread: it is let go after this long.
UNREAD_MILLISECONDS = 30_000


def when_ready(server: Arbiter) -> None:
    if sys.platform == "linux":
        for listener in server.LISTENERS:
            listener.sock.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS
            )
