"""The attachment of one program to one node, made again by itself when the node is gone.

A link has no thread and never waits: the loop that owns it calls :meth:`Link.receive` and :meth:`Link.tick` each turn.
"""

from __future__ import annotations

import os
from typing import Protocol

from mesh.client.homecoming import Homecoming
from mesh.config import Settings
from mesh.errors import MeshError, MeshNotFound, NotAllowed, RemoteProtocolError
from mesh.transport.poller import Poller
from mesh.wire.entries import Member
from mesh.wire.frames import decode_reply, encode
from mesh.wire.messages import Attach, Attached, Detach, Leaving, Ping, Pong, Refused, SessionReply, SessionRequest

ATTACH_TIMEOUT_S = 1.0
"""How long one node may take to answer an Attach before the next is tried."""
LOCAL_RETRY_S = 0.1
"""Pause before the node on this machine is tried again."""
SEARCH_TICK_S = 0.02
"""How often a link without a node wants to be ticked."""
FORGOTTEN = "not-attached"
"""Code of a Refused when the node has forgotten us after a long silence: attaching anew mends it."""
BEATS_OF_SILENCE = 4
"""Beats without any frame after which the node counts as gone."""


class Channel(Protocol):
    """A connection to one node, as mesh/transport/attach.py makes them."""

    @property
    def lost(self) -> bool:
        """The connection broke."""

    def watch(self, poller: Poller) -> None:
        """Have a poller say when there is something to receive, or ``lost`` may have changed; until it is closed."""

    def send(self, payload: bytes) -> bool:
        """False when it can't be sent now."""

    def recv(self) -> bytes | None:
        """The next frame, None when there is none now."""

    def close(self) -> None:
        """Close it."""


class Search(Protocol):
    """One round of looking for nodes on other machines, under way until it is closed."""

    def take(self) -> Channel | None:
        """The next connection to try, None when none is ready now."""

    def close(self) -> None:
        """Stop looking."""


class Nodes(Protocol):
    """Where a link looks for a node (mesh/client/find.py)."""

    def local(self) -> Channel | None:
        """A connection to the node on this machine, None when there is none."""

    def search(self) -> Search:
        """Start to look on other machines."""

    def remember(self, attached: Attached) -> None:
        """Keep what the node told about the other members."""

    def not_found(self) -> MeshError:
        """MeshNotFound or NotAllowed, naming what was tried."""


