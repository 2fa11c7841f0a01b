"""Slots as the parent sees them: started, supervised, replaced when they die."""

from __future__ import annotations

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from mesh.transport.poller import READ, WRITE, Poller
from mesh.wire.messages import Delivery
from mesh.worker.batches import UNKNOWN_S, Load
from mesh.worker.orders import CELLS, Finished, Loaded, Mark, Order, Recall, Report, Run, decode_report, encode
from mesh.worker.pipe import Pipe
from mesh.worker.spool import Spool

POOLS = ("process", "thread", "async")
REAP_S = 0.25
"""Pause between looks at whether slots live: a slot's death shows at once as the end of its pipe, unless a child that its task
forked holds the pipe open."""
YOUNG_S = 1.0
"""A slot that dies this soon after it was ready, without a task, died at its start."""
BACKOFF_S = 0.1
BACKOFF_MAX_S = 10.0
"""Pauses before a slot that dies at its start again and again is started again."""
GRACE_S = 1.0
"""How long a slot may take to end by itself when its pipe is closed."""


class Died(NamedTuple):
    """A slot ended without being asked to."""

    reason: str


class Handed(NamedTuple):
    """A task that a slot holds."""

    delivery: Delivery
    cell: int
    estimate_s: float


class Host(Protocol):
    """What a slot runs in: a process, or a thread of this process."""

    pid: int

    def ended(self) -> str:
        """How it ended, empty while it runs."""

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended by itself within the time."""

    def signal(self, name: str) -> bool:
        """Send a signal to it and to all that its task started; False where that can't be."""

    def kill(self) -> str:
        """End it at once, and all that its task started: how it ended."""


class Marks(Protocol):
    """The parent's side of the memory that it shares with a slot."""

    def __getitem__(self, cell: int, /) -> int: ...
    def __setitem__(self, cell: int, mark: int, /) -> None: ...


class Slot:
    """One child and what it holds. ``width`` is how many tasks it runs at once."""

    def __init__(self, number: int, width: int, work: Pipe, control: Pipe, marks: Marks, host: Host) -> None:
        self.number = number
        self.work = work
        self.host = host
        self.handed: dict[str, Handed] = {}
        self.load = Load(width)
        self.ready_at_s = 0.0
        """When it had loaded the application, 0 until then."""
        self.news_at_s = 0.0
        """When it last reported something, or got something while it had nothing."""
        self.recalled = False
        """Nothing more can be got back from it."""
        self.awaits_room = False
        """Its pipe was full when it was last written."""
        self._control = control
        self._marks = marks
        self._free_cells: list[int] = []
        self._used_cells = 0

    def hand(self, batch: list[tuple[Delivery, float]], now_s: float, paths: dict[str, str]) -> None:
        """Hand over deliveries that the load has accepted, with their estimates; ``paths`` has the files of large arguments, by id."""
        self.recalled = False
        if not self.handed:
            self.news_at_s = now_s
        cells = []
        for delivery, estimate_s in batch:
            cell = self._free_cells.pop() if self._free_cells else self._new_cell()
            self._marks[cell] = Mark.HANDED
            cells.append(cell)
            self.handed[delivery.id] = Handed(delivery, cell, estimate_s)
        self.send(Run(cells, [delivery for delivery, _ in batch], paths))

    def _new_cell(self) -> int:
        assert self._used_cells < CELLS, "capacity is bounded by max_prefetch, which is at most CELLS"
        self._used_cells += 1
        return self._used_cells - 1

    def release(self, id: str) -> Handed | None:
        """The slot no longer holds this task: what was handed, None if it did not hold it."""
        handed = self.handed.pop(id, None)
        if handed is not None:
            self._free_cells.append(handed.cell)
            self.load.remove(handed.estimate_s)
        return handed

    def reckon_slow(self) -> None:
        """All that it holds has proved to take long, whatever was estimated: nothing shall join it."""
        for id, handed in self.handed.items():
            self.load.remove(handed.estimate_s)
            self.load.add(UNKNOWN_S)
            self.handed[id] = handed._replace(estimate_s=UNKNOWN_S)

    def started(self, handed: Handed) -> bool:
        """Whether the task was running when the slot was last alive."""
        return self._marks[handed.cell] == Mark.STARTED

    def waits(self, handed: Handed) -> bool:
        """Whether the task was not begun a moment ago."""
        return self._marks[handed.cell] == Mark.HANDED

    def recall(self) -> None:
        """Ask for what is not started and for what is finished."""
        self.recalled = True
        self.control(Recall())

    def control(self, order: Order) -> None:
        """Send past what waits in the slot."""
        try:
            self._control.send(encode(order))
        except OSError:
            pass  # its death shows at the work pipe

    def send(self, order: Order) -> None:
        """Send without waiting."""
        try:
            self.work.send(encode(order))
        except OSError:
            pass

    def end_input(self) -> None:
        """An idle slot ends by itself after this."""
        self.work.close()

    def close(self) -> None:
        """A busy slot ends by itself after this, unless its task holds the interpreter."""
        self.work.close()
        self._control.close()


