"""Messages on their way to a confirm: batched into Submits, sent again after a lost node, given up at a deadline.

Batches form by themselves: a Submit takes whatever was handed over while the last one was sent.
All methods are called with the client's lock held.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from mesh.client.bodies import BodySender, Bytes
from mesh.client.failures import refusal
from mesh.errors import MeshBusy, MeshError, NotEnoughCopies, PublishError, PublishUnknown
from mesh.wire.entries import Chunks, Message
from mesh.wire.messages import Confirm, Go, Held, Submit

MAX_MESSAGES = 1000
"""Most messages in one Submit."""
MESSAGE_OVERHEAD_BYTES = 64
"""Upper estimate of what a message takes in a frame beside its texts and its body."""
BUSY_PAUSE_S = 0.05
"""Pause before a node that was busy is asked again."""
DEADLINE_SPREAD_S = 0.5
"""One frame has one deadline, its earliest: publications with later ones than that go into another."""
CONFIRM_MARGIN_S = 0.2
"""How long before the caller's deadline a node is to have answered: the answer has to be on time to be of use."""
NOT_ENOUGH_COPIES = "not-enough-copies:"
"""How the error of a Confirm begins whose messages are accepted all the same."""


class Publication:
    """The messages of one call, from hand-over until they are confirmed, refused or given up."""

    __slots__ = (
        "accepted",
        "accepted_messages",
        "copies",
        "deadline_s",
        "done",
        "error",
        "exposed",
        "latch",
        "messages",
        "on_done",
        "short",
        "taken",
        "unroutable",
        "waits_for",
        "warnings",
    )

    def __init__(self, messages: list[Message], deadline_s: float) -> None:
        self.messages = messages
        self.deadline_s = deadline_s
        """When the caller gives up, monotonic."""
        self.short = ""
        """Why a part that was accepted lacks copies, else empty."""
        self.taken = 0
        """How many messages were put into frames."""
        self.accepted = 0
        self.accepted_messages: list[list[Message]] = []
        self.exposed = 0
        """Frames that a node may have accepted without our knowing."""
        self.waits_for = ""
        """What a node said last about the room that there is not (``code: text``), empty while none said so."""
        self.copies = 0
        self.unroutable = 0
        """Messages that no queue took, and that were not mandatory."""
        self.on_done: Callable[[], None] | None = None
        """Called when it is done, with the client's lock held."""
        self.warnings: list[str] = []
        self.error: MeshError | None = None
        self.done = False
        self.latch = threading.Lock()
        """Held until the publication is done."""
        self.latch.acquire()

    def take_large(self) -> tuple[list[Message], int]:
        """The next message, and its bytes without its body."""
        self.taken += 1
        return [self.messages[self.taken - 1]], MESSAGE_OVERHEAD_BYTES

    def has_large_next(self, chunk_bytes: int) -> bool:
        """Whether the next message goes alone, after its body."""
        return len(self.messages[self.taken].body) > chunk_bytes

    def take(self, count: int, size: int, chunk_bytes: int) -> tuple[list[Message], int]:
        """The next messages that fit, and their bytes; none from a large one on. Nothing is taken when not even one fits."""
        chunk = self.messages[self.taken : self.taken + count]
        sizes = [len(m.body) + len(m.task) + len(m.queue) + len(m.id) for m in chunk]
        if sizes and max(sizes) > chunk_bytes:
            end = next((index for index, m in enumerate(chunk) if len(m.body) > chunk_bytes), len(chunk))
            del chunk[end:], sizes[end:]
        total = sum(sizes) + MESSAGE_OVERHEAD_BYTES * len(sizes)
        while total > size and chunk:
            chunk.pop()
            total -= sizes.pop() + MESSAGE_OVERHEAD_BYTES
        self.taken += len(chunk)
        return chunk, total

    def accept(self, messages: list[Message], confirm: Confirm) -> None:
        """These of the messages have the confirm's copies."""
        count = len(messages)
        self.accepted_messages.append(messages)
        self.exposed -= 1
        self.copies = min(self.copies, confirm.copies) if self.accepted else confirm.copies
        self.accepted += count
        self.unroutable += confirm.unroutable
        self.warnings.extend(queue for queue in confirm.warnings if queue not in self.warnings)
        self.short = self.short or confirm.error.removeprefix(NOT_ENOUGH_COPIES).strip()
        if self.accepted == len(self.messages):
            self.finish(NotEnoughCopies(self.short, self.copies) if self.short else None)

    def finish(self, error: MeshError | None = None) -> None:
        """Wake the caller."""
        if not self.done:
            self.done, self.error = True, error
            if isinstance(error, PublishError):
                error.accepted_ids = [message.id for part in self.accepted_messages for message in part]
            self.latch.release()
            if self.on_done is not None:
                self.on_done()