class Link:
    """One program's attachment: ``kind`` is "client" or "worker", ``name`` is for display.

    ``attached`` is the node's greeting, None while there is no node. ``generation`` rises with each attachment, so that
    the owner knows when to send again what the last node may not have got.
    ``error`` is why the last search found no node, None while attached or while the first search is under way.
    """

    def __init__(self, finder: Nodes, kind: str, name: str, settings: Settings) -> None:
        self.attached: Attached | None = None
        self.generation = 0
        self.error: MeshError | None = None
        self._finder = finder
        self._greeting = encode(Attach(kind=kind, name=name, pid=os.getpid()))
        self._beat_s = settings.worker_beat_s
        self._timeout_s = settings.discovery_timeout_s
        self._poller: Poller | None = None
        self._channel: Channel | None = None
        self._channel_is_local = False
        self._answer_until_s = 0.0
        self._search: Search | None = None
        self._search_until_s: float | None = None
        self._local_after_s = 0.0
        self._refusal: MeshError | None = None
        self._homecoming = Homecoming(finder, self._greeting)
        self._sent = self._heard = True
        self._sent_s = self._heard_s = self._pinged_s = self._ticked_s = 0.0

    @property
    def members(self) -> list[Member]:
        """The members that the node named when we attached; empty while there is no node."""
        return self.attached.members if self.attached is not None else []

    @property
    def searching(self) -> bool:
        """A search is under way."""
        return self._search_until_s is not None

    def register(self, poller: Poller) -> None:
        """Keep the socket of the present node, whichever it is, in ``poller``."""
        self._poller = poller
        if self._channel is not None:
            self._channel.watch(poller)

    def pause_s(self) -> float:
        """How long the owner may wait before the next :meth:`tick`, in seconds."""
        return self._beat_s / 2 if self.attached is not None else SEARCH_TICK_S

    def send(self, message: SessionRequest) -> bool:
        """Send to the node; False when there is none or it does not take more now: nothing was sent."""
        if self.attached is None or self._channel is None:
            return False
        self._sent = True
        return self._channel.send(encode(message))

    def receive(self, limit: int = 256) -> list[SessionReply]:
        """At most ``limit`` messages of the node, without waiting. What concerns the attachment alone is dealt with here."""
        replies: list[SessionReply] = []
        for _ in range(limit):
            frame = self._channel.recv() if self._channel is not None else None
            if frame is None:
                break
            self._heard = True
            try:
                reply = decode_reply(frame)
            except RemoteProtocolError:
                self._drop()
                break
            if isinstance(reply, (Attached, Refused, Leaving, Pong)):
                self._about_the_attachment(reply)
            else:
                replies.append(reply)
        return replies

    def tick(self, now_s: float) -> None:
        """Beat, notice a lost node, look for the next one. ``now_s`` is monotonic, in seconds.

        Raises MeshNotFound or NotAllowed when the first search ended without a node. The link stays usable: the next tick
        searches on. After a first attachment nothing is raised; ``error`` says how the search stands.
        """
        late = now_s - self._ticked_s > self._beat_s
        self._ticked_s = now_s
        if self._sent:
            self._sent, self._sent_s = False, now_s
        if self._heard or late:  # a program that was stopped itself can't tell how long the node was silent
            self._heard, self._heard_s = False, now_s
        self._homecoming.tick(now_s)
        if self.attached is not None and not self._channel_is_local:
            self._look_homeward(now_s)
        if self.attached is not None:
            self._watch(now_s)
        if self.attached is None:
            self._seek(now_s)

    def break_off(self) -> None:
        """Drop the connection to the present node, as it may be out of step; the next :meth:`tick` looks for a node anew."""
        self._drop()

    def close(self) -> None:
        """Leave politely."""
        self.send(Detach())
        self._drop()
        self._end_search()
        self._homecoming.close()

    # -- with a node --------------------

    def _look_homeward(self, now_s: float) -> None:
        """Go on with the node of this machine, as soon as it answers."""
        found = self._homecoming.look(now_s)
        if found is None or self._channel is None:
            return
        if self._poller is not None:
            found[0].watch(self._poller)
        self._homecoming.part(self._channel, now_s)
        self._channel, self._channel_is_local = found[0], True
        self._heard, self._heard_s = False, now_s
        self._about_the_attachment(found[1])

    def _watch(self, now_s: float) -> None:
        assert self._channel is not None
        silence_s = now_s - self._heard_s
        if self._channel.lost or silence_s > BEATS_OF_SILENCE * self._beat_s:
            self._drop()
            return
        idle_s = now_s - max(self._sent_s, self._pinged_s)
        doubt = silence_s >= self._beat_s and now_s - self._pinged_s >= self._beat_s
        if idle_s >= self._beat_s or doubt:
            self._pinged_s = now_s
            self._channel.send(encode(Ping()))

    def _about_the_attachment(self, reply: Attached | Refused | Leaving | Pong) -> None:
        if isinstance(reply, Attached):
            self._end_search()
            self.attached, self.error = reply, None
            self.generation += 1
            if not self._channel_is_local:  # our own node remembers its peers itself
                self._finder.remember(reply)
        elif isinstance(reply, Refused):
            if reply.code != FORGOTTEN:
                self._refusal = (NotAllowed if reply.code == "not-allowed" else MeshNotFound)(f"the node refused: {reply.text}")
                if self._channel_is_local:
                    self._search_until_s = self._ticked_s  # our own node knows best: no need to ask others
            self._drop()
        elif isinstance(reply, Leaving):
            self._drop()

    def _drop(self) -> None:
        self.attached = None
        self._homecoming.give_up()
        if self._channel is None:
            return
        self._channel.close()
        self._channel = None
        if self._channel_is_local:
            self._local_after_s = self._ticked_s + LOCAL_RETRY_S

    # -- without a node --------------------

    def _seek(self, now_s: float) -> None:
        if self._search_until_s is None:
            self._search_until_s = now_s + self._timeout_s
        if self._channel is not None and (self._channel.lost or now_s >= self._answer_until_s):
            self._drop()
        if now_s >= self._search_until_s:
            self._give_up()
            return
        try:
            self._try_next(now_s)
        except MeshError as error:  # our own files or keys: trying others would not mend it
            self._refusal, self._search_until_s = error, now_s

    def _try_next(self, now_s: float) -> None:
        if self._channel is None and now_s >= self._local_after_s:
            self._local_after_s = now_s + LOCAL_RETRY_S
            self._try(self._finder.local(), now_s, local=True)
        if self._channel is None:
            if self._search is None:
                self._search = self._finder.search()
            self._try(self._search.take(), now_s, local=False)

    def _try(self, channel: Channel | None, now_s: float, *, local: bool) -> None:
        if channel is None:
            return
        self._channel, self._channel_is_local = channel, local
        self._answer_until_s = now_s + ATTACH_TIMEOUT_S
        if self._poller is not None:
            channel.watch(self._poller)
        channel.send(self._greeting)

    def _give_up(self) -> None:
        self.error = self._refusal or self._finder.not_found()
        self._drop()
        self._end_search()
        if self.generation == 0:
            raise self.error

    def _end_search(self) -> None:
        if self._search is not None:
            self._search.close()
        self._search = self._search_until_s = self._refusal = None
