"""Workflows at the coordinator: messages that wait for each other (decision 120).

Nothing here is kept: which message waits for which, and which values a gather has, is derived from live messages and from results, by
whoever becomes coordinator. What is done about it is an entry: a result that ends a step, or a settlement.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mesh.core.broker.gathering import Gathering, Part, part_of, size_of
from mesh.core.broker.incomplete import Incomplete
from mesh.core.broker.queues import Record
from mesh.core.cluster.replica import Replica
from mesh.core.states import RecordState
from mesh.wire.bodies import NONE
from mesh.wire.calls import Call, Flow, Input, When
from mesh.wire.entries import Chunks, Failure, Message, Result, Status
from mesh.wire.messages import Delivery

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

AT_ONCE = 1000
"""Steps in one turn: 40 ms. A loop that stands still for half of the heartbeat timeout steps down (R12)."""
EARLY_MAX = 200_000
"""Values for gathers that are not here that are remembered; the oldest go first."""
CHORD_ERROR = "mesh.errors.ChordError"
TOO_LARGE = "mesh.errors.BodyTooLarge"
BODY_LOST = "mesh.errors.BodyLost"
SKIPPED = "mesh.errors.TaskDropped"
WAITS = (RecordState.WAITING, RecordState.READY, RecordState.DELAYED)
"""A worker that holds a step is left alone: the first terminal result stands (R28)."""


class Gather:
    """What there is of the list that a group ends with: a set of places, so that nothing counts twice (R25)."""

    __slots__ = ("failed", "left", "parts", "record")

    def __init__(self, record: Record, count: int) -> None:
        self.record = record
        self.parts: list[str | None] = [None] * count
        """By place: whose result it is."""
        self.left = count
        self.failed = ""
        """The first member that did."""

    def take(self, place: int, id: str) -> None:
        """A member has ended."""
        if 0 <= place < len(self.parts) and self.parts[place] is None:
            self.parts[place] = id
            self.left -= 1

    def resize(self, count: int) -> None:
        """There are so many places."""
        more = max(count - len(self.parts), 0)
        self.parts += [None] * more
        self.left += more

    def miss(self, place: int) -> None:
        """The result was taken back."""
        self.parts[place] = None
        self.left += 1


class Flows:
    """Which steps wait for what, and what is to be done about those that wait no more."""

    def __init__(self, broker: Broker, replica: Replica, gathering: Gathering, incomplete: Incomplete) -> None:
        self._broker = broker
        self._incomplete = incomplete
        self._replica = replica
        self.gathering = gathering
        self._after: dict[str, dict[str, Record]] = {}
        """By what they come after: live messages, waiting or not."""
        self._gathers: dict[str, Gather] = {}
        self._early: dict[str, list[tuple[int, str, bool]]] = {}
        """For gathers that are not here: (place, member, whether it failed)."""
        self._early_count = 0
        self._news: deque[str] = deque()
        """Tasks that have ended, and gathers, to be looked at."""
        self._work: deque[Record] = deque()
        """Messages to be looked at."""
        self._not_whole: dict[str, Record] = {}
        """Steps whose input a merge is about to bring."""
        self._in_vain: set[str] = set()
        """Messages that came when the result that they wait for was removed already."""
        self._over: dict[str, Gather] = {}
        """Gathers whose message was settled in this turn: they have ended, or were written anew."""
        self._released: list[str] = []
        """Tasks whose results may go, unless something that was written anew needs them."""

    def reset(self) -> None:
        """The reign is over."""
        self.gathering.reset()
        self._incomplete.reset()
        for kept in (self._after, self._gathers, self._early, self._news, self._work, self._not_whole, self._over, self._in_vain):
            kept.clear()
        self._released.clear()
        self._early_count = 0

    # -- messages and results come and go --------------------

    def came(self, record: Record) -> bool:
        """A message with a flow is live; whether it has to wait."""
        message, flow = record.message, record.message.flow
        assert flow is not None
        if flow.after:
            self._come_after(flow.after, record)
        if flow.gathers >= 0:
            self._gather_came(record, flow.gathers)
            self._news.append(message.id)
            self._incomplete.watch(message.id)
            return True
        if self._may_run(message):
            return False
        self._work.append(record)
        return True

    def _come_after(self, id: str, record: Record) -> None:
        if id not in self._after:
            self._after[id] = {}
            if id not in self._broker.results:
                self._incomplete.watch(id)
        self._after[id][record.message.id] = record
        if self._incomplete.is_removed(id):
            self._in_vain.add(record.message.id)

    def _gather_came(self, record: Record, count: int) -> None:
        id = record.message.id
        gather = self._gathers[id] = self._over.pop(id) if id in self._over else Gather(record, 0)
        gather.record = record
        gather.resize(count)
        early = self._early.pop(id, [])
        self._early_count -= len(early)
        for place, member, failed in early:
            gather.take(place, member)
            if failed and not gather.failed:
                gather.failed = member

    def left(self, record: Record) -> None:
        """A message with a flow is no longer live here; the results that it held may go."""
        id, flow = record.message.id, record.message.flow
        assert flow is not None
        if flow.after:
            self._in_vain.discard(id)
            waiting = self._after[flow.after]
            del waiting[id]
            if not waiting:
                del self._after[flow.after]
                self._released.append(flow.after)
        if flow.gathers >= 0:
            self.gathering.drop(id)
            self._over[id] = self._gathers.pop(id)

    def ended(self, result: Result) -> None:
        """There is a result."""
        flow = result.flow
        if result.id in self._after:
            self._news.append(result.id)
        self._early_count -= len(self._early.pop(result.id, ()))
        if flow is not None and flow.into:
            self._member_ended(flow.into, flow.place, result)

    def _member_ended(self, into: str, place: int, result: Result) -> None:
        failed = result.status != Status.SUCCESS
        gather = self._gathers.get(into)
        if gather is not None:
            gather.take(place, result.id)
            if failed and not gather.failed:
                gather.failed = result.id
            if failed or not gather.left:
                self._news.append(into)
        elif into not in self._broker.results:
            self._early.setdefault(into, []).append((place, result.id, failed))
            self._early_count += 1
            while self._early_count > EARLY_MAX:
                self._early_count -= len(self._early.pop(next(iter(self._early))))

    def taken_back(self, id: str) -> None:
        """There is no result any more: what goes by it, and is with nobody, waits again."""
        self._work.extend(self._after.get(id, {}).values())

    def given_back(self, record: Record) -> None:
        """A worker that held a step did not start it; where it came from the result may have been known that is not here."""
        flow = record.message.flow
        if flow is not None and flow.after:
            self._work.append(record)

    def holds(self, result: Result) -> bool:
        """Whether something live needs this result, or may do so: a step's lost worker makes it run again."""
        return result.id in self._after or (result.flow is not None and result.flow.into in self._gathers)

    def grow(self, gather_id: str, by: int) -> bool:
        """Have a gather wait for so many more, whose places come after all others; False when it has ended (R28)."""
        gather = self._gathers.get(gather_id)
        if gather is None:
            return False
        message = gather.record.message
        assert message.flow is not None
        call = message.call or Call()
        flow = replace(message.flow, gathers=message.flow.gathers + by)
        self._broker.rewrite(gather.record, replace(message, flow=flow, call=replace(call, turn=call.turn + 1)))
        return True

    def give_place(self, id: str, task: str, flow: Flow | None) -> None:
        """A result that was there before its message (Broker.on_outcomes) does not say for which gather it is: now it does."""
        result = self._broker.results.get(id)
        if result is not None and result.flow is None and flow is not None and flow.into:
            self._broker.results.take_back(id)
            self._replica.write(replace(result, task=task, flow=flow))

    # -- what can be done --------------------

    def go_on(self) -> None:
        """Look at what has changed, as much of it as one turn has time for; the rest is derived once more should the reign end."""
        left = AT_ONCE
        while (self._work or self._news) and left:
            if self._work:
                left -= 1
                record = self._work.popleft()
                if record.state in WAITS:
                    self._look_at(record)
                continue
            id = self._news.popleft()
            gather = self._gathers.get(id)
            if gather is not None:
                left -= 1
                self._look_at(gather.record)
            self._work.extend(self._after.get(id, {}).values())
        self.gathering.go_on()
        self._let_go()

    def _let_go(self) -> None:
        """Results that nothing needs any more are like all others."""
        for gather in self._over.values():
            self._released += [member for member in gather.parts if member is not None]
        self._over.clear()
        released, self._released = self._released, []
        for id in released:
            self._broker.results.release(id)

    def tick(self) -> None:
        """Bodies come by merges, of which nobody tells; what was never submitted does not come."""
        waiting, self._not_whole = self._not_whole, {}
        self._work.extend(waiting.values())
        for id in self._incomplete.take_hopeless(self.lacking):
            gather = self._gathers.get(id)
            if gather is not None:
                self._end(gather.record, Result(id, int(Status.FAILURE), failure=self._incomplete.failure("a member of its group")))
                continue
            for record in list(self._after.get(id, {}).values()):
                self._in_vain.add(record.message.id)
                self._work.append(record)

    def lacking(self, id: str) -> int:
        """How many values a gather has to come; 0 for what is none."""
        gather = self._gathers.get(id)
        return gather.left if gather is not None else 0

    def _may_run(self, message: Message) -> bool:
        """Whether a step has nothing to wait for."""
        flow = message.flow
        if flow is None or not flow.after:
            return True
        result = self._broker.results.get(flow.after)
        return result is not None and _is_for(flow.when, result) and self._broker.bodies.is_whole(result.chunks)

    def _look_at(self, record: Record) -> None:
        """Do what there is to be done about a message with which no worker is."""
        message, flow = record.message, record.message.flow
        assert flow is not None
        result = self._broker.results.get(flow.after) if flow.after else None
        if flow.after and result is None:
            if message.id in self._in_vain:
                self._end(record, Result(message.id, int(Status.FAILURE), failure=self._incomplete.failure(flow.after)))
            else:
                self._wait(record)
        elif result is not None and not _is_for(flow.when, result):
            self._skip(record, result)
        elif flow.gathers >= 0:
            self._look_at_gather(self._gathers[message.id])
        elif result is not None and not self._broker.bodies.is_whole(result.chunks):
            self._wait_for_body(record, result)
        elif record.state is RecordState.WAITING:
            self._broker.line.release(record)

    def _wait(self, record: Record) -> None:
        if record.state is not RecordState.WAITING:
            queue = self._broker.queue(record.message.queue)
            queue.leave(record)
            queue.push_waiting(record)

    def _wait_for_body(self, record: Record, result: Result) -> None:
        assert result.chunks is not None
        if self._broker.bodies.is_lost(result.chunks):
            text = f"the value of {result.id}, which comes before {record.message.id}, is on no disk of the mesh any more: submit it again"
            self._fail(record, BODY_LOST, text)
            return
        self._wait(record)
        self._not_whole[record.message.id] = record

    def _skip(self, record: Record, result: Result) -> None:
        """It will not run: a failure is the end of all that waits for a success, a success of what waits for a failure."""
        message, flow = record.message, record.message.flow
        assert flow is not None
        status, failure = int(result.status), result.failure
        if flow.when == When.FAILURE:
            status, failure = int(Status.REVOKED), Failure(SKIPPED, f"{result.id} has not failed, and {message.id} was for that")
        self._end(record, Result(message.id, status, failure=failure, skipped=True))

    def _fail(self, record: Record, type_name: str, text: str) -> None:
        self._end(record, Result(record.message.id, int(Status.FAILURE), failure=Failure(type_name, text)))

    def _end(self, record: Record, result: Result) -> None:
        self._broker.conclude(record, replace(result, at_ms=self._broker.wall_ms))

    # -- gathers --------------------

    def _look_at_gather(self, gather: Gather) -> None:
        record, results = gather.record, self._broker.results
        if record.message.id in self.gathering:
            return
        failed = results.get(gather.failed) if gather.failed else None
        if failed is not None and failed.status != Status.SUCCESS:
            self._end(record, _failed(record.message, failed))
            return
        gather.failed = ""
        if gather.left:
            return
        parts = self._parts(gather)
        if parts is None:
            return
        if not parts and (record.message.body or record.message.chunks is not None):  # the value of a group that was saved
            self._end(record, Result(record.message.id, int(Status.SUCCESS), record.message.body, chunks=record.message.chunks))
        elif size_of(parts) > self.gathering.limit:
            text = f"the list of the {len(parts)} values of the group has {size_of(parts)} bytes; the most are {self.gathering.limit}"
            self._fail(record, TOO_LARGE, text)
        else:
            self.gathering.begin(record.message.id, parts, lambda body, chunks: self._gathered(gather, body, chunks))

    def _parts(self, gather: Gather) -> list[Part] | None:
        """The values in their order; None when one is not here after all."""
        parts: list[Part] = []
        for place, id in enumerate(gather.parts):
            result = self._broker.results.get(id) if id is not None else None
            if result is None:
                gather.miss(place)
            elif result.status != Status.SUCCESS:
                gather.failed = result.id
            elif not self._broker.bodies.is_whole(result.chunks):
                self._not_whole[gather.record.message.id] = gather.record
            else:
                parts.append(part_of(result))
        if gather.failed:
            self._news.append(gather.record.message.id)
        return parts if len(parts) == len(gather.parts) else None

    def _gathered(self, gather: Gather, body: bytes, chunks: Chunks | None) -> None:
        self._end(gather.record, Result(gather.record.message.id, int(Status.SUCCESS), body, chunks=chunks))

    def place(self, result: Result, message: Message) -> Result:
        """A result with what its message says of its place in a workflow, or in a tree of tasks."""
        call, flow = message.call, message.flow
        if call is not None and not (call.root or call.parent or call.group or call.unique_ms):
            call = None
        if call is None and flow is None and message.id not in self._after:
            return result
        return replace(result, task=message.task, flow=flow, call=call)

    # -- deliveries --------------------

    def input_of(self, message: Message) -> Input | None:
        """What a step that is handed out has waited for."""
        flow = message.flow
        result = self._broker.results.get(flow.after) if flow is not None and flow.after else None
        if flow is None or result is None:
            return None
        if flow.when == When.FAILURE:
            return Input(result.id, failure=result.failure, task=result.task)
        if not flow.takes_value:
            return Input(result.id, task=result.task)
        return Input(result.id, b"" if result.chunks is not None else result.body or NONE, result.chunks, task=result.task)

    def call_of(self, message: Message) -> Call | None:
        """How a message is to run: somebody needs the value of a step, though no program asks for it."""
        call, flow = message.call, message.flow
        if call is not None and call.ignore_result and (message.id in self._after or (flow is not None and flow.into)):
            return replace(call, ignore_result=False)
        return call


def delivery_of(message: Message, flows: Flows) -> Delivery:
    """What a worker gets of a message."""
    attempt = message.attempts + 1
    delivery = Delivery(message.id, message.task, message.body, attempt, message.queue, message.chunks, message.properties)
    delivery.eta_ms = message.eta_ms
    if message.flow is not None or message.call is not None:
        delivery.call, delivery.flow, delivery.input = flows.call_of(message), message.flow, flows.input_of(message)
    return delivery


def _is_for(when: int, result: Result) -> bool:
    """Whether an end is that for which a step waits. What was skipped has no failure of its own: who failed has its callbacks."""
    success = result.status == Status.SUCCESS
    return success if when == When.SUCCESS else not (success or result.skipped)


def _failed(message: Message, member: Result) -> Result:
    failure = member.failure or Failure("", Status(member.status).name)
    name = failure.type_name.rpartition(".")[2]
    text = f"{member.task or 'task'}[{member.id}] of the group raised {name}: {failure.message}"
    return Result(message.id, int(Status.FAILURE), failure=Failure(CHORD_ERROR, text, traceback=failure.traceback))