class _Frame:
    """One Submit: parts of one or more publications."""

    __slots__ = ("admitted", "chunks", "granted", "large", "messages", "parts", "sends", "size")

    def __init__(self) -> None:
        self.large = False
        """Its one message goes without its body, which has to be sent first."""
        self.admitted = False
        """The present node has said that there is room for that."""
        self.chunks: Chunks | None = None
        """What was sent of that body to the present node."""
        self.granted = 0
        """The number under which a node has let it in."""
        self.parts: list[tuple[Publication, int]] = []
        self.messages: list[Message] = []
        self.size = 0
        self.sends = 0

    def add(self, publication: Publication, messages: list[Message], size: int) -> None:
        self.parts.append((publication, len(messages)))
        self.messages = self.messages + messages if self.messages else messages
        self.size += size

    def submit(self, number: int, deadline_ms: int) -> Submit:
        """The frame as it travels; of a large message at first the question whether there is room for it."""
        chunks = self.chunks or (Chunks(b"", 1, len(self.messages[0].body), 0) if self.large else None)
        messages = self.messages if chunks is None else [replace(self.messages[0], body=b"", chunks=chunks)]
        return Submit(number, messages, deadline_ms, self.granted, len(self.parts) > 1)

    @property
    def asks(self) -> bool:
        """It asks for room, and nothing of it is kept."""
        return self.large and self.chunks is None

    def by_part(self) -> Iterator[tuple[Publication, list[Message]]]:
        """The publications with those of their messages that are here."""
        if len(self.parts) == 1:
            yield self.parts[0][0], self.messages
            return
        start = 0
        for publication, count in self.parts:
            yield publication, self.messages[start : start + count]
            start += count

    def split(self) -> list[_Frame]:
        """A frame for each part."""
        frames = []
        for publication, messages in self.by_part():
            frame = _Frame()
            frame.add(publication, messages, self.size)
            frames.append(frame)
        return frames

    def cut(self, count: int) -> _Frame | None:
        """Keep the first ``count`` messages of a frame of one caller; returns a frame with the others."""
        if count >= len(self.messages):
            return None
        rest, publication = _Frame(), self.parts[0][0]
        rest.add(publication, self.messages[count:], self.size)
        self.messages, self.parts = self.messages[:count], [(publication, count)]
        return rest

    def take_back(self) -> None:
        """No node has it: one that said so has not kept it, unless an earlier one may have."""
        if self.sends == 1:
            self.sends = 0
            for publication, _ in self.parts:
                publication.exposed -= 1

    @property
    def deadline_s(self) -> float:
        return min(publication.deadline_s for publication, _ in self.parts)

    @property
    def wanted(self) -> bool:
        return any(not publication.done for publication, _ in self.parts)


