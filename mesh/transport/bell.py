"""Ending another thread's wait for its sources: the self-pipe trick (Bernstein), with one byte however often it is asked for."""

from __future__ import annotations

import socket


class Bell:
    """Rung from any thread or signal handler. Whoever waits watches ``fileno()``, and hears it before it looks for what there is to do."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        """The descriptor that is readable when the bell was rung."""
        return self._inside.fileno()

    def ring(self) -> None:
        """End the wait, or the next one; what is to be done has been noted before. Nothing happens after :meth:`close`."""
        if not self._rung:
            self._rung = True
            try:
                self._outside.send(b"\0")
            except OSError:  # closed
                return

    def hear(self) -> None:
        """Silence the bell."""
        # The flag falls last: who finds it still up has noted its work before the waiting thread looks, and needs no byte.
        try:
            self._inside.recv(64)
        except BlockingIOError:
            pass
        self._rung = False

    def close(self) -> None:
        """Close both ends; a second call does nothing."""
        self._inside.close()
        self._outside.close()
