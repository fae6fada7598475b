"""The worker of gunicorn that serves the site: gunicorn's own for ASGI, with bounds on time.

Its event loop waits for all clients at once. A client that sends or takes its part too slowly is
disconnected, and so is the one that has been sending a request for the longest time where there
are too many connections.
"""

import asyncio
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

# Within so many seconds of connecting, the head of a request must have arrived.
HEAD_WITHIN = 10.0
# What waits for a client must be taken within this time, and more of it at this rate.
TAKEN_WITHIN = 30.0
LEAST_BYTES_A_SECOND = 16 * 1024


class BoundedProtocol(ASGIProtocol):
    """One connection."""

    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        # Python before 3.12.9 and 3.13.2 does not pause after `writelines`, and would keep in
        # memory all of an export that its client does not read.
        transport.writelines = lambda parts: transport.write(b"".join(parts))
        super().connection_made(transport)
        # gunicorn closes idle connections by this timer, but starts it after a first request only.
        self._keepalive_handle = self.worker.loop.call_later(HEAD_WITHIN, self._keepalive_timeout)
        self.worker.receiving[self] = None
        if self.worker.nr_conns > self.cfg.worker_connections:
            self.worker.abort_longest_receiving()

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.receiving.pop(self, None)
        self._stop_timer()
        super().connection_lost(exc)

    def _on_message_complete(self) -> None:
        self.worker.receiving.pop(self, None)
        super()._on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_timer()

    def _close_transport(self) -> None:
        super()._close_transport()
        # A closed connection stays until the client has taken what waits for it.
        if self._untaken is None and self.transport.get_write_buffer_size():
            self._start_timer()

    def _start_timer(self) -> None:
        patience = TAKEN_WITHIN + self.transport.get_write_buffer_size() / LEAST_BYTES_A_SECOND
        self._untaken = self.worker.loop.call_later(patience, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None


# gunicorn has no setting for the protocol of its worker.
gasgi.ASGIProtocol = BoundedProtocol


class BoundedWorker(gasgi.ASGIWorker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The connections whose request has not arrived, the longest waiting first.
        self.receiving: dict[BoundedProtocol, None] = {}

    def abort_longest_receiving(self) -> None:
        protocol = next(iter(self.receiving))
        del self.receiving[protocol]
        protocol.transport.abort()