class Outbox:
    """What waits to be sent or confirmed. ``frame_bytes`` bounds one Submit, ``window_bytes`` what is sent and not confirmed.

    Bodies of more than ``chunk_bytes`` go ahead of their message, by ``sender``; other messages do not wait for them.
    """

    def __init__(self, frame_bytes: int, window_bytes: int, chunk_bytes: int, sender: BodySender) -> None:
        self._chunk_bytes = chunk_bytes
        self._sender = sender
        self._uploading: dict[str, _Frame] = {}
        self._frame_bytes = frame_bytes
        self._window_bytes = window_bytes
        self._inbox: deque[Publication] = deque()
        self._again: deque[_Frame] = deque()
        self._in_flight: dict[int, _Frame] = {}
        self._in_flight_bytes = 0
        self._held: dict[int, _Frame] = {}
        """What waits in a line at the node, by the number of its Submit."""
        self._number = 0
        self._busy_until_s = 0.0

    def __bool__(self) -> bool:
        return bool(self._inbox or self._again or self._in_flight or self._held or self._uploading)

    @property
    def waiting(self) -> bool:
        """Something could be sent."""
        return bool(self._inbox or self._again)

    def add(self, publication: Publication) -> None:
        """Send it when there is a node."""
        self._inbox.append(publication)

    def send(self, send: Callable[[Submit], bool], now_s: float) -> None:
        """Send what the window allows."""
        self._tend_uploads()
        if now_s < self._busy_until_s:
            return
        while self._in_flight_bytes < self._window_bytes:
            frame = self._next_frame()
            if frame is None:
                return
            self._number += 1
            if frame.asks and frame.admitted:
                self._uploading[str(self._number)] = frame
                self._sender.add(str(self._number), Bytes(frame.messages[0].body))
                continue
            if not send(frame.submit(self._number, _deadline_ms(frame.deadline_s - now_s))):
                self._again.appendleft(frame)
                return
            if not frame.asks:
                if frame.sends == 0:
                    for publication, _ in frame.parts:
                        publication.exposed += 1
                frame.sends += 1
            self._in_flight[self._number] = frame
            self._in_flight_bytes += frame.size

    def _tend_uploads(self) -> None:
        """Messages whose body has gone can go; those that nobody waits for any more need not."""
        for key, chunks in self._sender.take_finished():
            frame = self._uploading.pop(key)
            frame.chunks = chunks
            self._again.appendleft(frame)
        for key in [key for key, frame in self._uploading.items() if not frame.wanted]:
            del self._uploading[key]
            self._sender.drop(key)

    def refuse_upload(self, key: str, error: str) -> None:
        """The node takes nothing of a body: its message is not accepted."""
        publication = self._uploading.pop(key).parts[0][0]
        publication.finish(self._refusal(publication, error))

    def confirm(self, confirm: Confirm, now_s: float) -> list[str]:
        """Deal with the node's answer. Returns ids of a repeated Submit, whose results may have come and gone before."""
        held = self._held.pop(confirm.number, None)
        frame = held or self._landed(confirm.number)
        if frame is None:
            return []
        if not confirm.error or confirm.error.startswith(NOT_ENOUGH_COPIES):
            for publication, messages in frame.by_part():
                publication.accept(messages, confirm)
            return [m.id for m in frame.messages] if frame.sends > 1 else []
        frame.take_back()
        if confirm.error.startswith("busy") and held is None:
            self._retry_later(frame, confirm.error, now_s)
        elif len(frame.parts) > 1:  # one caller's bad message must not fail the others
            self._again.extendleft(reversed(frame.split()))
        else:
            if frame.chunks is not None:
                self._sender.forget(frame.chunks)
            publication = frame.parts[0][0]
            publication.finish(self._refusal(publication, confirm.error))
        return []

    def hold(self, held: Held) -> None:
        """The node has no room for a frame now, and keeps its place in line: it will say when there is."""
        frame = self._landed(held.number)
        if frame is not None:
            frame.take_back()
            self._held[held.number] = frame
            for publication, _ in frame.parts:
                publication.waits_for = held.why

    def go(self, go: Go) -> None:
        """The node has room for the first messages of a frame; the others take their place in line again."""
        frame = self._held.pop(go.number, None)
        if frame is None:
            frame = self._landed(go.number)
            if frame is None:
                return
            frame.take_back()
        rest = frame.cut(go.count)
        if rest is not None:
            self._again.append(rest)
        frame.granted, frame.admitted = go.number, True
        self._again.appendleft(frame)

    def _landed(self, number: int) -> _Frame | None:
        """The frame that the node answers to; it is no longer under way."""
        frame = self._in_flight.pop(number, None)
        if frame is not None:
            self._in_flight_bytes -= frame.size
        return frame

    def submit_again(self) -> None:
        """The node is gone: all that it did not confirm goes to the next one, with the same ids."""
        self._sender.again()
        self._again.extendleft(reversed([*self._in_flight.values(), *self._held.values()]))
        for frame in self._again:
            frame.granted, frame.chunks, frame.admitted = 0, None, False
        self._in_flight.clear()
        self._held.clear()
        self._in_flight_bytes = 0
        self._busy_until_s = 0.0

    def unconfirmed_ids(self) -> set[str]:
        """Ids that the next node may not know yet."""
        ids = {m.id for publication in self._inbox for m in publication.messages}
        for frames in (self._again, self._in_flight.values(), self._held.values(), self._uploading.values()):
            for frame in frames:
                ids.update(m.id for m in frame.messages)
        return ids

    def fail_unsent(self, error: MeshError) -> None:
        """There is no node: end every publication that none has seen. The others wait for their deadline."""
        for publication in self._publications():
            if not publication.exposed and not publication.accepted:
                publication.finish(type(error)(str(error)))

    def fail_all(self, error: MeshError) -> None:
        """No more will be sent."""
        for publication in self._publications():
            self.give_up(publication, str(error), error)

    def give_up(self, publication: Publication, reason: str, absent: MeshError | None) -> None:
        """It is too late. ``absent`` is the error when there is no node."""
        if publication.done:
            return
        for key, frame in self._uploading.items():
            if frame.parts[0][0] is publication:
                publication.waits_for = self._sender.why(key) or publication.waits_for
        if publication.exposed or (publication.accepted and not publication.waits_for):
            publication.finish(self._unknown(publication, reason))
        elif publication.waits_for:
            publication.finish(self._refusal(publication, f"{publication.waits_for}; not accepted ({reason})"))
        elif absent is not None:
            publication.finish(type(absent)(str(absent)))
        else:
            publication.finish(MeshBusy(f"the node has no room for more messages now: not accepted ({reason})"))
        for number in [number for number, frame in self._held.items() if not frame.wanted]:
            del self._held[number]

    def _publications(self) -> Iterable[Publication]:
        found = {id(p): p for p in self._inbox}
        for frames in (self._again, self._in_flight.values(), self._held.values(), self._uploading.values()):
            for frame in frames:
                found.update((id(p), p) for p, _ in frame.parts)
        return list(found.values())

    def _next_frame(self) -> _Frame | None:
        while self._again:
            frame = self._again.popleft()
            if frame.wanted:
                return frame
        frame = _Frame()
        while self._inbox:
            publication = self._inbox[0]
            if publication.done:
                self._inbox.popleft()
                continue
            if frame.messages and abs(publication.deadline_s - frame.parts[0][0].deadline_s) > DEADLINE_SPREAD_S:
                break
            large = publication.has_large_next(self._chunk_bytes)
            if large:
                if frame.messages:
                    break
                messages, size = publication.take_large()
            else:
                messages, size = publication.take(MAX_MESSAGES - len(frame.messages), self._frame_bytes - frame.size, self._chunk_bytes)
            if not messages:
                break
            frame.add(publication, messages, size)
            frame.large = large
            if publication.taken == len(publication.messages):
                self._inbox.popleft()
            if large or publication.taken < len(publication.messages):
                break
        return frame if frame.messages else None

    def _retry_later(self, frame: _Frame, why: str, now_s: float) -> None:
        for publication, _ in frame.parts:
            publication.waits_for = why
        self._again.append(frame)
        self._busy_until_s = now_s + BUSY_PAUSE_S

    def _refusal(self, publication: Publication, text: str) -> MeshError:
        """The mesh said no to what is not in."""
        if publication.exposed:
            return self._unknown(publication, text)
        if publication.accepted:
            total, (code, _, why) = len(publication.messages), text.partition(": ")
            return refusal(f"{code}: {publication.accepted} of {total} {_noun(publication)}s are in, the others are not: {why}")
        return refusal(text)

    def _unknown(self, publication: Publication, reason: str) -> MeshError:
        total = len(publication.messages)
        noun = _noun(publication)
        what = f"{noun} {publication.messages[0].id}" if total == 1 else f"{total - publication.accepted} of {total} {noun}s"
        may = "may or may not run" if noun == "task" else "may be in or not"
        return PublishUnknown(f"{what} {may}: {reason}; publishing the same ids again is safe")


def _noun(publication: Publication) -> str:
    return "task" if publication.messages[0].task else "message"


def _deadline_ms(remaining_s: float) -> int:
    """How long the node may take, in whole milliseconds; at least one, as 0 would mean for ever."""
    return max(1, int((remaining_s - min(CONFIRM_MARGIN_S, remaining_s / 4)) * 1000))
