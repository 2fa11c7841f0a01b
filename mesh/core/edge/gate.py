"""The gate of a node: which submits are taken now, and which wait for room. Nothing is kept of those that wait but their place in line.

They wait for this node (alarms, bytes that wait for their copies, room in memory for what is to be on no disk), then for the coordinator
(limits of queues, see broker/admission.py).
Who waits is told once (Held), and when there is room (Go); nobody has to ask again and again.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from itertools import groupby

from mesh.config import Settings
from mesh.core.broker.arguments import QueueArguments, describe
from mesh.core.cluster.alarms import Alarms
from mesh.core.cluster.pages import OVERHEAD_BYTES, Pages
from mesh.core.cluster.scopes import is_transient
from mesh.core.edge.publishing import RoutedSubmit
from mesh.core.turn import Turn
from mesh.wire.messages import Confirm, Go, Held, PeerMessage, Reserve, Reserved, Submit

TICKETS_MAX = 100_000
"""Submits that wait at one node; further ones are told that it is busy, and ask again."""
GRANT_S = 2.0
"""How long room is kept for a publisher that was let in: it has to send once more what it has ready."""
UPLOAD_BYTES_S = 4 << 20
"""And so much longer for who has to send a large body first; later than that it stands in line again, with its body here."""
APART = "apart: some of the messages have to wait for room; submit those of each caller by themselves"

NO_ANSWER = "busy: a queue is limited, and the coordinator has not said whether it has room; mesh status shows the nodes"
NO_COORDINATOR = "busy: a queue is limited, and there is no coordinator to say whether it has room; mesh status shows the nodes"

Key = tuple[bytes, int]
"""(session, number of the Submit)."""


def asks_for_room(submit: Submit) -> bool:
    """Whether it only asks for room, as the body of its one message has yet to be sent."""
    chunks = submit.messages[0].chunks if submit.messages else None
    return chunks is not None and not chunks.body


class Ticket:
    """A Submit that waits, or has been let in and not come yet."""

    __slots__ = (
        "coming_bytes",
        "deadline",
        "inquiry",
        "key",
        "number",
        "several",
        "sizes",
        "submit",
        "submitted",
        "told",
        "transient",
        "wants",
        "why",
    )

    def __init__(self, key: Key, submit: Submit, wants: list[tuple[str, list[int]]], deadline: float, number: int) -> None:
        self.key = key
        self.number = number
        """Its name before the coordinator."""
        self.wants = wants
        """What to reserve; empty when no queue among the messages' makes its publishers wait."""
        self.submitted = submit.submitted if isinstance(submit, RoutedSubmit) else 0
        """How many messages its sender counts, when they have become another number: all of them are let in, or none."""
        self.transient = any(map(is_transient, submit.messages))
        """Some of it is kept in memory only: it waits for room there, in a line of its own, and others do not wait behind it."""
        self.sizes = [message.size + OVERHEAD_BYTES * self.transient for message in submit.messages]
        self.deadline = deadline
        """When the publisher is told that it was in vain; 0: at once."""
        self.several = submit.several
        self.inquiry = asks_for_room(submit)
        self.submit: Submit | None = None if self.inquiry else submit
        """Until it is clear that it has to wait."""
        self.coming_bytes = 0
        """As far as it counts as let in."""
        self.why = NO_ANSWER
        self.told = False
        """The publisher knows that it is held."""

    @property
    def size(self) -> int:
        """Bytes of the bodies; of what is kept in memory with what it takes there beside them."""
        return sum(self.sizes)


