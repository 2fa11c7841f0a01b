"""Who works a client's connection: its own thread, or a caller that has to wait anyway.

A caller for whom another thread reads the answer pays for a change of thread each way. So, as in libpq, who waits reads. The client's own
thread does it while nobody waits, when several do, and for event loops (decision 043).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum

REST_S = 0.02
"""How long the client's thread leaves a connection alone that a caller has just worked: the next call of a loop is on its way."""
LONG_REST_S = 0.25
"""How often it looks while a caller works the connection."""


class Mode(Enum):
    """How a caller waits."""

    WORKS = 0
    """It works the connection."""
    ASKS = 1
    """It does as soon as the client's thread has handed it over, which is at once."""
    WAITS = 2
    """Another thread works the connection for it."""


class Duty:
    """All methods but :meth:`await_hand_over` and :meth:`rest` are called with the client's lock held.

    ``wake`` ends the wait of whoever works the connection.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._holder: int | None = None
        """The thread that works the connection. Kept by its number, so that a caller that is interrupted anywhere can be told from
        one that works."""
        self._asker: int | None = None
        self._thread: int | None = None
        """The client's own."""
        self._waiting = 0
        self._left_at_s = float("-inf")
        self._over = False
        self._handed_over = threading.Lock()
        self._called = threading.Lock()
        self._handed_over.acquire()
        self._called.acquire()

    # -- callers --------------------

    def begin(self) -> Mode:
        """The calling thread is about to wait for something; :meth:`end` follows, whatever happens."""
        self._waiting += 1
        me = threading.get_ident()
        if self._holder in (None, me) and not self._over:
            self._holder = me
            return Mode.WORKS
        asks = self._holder == self._thread and self._waiting == 1 and not self._over
        if asks:
            self._asker = me
        self.call()
        return Mode.ASKS if asks else Mode.WAITS

    def begin_elsewhere(self) -> None:
        """An event loop is about to wait, which can't work the connection; :meth:`end` follows."""
        self._waiting += 1
        self.call()

    def await_hand_over(self) -> None:
        """After ``ASKS``: wait until the connection is the caller's."""
        self._handed_over.acquire()

    def stand_down(self) -> None:
        """The calling thread does not work the connection any longer; it may still wait."""
        me = threading.get_ident()
        if self._asker == me:
            self._asker = None
        elif self._holder == me:
            self._handed_over.acquire(blocking=False)  # in case it was interrupted before it took what it had asked for
            self._holder = None
            self._left_at_s = time.monotonic()
            if self._waiting > 1 or self._over:
                self.call()

    def end(self) -> None:
        """The calling thread has got what it waited for, or gave up."""
        self.stand_down()
        self._waiting -= 1

    def call(self) -> None:
        """There is something to do for whoever works the connection, and if nobody does, for the client's thread."""
        if self._holder is not None:
            self._wake()
        else:
            self.resume()

    def resume(self) -> None:
        """If nobody works the connection, the client's thread shall."""
        if self._holder is None and self._called.locked():
            self._called.release()
            self._left_at_s = float("-inf")

    def nudge(self) -> None:
        """There is something to do that may wait for the next call, or as long as a connection rests after one."""
        if self._holder is not None:
            self._wake()

    # -- the client's thread --------------------

    def take(self) -> bool:
        """Whether the connection is the calling thread's, the client's own, to work now."""
        self._thread = threading.get_ident()
        if self._holder is None and (self._waiting or self._over or time.monotonic() - self._left_at_s >= REST_S):
            self._holder = self._thread
        return self._holder == self._thread

    def hand_over(self) -> bool:
        """Let the caller have the connection that has asked for it; False when none has."""
        if self._asker is None:
            return False
        self._holder, self._asker = self._asker, None
        self._handed_over.release()
        return True

    def rest(self) -> None:
        """Wait until there is something to do, or for a while."""
        self._called.acquire(timeout=REST_S if self._holder is None else LONG_REST_S)

    def close(self) -> None:
        """From now on the connection is for the client's thread to end."""
        self._over = True
        self.call()
