"""The place inside a slot where tasks wait, run and leave: what the three kinds of pool have in common."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mesh import signals
from mesh.request import Context
from mesh.wire.calls import TaskState
from mesh.wire.messages import Delivery, Outcome, OutcomeKind
from mesh.worker.coroutines import Wait
from mesh.worker.execute import Executor
from mesh.worker.orders import Finished, GivenBack, Mark, Recall, Report, Revoke, Run, RunTime, Told, decode_order, encode
from mesh.worker.pipe import Pipe

FLUSH_S = 0.005
"""Age of the oldest unsent outcome at which outcomes leave although there is more to run."""
FLUSH_BYTES = 1 << 20
"""Unsent bytes of results at which they leave."""
REVOKED_MAX = 10_000
"""Ids that are not to be begun, and may have been before."""


class Marks(Protocol):
    """Bytes that the parent sees, even when this process is dead."""

    def __setitem__(self, cell: int, mark: int, /) -> None: ...


Todo = tuple[int, Delivery]
"""A task that waits in the slot, with the cell of its mark."""


class Station:
    """Takes orders from the work pipe, keeps what waits, runs it and sends what is finished.

    A pool's threads call ``take``, ``execute`` and ``flush``; one thread of each station watches the control pipe.
    """

    def __init__(self, work: Pipe, control: Pipe, marks: Marks, executor: Executor) -> None:
        self.executor = executor
        self.todo: queue.SimpleQueue[Todo | None] = queue.SimpleQueue()
        self.reading = threading.Lock()
        """Held while the work pipe is read."""
        self._work = work
        self._control = control
        self._marks = marks
        self._finished: deque[tuple[Outcome, str, float]] = deque()
        self._sending = threading.Lock()
        self._flushed_at_s = 0.0
        self._unsent_bytes = 0
        executor.tell_by(self.tell)
        self._revoked: set[str] = set()
        """Of what waits here: not to be begun."""

    def receive(self) -> int:
        """Wait for orders and put them into ``todo``: how many there are. Raises EOFError when the parent is gone."""
        with self.reading:
            return self._accept(self._work.receive())

    def _accept(self, frames: list[bytes]) -> int:
        count = 0
        for frame in frames:
            order = decode_order(frame)
            if isinstance(order, Run):
                count += len(order.cells)
                self.executor.paths.update(order.paths)
                for todo in zip(order.cells, order.deliveries, strict=True):
                    self.todo.put(todo)
        return count

    def take(self) -> Todo | None:
        """The next task, without waiting; None when there is none."""
        try:
            return self.todo.get_nowait()
        except queue.Empty:
            return None

    def execute(self, cell: int, delivery: Delivery, wait: Wait) -> None:
        """Run a task and keep its outcome for the next flush; flush if one is due."""
        if self._revoked and self._skip(cell, delivery):
            return
        self._marks[cell] = Mark.STARTED
        begun_s = time.perf_counter()
        outcome = self.executor.run(delivery, wait)
        self._keep(cell, outcome, delivery.task, begun_s)

    async def execute_async(self, cell: int, delivery: Delivery) -> None:
        """The same for an ``async def`` task, on the running event loop."""
        if self._revoked and self._skip(cell, delivery):
            return
        self._marks[cell] = Mark.STARTED
        begun_s = time.perf_counter()
        outcome = await self.executor.run_async(delivery)
        self._keep(cell, outcome, delivery.task, begun_s)

    def _skip(self, cell: int, delivery: Delivery) -> bool:
        """A task that was revoked is not begun."""
        if delivery.id not in self._revoked:
            return False
        self._revoked.discard(delivery.id)
        signals.task_revoked.send(delivery.task, request=Context(delivery), terminated=False, signum=None, expired=False)
        self._keep(cell, Outcome(delivery.id, OutcomeKind.RETURNED), delivery.task, time.perf_counter())
        return True

    def _keep(self, cell: int, outcome: Outcome, task: str, begun_s: float) -> None:
        ended_s = time.perf_counter()
        self._marks[cell] = Mark.FINISHED
        self._finished.append((outcome, task, ended_s - begun_s))
        self._unsent_bytes += len(outcome.body)
        if len(self._finished) == 1:
            self._flushed_at_s = ended_s
        if ended_s - self._flushed_at_s >= FLUSH_S or self._unsent_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send every outcome that is finished. Any thread may call it."""
        outcomes: list[Outcome] = []
        times: dict[str, RunTime] = {}
        self._unsent_bytes = 0
        while self._finished:
            try:
                outcome, task, seconds = self._finished.popleft()
            except IndexError:  # another thread was faster
                break
            outcomes.append(outcome)
            known = times.get(task)
            if known is None:
                times[task] = RunTime(task, 1, seconds, seconds)
            else:
                known.count += 1
                known.total_s += seconds
                known.longest_s = max(known.longest_s, seconds)
        if outcomes:
            written = self.executor.written
            paths = {outcome.id: written.pop(outcome.id) for outcome in outcomes if outcome.id in written} if written else {}
            self.send(Finished(outcomes, list(times.values()), paths))

    def tell(self, state: TaskState) -> None:
        """A task says where it is."""
        self.send(Told([state]))

    def send(self, report: Report) -> None:
        """Send to the parent. Without a parent nothing is left to do: that shows at the next read."""
        with self._sending:
            try:
                self._work.send(encode(report))
            except OSError:
                pass

    def close(self) -> None:
        """Close the pipes: the pool ends when its tasks do."""
        self._work.close()
        self._control.close()

    # -- the watcher ----------------------------------------------------------------------------------------------------------

    def watch(self, gone: Callable[[], None]) -> None:
        """Start the thread that answers Recall and calls ``gone`` when the parent is gone. It sleeps until one of them happens."""
        threading.Thread(target=self._watch, args=(gone,), name="mesh-slot-watcher", daemon=True).start()

    def _watch(self, gone: Callable[[], None]) -> None:
        try:
            while True:
                for frame in self._control.receive():
                    order = decode_order(frame)
                    if isinstance(order, Recall):
                        self._give_back()
                    elif isinstance(order, Revoke):
                        self._revoke(order)
        except EOFError:
            gone()

    def _revoke(self, order: Revoke) -> None:
        ends = self.executor.ends
        running = {id for id in order.ids if order.ends and ends is not None and ends.end(id)}
        if len(self._revoked) > REVOKED_MAX:
            self._revoked.clear()  # of tasks that had begun, or had left, by the time that the order came
        self._revoked.update(set(order.ids) - running)

    def _give_back(self) -> None:
        """What is not started goes back: from ``todo``, and from the pipe that a busy pool has no time to read."""
        if self.reading.acquire(blocking=False):
            try:
                if self._work.readable():
                    self._accept(self._work.receive())
            except EOFError:
                pass  # the control pipe ends as well
            finally:
                self.reading.release()
        self.flush()
        ids = []
        while (todo := self.take()) is not None:
            ids.append(todo[1].id)
        self.send(GivenBack(ids))


def end_process() -> None:
    """The parent is gone: a running task must not go on beside its second run elsewhere."""
    os._exit(1)
