"""A TCP proxy on loopback whose connections can go silent, as in a failover or behind a firewall.

Nobody is told: both sides keep their sockets. New connections pass.
"""

import ctypes
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

# A socket filter of one instruction, `return 0`: the kernel drops each packet that comes for the
# socket, as if it had been lost, and acknowledges none.
SO_ATTACH_FILTER = 26
DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
FILTER = struct.pack("HL", 1, ctypes.addressof(DROP_ALL))


class Link:
    """Two sockets, one for each side, and what passes between them."""

    def __init__(self, client: socket.socket, port: int) -> None:
        self.sockets = (client, socket.create_connection(("127.0.0.1", port)))
        self.is_silent = False
        for source, sink in (self.sockets, self.sockets[::-1]):
            threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not self.is_silent:
                sink.sendall(data)
        if not self.is_silent:
            for each in self.sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def silence(self, *, drops_packets: bool) -> None:
        self.is_silent = True
        if drops_packets:
            for each in self.sockets:
                with suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, FILTER)

    def close(self) -> None:
        for each in self.sockets:
            each.close()


class SilentProxy:
    """Passes everything on to a port, until its connections are cut without a word."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._links: list[Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    self._links.append(Link(client, self._target))
                except OSError:  # the server is down
                    client.close()

    def cut(self, *, drops_packets: bool) -> None:
        """Let the connections that exist be silent for ever.

        Either packets are lost on the way, or they arrive and nobody answers.
        """
        for link in self._links:
            link.silence(drops_packets=drops_packets)