class Slots(ABC):
    """``count`` children of ``width`` lanes each; a subclass says how one is launched."""

    def __init__(self, count: int, width: int) -> None:
        self.count = count
        self.width = width
        self._spool: Spool | None = None
        self._slots: list[Slot] = []
        self._failures = [0] * count
        self._start_at_s: dict[int, float] = {}
        self._reap_at_s = 0.0
        self._poller = Poller()

    @property
    def lanes(self) -> int:
        """Tasks that run at once when every slot lives."""
        return self.count * self.width

    @property
    def ready(self) -> list[Slot]:
        """Slots that take tasks."""
        return [slot for slot in self._slots if slot.ready_at_s]

    @abstractmethod
    def launch(self, number: int) -> Slot:
        """Start one child."""

    @property
    def spool(self) -> Spool:
        """Where large bodies lie, until ``close``."""
        if self._spool is None:
            self._spool = Spool()
        return self._spool

    def start(self, poller: Poller) -> None:
        """Start all; their pipes are kept in ``poller``."""
        self._poller = poller
        for number in range(self.count):
            self._launch(number)

    def receive(self, events: Mapping[object, int], now_s: float) -> Iterator[tuple[Slot, Report | Died]]:
        """What slots report, ``events`` being what the poller saw. Deaths are reported after all that the slot had sent."""
        for slot in list(self._slots):
            event = events.get(slot.work.fileno(), 0)
            if event & READ:
                yield from self._read(slot, now_s)
        if now_s >= self._reap_at_s:
            self._reap_at_s = now_s + REAP_S
            yield from self._reap(now_s)

    def flush(self) -> None:
        """Go on with what pipes did not take; the poller wakes the caller when they can take more."""
        for slot in self._slots:
            if slot.work.unsent_bytes or slot.awaits_room:
                self._write(slot)

    def tick(self, now_s: float) -> None:
        """Start again what has died, when its pause is over."""
        for number, at_s in list(self._start_at_s.items()):
            if now_s >= at_s:
                del self._start_at_s[number]
                self._launch(number)

    def pause_s(self, now_s: float) -> float:
        """How long the caller may wait before :meth:`tick`, in seconds."""
        return max(0.0, min(self._start_at_s.values(), default=now_s + 1.0) - now_s)

    def kill(self) -> None:
        """End all slots at once. What they held is still in ``handed``."""
        for slot in self._slots:
            self._forget(slot)
            slot.close()
            slot.host.kill()
        self._start_at_s.clear()

    def close(self) -> None:
        """End all slots: idle ones by themselves, then busy ones, then those that hang. Nothing is read any more."""
        for slot in self._slots:
            self._forget(slot)
            slot.end_input()
        until_s = time.monotonic() + GRACE_S
        stubborn = [slot for slot in self._slots if not slot.host.wait(until_s - time.monotonic())]
        for slot in self._slots:
            slot.close()
        for slot in stubborn:
            if not slot.host.wait(GRACE_S):
                slot.host.kill()
        self._slots.clear()
        self._start_at_s.clear()
        if self._spool is not None:
            self._spool.close()

    # -- inside ---------------------------------------------------------------------------------------------------------------

    def _launch(self, number: int) -> None:
        slot = self.launch(number)
        self._slots.append(slot)
        self._poller.register(slot.work.fileno())

    def _forget(self, slot: Slot) -> None:
        if slot.work.fileno() >= 0 and slot.work.fileno() in self._poller:
            self._poller.unregister(slot.work.fileno())

    def _read(self, slot: Slot, now_s: float) -> Iterator[tuple[Slot, Report | Died]]:
        try:
            frames = slot.work.receive()
        except EOFError:
            yield slot, self._bury(slot, now_s)
            return
        for frame in frames:
            try:
                report = decode_report(frame)
            except msgspec.MsgspecError:  # a task wrote to file descriptors that are not its own
                yield slot, self._bury(slot, now_s)
                return
            slot.news_at_s, slot.recalled = now_s, False
            if isinstance(report, Loaded) and not report.error:
                slot.ready_at_s = now_s
            elif isinstance(report, Finished):
                self._failures[slot.number] = 0
            yield slot, report

    def _write(self, slot: Slot) -> None:
        try:
            slot.work.flush()
        except OSError:
            return  # its death shows when it is read
        slot.awaits_room = bool(slot.work.unsent_bytes)
        self._poller.register(slot.work.fileno(), READ | WRITE if slot.awaits_room else READ)

    def _reap(self, now_s: float) -> Iterator[tuple[Slot, Report | Died]]:
        for slot in list(self._slots):
            if slot.host.ended():
                yield from self._read(slot, now_s)
                if slot in self._slots:
                    yield slot, self._bury(slot, now_s)

    def _bury(self, slot: Slot, now_s: float) -> Died:
        self._slots.remove(slot)
        self._forget(slot)
        slot.close()
        reason = slot.host.kill()
        at_start = not slot.ready_at_s or (now_s - slot.ready_at_s < YOUNG_S and not slot.handed)
        pause_s = min(BACKOFF_S * 2 ** self._failures[slot.number], BACKOFF_MAX_S) if at_start else 0.0
        self._failures[slot.number] = self._failures[slot.number] + 1 if at_start else 0
        self._start_at_s[slot.number] = now_s + pause_s
        return Died(reason)


def two_pairs() -> tuple[list[socket.socket], list[socket.socket]]:
    """The ends of the work and the control pipe, the parent's without blocking."""
    pairs = [socket.socketpair(), socket.socketpair()]
    for ours, _ in pairs:
        ours.setblocking(False)
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]
