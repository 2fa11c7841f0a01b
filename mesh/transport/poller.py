"""Waiting for ZeroMQ sockets and plain descriptors together, at one system call for each wait.

``zmq_poll`` asks every ZeroMQ socket for its events twice, before and after it has slept, whichever of them has news: a dozen system
calls for six sockets. Here a ZeroMQ socket is asked when its descriptor fires (ZMQ_FD in zmq_getsockopt(3)), and until it has nothing.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterable

import zmq

Source = zmq.Socket[bytes] | int
"""A ZeroMQ socket, or the descriptor of a plain one."""
READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Poller:
    """The sources that one thread waits for. A source has to be unregistered before it is closed."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._descriptors: dict[zmq.Socket[bytes], int] = {}
        self._unsure: dict[zmq.Socket[bytes], None] = {}
        """ZeroMQ sockets that may be readable although their descriptor does not say so: it tells of changes only."""

    def __contains__(self, source: Source) -> bool:
        return source in self._descriptors or source in self._selector.get_map()

    def register(self, source: Source, events: int = READ) -> None:
        """Watch a source, or watch it for other events: ``READ``, or ``WRITE`` of a descriptor; its errors count as what is asked for."""
        if isinstance(source, int):
            if source in self._selector.get_map():
                self._selector.modify(source, events)
            else:
                self._selector.register(source, events)
        elif source not in self._descriptors:
            descriptor = int(source.getsockopt(zmq.FD))
            self._descriptors[source] = descriptor
            self._selector.register(descriptor, READ, source)
            self._unsure[source] = None

    def unregister(self, source: Source) -> None:
        """Stop watching a source. Raises KeyError when it is not watched."""
        if isinstance(source, int):
            self._selector.unregister(source)
        else:
            self._selector.unregister(self._descriptors.pop(source))
            self._unsure.pop(source, None)

    def used(self, source: zmq.Socket[bytes]) -> None:
        """Something was sent by this ZeroMQ socket: that may have swallowed what its descriptor had to tell."""
        if source in self._descriptors:
            self._unsure[source] = None

    def poll(self, timeout_s: float) -> list[tuple[Source, int]]:
        """Wait at most ``timeout_s`` until sources are ready; which, and for what."""
        ready: list[tuple[Source, int]] = self._readable(list(self._unsure)) if self._unsure else []
        fired: list[zmq.Socket[bytes]] = []
        for key, events in self._selector.select(0 if ready else timeout_s):
            if key.data is None:
                ready.append((key.fd, events))
            elif key.data not in self._unsure:
                fired.append(key.data)
        if fired:
            ready += self._readable(fired)
        return ready

    def close(self) -> None:
        """Watch nothing any more."""
        self._selector.close()

    def _readable(self, sockets: Iterable[zmq.Socket[bytes]]) -> list[tuple[Source, int]]:
        """Those that have something to read. They stay unsure, as whoever reads need not read it all."""
        found: list[tuple[Source, int]] = []
        for socket in sockets:
            if int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._unsure[socket] = None
                found.append((socket, READ))
            else:
                self._unsure.pop(socket, None)
        return found