class Gate:
    """Lets submits in, in the order in which they came. ``accept`` takes the messages of one."""

    def __init__(
        self,
        turn: Turn,
        settings: Settings,
        arguments: QueueArguments,
        alarms: Alarms,
        pages: Pages,
        *,
        ask: Callable[[PeerMessage], bool],
        accept: Callable[[bytes, Submit], None],
    ) -> None:
        self._turn = turn
        self._settings = settings
        self._arguments = arguments
        self._alarms = alarms
        self._pages = pages
        self._ask = ask
        self._accept = accept
        self.now = 0.0
        self.unconfirmed_bytes = 0
        """Of messages that were taken and wait for their copies."""
        self._coming_bytes = 0
        """Of submits that were let in and have not come yet."""
        self._number = 0
        self._lines: tuple[OrderedDict[Key, Ticket], OrderedDict[Key, Ticket]] = (OrderedDict(), OrderedDict())
        """Those that wait for this node: what goes to the disk, and what has something transient."""
        self._asked: dict[int, Ticket] = {}
        """Those that wait for the coordinator."""
        self._let_in: OrderedDict[Key, tuple[Ticket, int, float]] = OrderedDict()
        """(ticket, how many messages, until when)."""
        self._spent: list[int] = []
        self._deadlines: list[tuple[float, int, Ticket]] = []

    def __len__(self) -> int:
        return sum(map(len, self._lines)) + len(self._asked)

    # -- submits --------------------

    def enter(self, session: bytes, submit: Submit) -> None:
        """Take a submit, now or when there is room, or answer why not."""
        if submit.granted and self._is_let_in((session, submit.granted), submit):
            self._accept(session, submit)
            return
        wants = self._wants(submit)
        why = self._shut(sum(len(message.body) for message in submit.messages)) or self._ahead(submit)
        if not why and not wants and asks_for_room(submit):
            self._turn.to_session(session, Go(submit.number, 1))
        elif not why and not wants:
            self._accept(session, submit)
        elif never := self._never(wants, whole=isinstance(submit, RoutedSubmit)):
            self._refuse((session, submit.number), never)
        elif len(self) >= TICKETS_MAX:
            self._refuse((session, submit.number), f"busy: {len(self)} publishers wait at this node; it has no place for more")
        else:
            self._number += 1
            deadline = self.now + submit.deadline_ms / 1000 if submit.deadline_ms else 0.0
            ticket = Ticket((session, submit.number), submit, wants, deadline, self._number)
            if deadline:
                heapq.heappush(self._deadlines, (deadline, ticket.number, ticket))
            if why:
                self._lines[ticket.transient][ticket.key] = ticket
                self._hold(ticket, why)
            else:
                self._forward(ticket)

    def _wants(self, submit: Submit) -> list[tuple[str, list[int]]]:
        if not self._arguments.any_limits():
            return []
        limits = self._arguments.limits
        if not any((found := limits(queue)) is not None and found.rejects for queue in {message.queue for message in submit.messages}):
            return []
        if isinstance(submit, RoutedSubmit):
            sizes: dict[str, list[int]] = {}
            for message in submit.messages:
                sizes.setdefault(message.queue, []).append(message.size)
            return list(sizes.items())
        return [(queue, [one.size for one in group]) for queue, group in groupby(submit.messages, key=lambda message: message.queue)]

    def _never(self, wants: list[tuple[str, list[int]]], *, whole: bool) -> str:
        for queue, sizes in wants:
            limits = self._arguments.limits(queue)
            if limits is None or not limits.rejects:
                continue
            if limits.max_bytes and max(sizes) > limits.max_bytes:
                return f"queue-full: a body of {max(sizes)} bytes; the queue {queue!r} holds at most max_bytes = {limits.max_bytes}"
            if whole and ((limits.max_length and len(sizes) > limits.max_length) or (limits.max_bytes and sum(sizes) > limits.max_bytes)):
                return (
                    f"queue-full: {len(sizes)} copies at once; the queue {queue!r} holds at most {describe(limits)}: submit fewer at once"
                )
        return ""

    def _shut(self, size: int) -> str:
        """Why nothing of that size is taken now."""
        if self._alarms.closed:
            return self._alarms.closed
        under_way = self.unconfirmed_bytes + self._coming_bytes
        if under_way and under_way + size > self._settings.max_accepted_bytes:
            limit = self._settings.max_accepted_bytes
            return f"busy: {under_way} bytes wait for their copies; the limit is max_accepted_bytes = {limit}"
        return ""

    def _crowded(self, size: int) -> str:
        """Why nothing of that size is taken now that would be in memory only."""
        held, limit = self._pages.fleeting_bytes + self._coming_bytes, self._settings.max_transient_bytes
        if held and held + size > limit:
            return f"busy: {held} bytes of transient messages are in memory; the limit is max_transient_bytes = {limit}"
        return ""

    def _ahead(self, submit: Submit) -> str:
        """Why a new one has to wait although the node is open: others came before, or memory is full of what is there only."""
        line, transient_line = self._lines
        may_be_crowded = transient_line or self._pages.fleeting_bytes > self._settings.max_transient_bytes // 2
        if may_be_crowded and any(map(is_transient, submit.messages)):
            size = sum(OVERHEAD_BYTES + len(message.body) for message in submit.messages)
            return next(iter(transient_line.values())).why if transient_line else self._crowded(size)
        return next(iter(line.values())).why if line else ""

    def _is_let_in(self, key: Key, submit: Submit) -> bool:
        found = self._let_in.get(key)
        if found is None or found[1] != len(submit.messages):
            return False
        self._forget(key)
        return True

    # -- waiting --------------------

    def _hold(self, ticket: Ticket, why: str) -> None:
        """It has to wait: only its place is kept."""
        self._count(ticket, 0)
        ticket.submit = None
        ticket.why = why
        if ticket.several:
            self._give_up(ticket, APART)
        elif not ticket.deadline:
            self._give_up(ticket, why)
        elif not ticket.told:
            ticket.told = True
            session, number = ticket.key
            self._turn.to_session(session, Held(number, why))

    def _count(self, ticket: Ticket, coming_bytes: int) -> None:
        self._coming_bytes += coming_bytes - ticket.coming_bytes
        ticket.coming_bytes = coming_bytes

    def _forward(self, ticket: Ticket) -> None:
        """This node has room: now the coordinator decides, if it has to."""
        if not ticket.wants:
            self._admit(ticket, len(ticket.sizes))
            return
        self._asked[ticket.number] = ticket
        if ticket.submit is not None:
            self._count(ticket, ticket.size)
        if not self._ask(Reserve(ticket.number, ticket.wants, ticket.submitted > 0)) and ticket.number in self._asked:
            self._hold(ticket, NO_COORDINATOR)

    def on_reserved(self, answer: Reserved) -> None:
        """The coordinator has room for a ticket's messages, or says why not."""
        ticket = self._asked.get(answer.number)
        if ticket is None:
            if answer.count:
                self._spent.append(answer.number)
        elif answer.count:
            del self._asked[answer.number]
            self._admit(ticket, min(answer.count, len(ticket.sizes)))
        else:
            self._hold(ticket, answer.why)

    def _admit(self, ticket: Ticket, count: int) -> None:
        session, number = ticket.key
        if ticket.submit is not None and count == len(ticket.sizes):
            self._count(ticket, 0)
            self._accept(session, ticket.submit)
            self._spend(ticket)
        elif ticket.several:
            self._count(ticket, 0)
            self._spend(ticket)
            self._refuse(ticket.key, APART)
        else:
            del ticket.sizes[count:]
            ticket.submit = None
            until = self.now + GRANT_S
            if ticket.inquiry:  # its chunks have a window of their own
                until += ticket.size / UPLOAD_BYTES_S
            else:
                self._count(ticket, ticket.size)
            self._let_in[ticket.key] = (ticket, count, until)
            self._turn.to_session(session, Go(number, ticket.submitted or count))

    def _spend(self, ticket: Ticket) -> None:
        if ticket.wants:
            self._spent.append(ticket.number)

    def _forget(self, key: Key) -> None:
        """One that was let in has come, or will not."""
        ticket, _, _ = self._let_in.pop(key)
        self._count(ticket, 0)
        self._spend(ticket)

    def _leave(self, ticket: Ticket) -> bool:
        """Take it out of the lines; False when it is in none."""
        line = self._lines[ticket.transient]
        if line.get(ticket.key) is ticket:
            del line[ticket.key]
        elif self._asked.pop(ticket.number, None) is not None:
            self._count(ticket, 0)
            self._spent.append(ticket.number)
        else:
            return False
        return True

    def _give_up(self, ticket: Ticket, why: str) -> None:
        if self._leave(ticket):
            self._refuse(ticket.key, why)

    def _refuse(self, key: Key, why: str) -> None:
        session, number = key
        self._turn.to_session(session, Confirm(number, 0, why))

    # -- time --------------------

    def advance(self) -> None:
        """Let in, in their order, those for which this node has room by now."""
        for line in self._lines:
            while line:
                ticket = next(iter(line.values()))
                if self._shut(ticket.size) or (ticket.transient and self._crowded(ticket.size)):
                    break
                del line[ticket.key]
                self._forward(ticket)

    def tell_spent(self) -> None:
        """What was reserved has become messages, or is not needed; said after those messages have left for the coordinator."""
        if not self._spent:
            return
        spent, self._spent = self._spent, []
        for number in spent:
            self._ask(Reserve(number, []))

    def tick(self) -> None:
        """Answer those whose deadline has come; take back what was reserved for those who do not come."""
        while self._deadlines and self._deadlines[0][0] <= self.now:
            ticket = heapq.heappop(self._deadlines)[2]
            self._give_up(ticket, ticket.why)
        for key in [key for key, (_, _, until) in self._let_in.items() if until <= self.now]:
            self._forget(key)

    def ask_again(self) -> None:
        """The coordinator is another one, or has forgotten what it was asked: everybody in line asks anew.

        What is spent is still to be told: it may have granted that a moment ago, as the first thing in its reign.
        """
        for ticket in list(self._asked.values()):
            self._ask(Reserve(ticket.number, ticket.wants, ticket.submitted > 0))

    def close(self, session: bytes) -> None:
        """A program has left."""
        for ticket in [
            ticket for ticket in [*self._lines[0].values(), *self._lines[1].values(), *self._asked.values()] if ticket.key[0] == session
        ]:
            self._leave(ticket)
        for key in [key for key in self._let_in if key[0] == session]:
            self._forget(key)
