"""The edge of a node: the clients and workers attached to it. It accepts messages, and relays between them and the coordinator.

It keeps nothing that can't be rebuilt: workers repeat what they hold and clients what they wait for when the coordinator changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from mesh.config import Settings
from mesh.core.broker.arguments import QueueArguments
from mesh.core.broker.plain import is_plain
from mesh.core.cluster.alarms import Alarms
from mesh.core.cluster.bodies import Bodies
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.cluster.scopes import is_transient
from mesh.core.cluster.topology import Topology
from mesh.core.edge.fetches import Fetches
from mesh.core.edge.gate import Gate
from mesh.core.edge.publishing import Publishing, RoutedSubmit
from mesh.core.edge.uploads import Uploads
from mesh.core.edge.waiting import Waiting
from mesh.core.effects import Identity
from mesh.core.kinds import problem_of, problem_of_flow
from mesh.core.turn import Turn
from mesh.errors import Unroutable
from mesh.wire.calls import Cancel, States
from mesh.wire.entries import Message
from mesh.wire.messages import (
    PROTOCOL_VERSION,
    Answer,
    Attach,
    Attached,
    CancelUpload,
    Confirm,
    Consume,
    Deliver,
    Detach,
    Fetch,
    Fetched,
    Leaving,
    NewCoordinator,
    Notice,
    Offer,
    Outcome,
    Outcomes,
    OutcomesKept,
    PeerMessage,
    Pong,
    Query,
    Recall,
    Refused,
    Reserved,
    Results,
    SessionReply,
    Submit,
    Take,
    Taken,
    Upload,
    UploadChunk,
    Watch,
    WorkerGone,
)
from mesh.wire.topology_changes import NAME_CHARS_MAX

WINDOW_BYTES_A_WAIT = 1600
"""For so many bytes of the window for messages one wait is kept in the faster of two ways: 20,000 by default."""
WATCH_CHUNK = 5_000
"""Ids in one Watch when a node asks a new coordinator for all that its clients wait for."""
QUESTIONS_MAX = 10_000
"""Questions under way to the coordinator; a program that asks more at once is told to wait."""
QUESTION_TIMEOUT_S = 30.0
"""After so long an answer will not come: it was lost with a coordinator."""
KINDS = ("client", "worker")
WHOSE = "apart: some of the messages are in no queue's way; submit those of each caller by themselves, so that it is clear whose"
PLAIN = [""]
"""The tasks that the consumers of a client offer: none but plain messages."""
MAX_ID_CHARS = 255
UNWARNED_MAX = 100
"""Names of queues that are kept for a session until it is known who consumes them, about."""


class Session:
    """One attachment of a client or worker."""

    __slots__ = ("heard_at", "id", "kind", "name", "pid", "workers")

    def __init__(self, id: bytes, attach: Attach, now: float) -> None:
        self.id = id
        self.kind = attach.kind
        self.name = attach.name
        self.pid = attach.pid
        self.heard_at = now
        self.workers: dict[str, None] = {}
        """What has made an offer: ids of the worker, or of the consumers of a client."""


class Edge:
    """Sessions of this node, and what they wait for."""

    def __init__(
        self,
        me: Identity,
        replica: Replica,
        membership: Membership,
        replication: Replication,
        bodies: Bodies,
        turn: Turn,
        settings: Settings,
        topology: Topology,
        arguments: QueueArguments,
        alarms: Alarms,
        *,
        to_coordinator: Callable[[PeerMessage], bool],
        coordinator: Callable[[], tuple[str, int]],
        local_answer: Callable[[str, str], tuple[bytes, str]],
    ) -> None:
        self._me = me
        self._replica = replica
        self._membership = membership
        self._replication = replication
        self._turn = turn
        self._settings = settings
        self._to_coordinator = to_coordinator
        self._coordinator = coordinator
        self._local_answer = local_answer
        self._alarms = alarms
        self.gate = Gate(turn, settings, arguments, alarms, replica.pages, ask=to_coordinator, accept=self._accept)
        self.publishing = Publishing(topology, arguments)
        self.now = 0.0
        self.wall_ms = 0
        self.sessions: dict[bytes, Session] = {}
        self.workers: dict[str, bytes] = {}
        """Id of a worker or consumer to its session."""
        self.waiting = Waiting(self.sessions, settings.window_bytes // WINDOW_BYTES_A_WAIT)
        self.consumed: frozenset[str] | None = None
        """Queues with a live consumer, as the coordinator told; None before it has."""
        self._unwarned: dict[bytes, set[str]] = {}
        """Session to the queues that it published to before that was known."""
        self._deadlines: list[tuple[float, bytes, int, list[bool]]] = []
        """(when, session, number, answered) of submits that durability="safe" may keep waiting too long (R6)."""
        self.refused = 0
        self._copied: list[Outcomes] = []
        """Outcomes with large values that are to go to the coordinator."""
        self._questions: dict[int, tuple[bytes, int, float]] = {}
        """Questions under way, oldest first: (session, its number, when it was asked)."""
        self._question_number = 0
        self._told = ("", -1)
        self.uploads = Uploads(replica, replication, turn, settings)
        self.fetches = Fetches(bodies, turn, to_coordinator, lambda: coordinator()[0] == me.id)
        self._handlers: dict[type, Callable[[Session, object], None]] = {
            Submit: self._on_submit,  # type: ignore[dict-item]
            Offer: self._on_offer,  # type: ignore[dict-item]
            Outcomes: self._on_outcomes,  # type: ignore[dict-item]
            WorkerGone: lambda session, gone: self._lose_worker(session, gone.worker, by_itself=True),  # type: ignore[attr-defined]
            Take: self._on_take,  # type: ignore[dict-item]
            States: self._on_states,  # type: ignore[dict-item]
            Watch: self._on_watch,  # type: ignore[dict-item]
            Query: self._on_query,  # type: ignore[dict-item]
            Upload: self._on_upload,  # type: ignore[dict-item]
            UploadChunk: lambda session, chunk: self.uploads.on_chunk(session.id, chunk),  # type: ignore[arg-type]
            CancelUpload: lambda session, cancel: self.uploads.cancel(session.id, cancel.body),  # type: ignore[attr-defined]
            Fetch: lambda session, fetch: self.fetches.on_session(session.id, fetch),  # type: ignore[arg-type]
        }

    # -- requests of sessions --------------------

    def on_request(self, id: bytes, request: object) -> None:
        """Any message from an attached program."""
        session = self.sessions.get(id)
        if isinstance(request, Attach):
            self._on_attach(id, request)
        elif session is None:
            self._turn.to_session(id, Refused("not-attached", "attach first"))
        else:
            session.heard_at = self.now
            handler = self._handlers.get(type(request))
            if handler is not None:
                handler(session, request)
            elif type(request).__name__ == "Ping":
                self._turn.to_session(id, Pong())
            else:
                self.close(id, by_itself=isinstance(request, Detach))

    def _on_attach(self, id: bytes, attach: Attach) -> None:
        refusal = _refusal(attach)
        if refusal is not None:
            self.refused += 1
            self._turn.to_session(id, refusal)
            return
        self.sessions[id] = Session(id, attach, self.now)
        coordinator, _term = self._coordinator()
        members = [member for member in self._membership.admitted() if member.id != self._me.id]
        me = self._me
        self._turn.to_session(
            id,
            Attached(
                me.mesh,
                me.mesh_id,
                me.name,
                me.id,
                self._membership.name_of(coordinator) if coordinator else "",
                members,
                self._settings.max_body_bytes,
            ),
        )

    def _on_submit(self, session: Session, submit: Submit) -> None:
        problem, plainly = self._check(submit)
        try:
            if not problem:
                submit = self.publishing.route(submit, self.wall_ms, plainly=plainly)
            if submit.several and isinstance(submit, RoutedSubmit) and submit.unroutable:
                problem = WHOSE
        except Unroutable as error:
            problem = f"unroutable: {error}"
        if problem:
            self.refused += 1
            self._turn.to_session(session.id, Confirm(submit.number, 0, problem))
        else:
            self.gate.enter(session.id, submit)

    def _check(self, submit: Submit) -> tuple[str, bool]:
        """(why the messages can't be accepted, whatever room there is; or nothing, whether all are tasks for queues by name)."""
        limit = self._settings.max_body_bytes
        plainly = True
        for message in submit.messages:
            if len(message.body) > limit:
                return self._too_large(len(message.body)), False
            if not (0 < len(message.id) <= MAX_ID_CHARS and len(message.queue) <= NAME_CHARS_MAX and len(message.task) <= NAME_CHARS_MAX):
                return "invalid: ids have 1 to 255 characters, queues and task names at most 255", False
            if problem := problem_of_flow(message):
                return problem, False
            if message.properties is None and message.queue:
                continue
            plainly = False
            problem = (
                problem_of(message.properties) if message.properties is not None else "invalid: a message needs a queue, or an exchange"
            )
            if problem:
                return problem, False
        return "", plainly

    def _accept(self, id: bytes, submit: Submit) -> None:
        """Write the messages of a session, and confirm them when they have their copies."""
        large = [message for message in submit.messages if message.chunks is not None]
        problem = self._refer(id, large) if large else ""
        if problem:
            self.refused += 1
            self._turn.to_session(id, Confirm(submit.number, 0, problem))
            return
        gate = self.gate
        size = sum([len(message.body) for message in submit.messages])
        self.waiting.add_many([message.id for message in submit.messages if not is_plain(message)], id)  # a plain message has no result
        on_disk = self._write(submit.messages)
        for message in large:
            self.uploads.forget(message.chunks)
        queues = {message.queue for message in submit.messages if message.task}
        unroutable = submit.unroutable if isinstance(submit, RoutedSubmit) else 0
        if not on_disk:  # nothing to wait for: a transient message is confirmed when it is routed, as in RabbitMQ
            self._turn.to_session(id, Confirm(submit.number, 0, "", self._unconsumed(id, queues), unroutable))
            return
        gate.unconfirmed_bytes += size
        answered = [False]
        if submit.deadline_ms and self._settings.durability == "safe":
            self._deadlines.append((self.now + submit.deadline_ms / 1000, id, submit.number, answered))

        def confirm(copies: int) -> None:
            gate.unconfirmed_bytes -= size
            if not answered[0]:
                answered[0] = True
                self._turn.to_session(id, Confirm(submit.number, copies, "", self._unconsumed(id, queues), unroutable))

        self._replication.copies.when_copied(confirm)

    def _write(self, messages: Sequence[Message]) -> bool:
        """Write messages that were accepted, in their order; False when all of them are in memory only."""
        transient = [message for message in messages if message.properties is not None and message.properties.transient]
        if not transient:
            self._replica.write_many(messages)
            return True
        if len(transient) == len(messages):
            self._replica.write_transient(messages)
            return False
        for fleeting, run in groupby(messages, key=is_transient):
            (self._replica.write_transient if fleeting else self._replica.write_many)(list(run))
        return True

    def _unconsumed(self, session: bytes, queues: set[str]) -> list[str]:
        """What a publisher is warned about: those of its queues that nobody consumes."""
        if self.consumed is not None:
            return sorted(queues - self.consumed)
        unwarned = self._unwarned.setdefault(session, set())
        if len(unwarned) < UNWARNED_MAX:
            unwarned |= queues
        return []

    def _on_upload(self, session: Session, upload: Upload) -> None:
        problem = (self._alarms.closed if session.kind == "client" else "") or self._too_large(upload.size)
        self.refused += bool(problem)
        self.uploads.begin(session.id, upload, problem)

    def _refer(self, session: bytes, things: Sequence[Message | Outcome]) -> str:
        """Let messages or outcomes refer to the bodies that their session has sent; why that can't be, or nothing."""
        found = [self.uploads.refer(session, thing.chunks) for thing in things if thing.chunks is not None]
        if None in found:
            return "invalid: the chunks of a body have not come, or are not what they should be"
        for thing, chunks in zip(things, found, strict=True):
            thing.chunks = chunks
            self.uploads.hand_over(chunks)
        return ""

    def _too_large(self, size: int) -> str:
        limit = self._settings.max_body_bytes
        return f"too-large: a body of {size} bytes; the limit is max_body_bytes = {limit}" if size > limit else ""

    def _on_offer(self, session: Session, offer: Offer) -> None:
        if session.kind == "client" and offer.tasks != PLAIN:
            return
        session.workers[offer.worker] = None
        self.workers[offer.worker] = session.id
        self._to_coordinator(offer)

    def _on_take(self, session: Session, take: Take) -> None:
        if take.worker in session.workers:
            self._to_coordinator(take)

    def _on_states(self, session: Session, states: States) -> None:
        if states.worker in session.workers:
            self._to_coordinator(states)

    def _on_outcomes(self, session: Session, outcomes: Outcomes) -> None:
        if outcomes.worker not in session.workers:
            return
        large = [outcome for outcome in outcomes.outcomes if outcome.chunks is not None]
        if not large:
            self._to_coordinator(outcomes)
        elif not self._refer(session.id, large):
            # The coordinator shall have the body first: it gives the word that the outcome is kept
            self._replication.copies.when_copied(lambda copies: self._copied.append(outcomes))

    def pass_on_copied(self) -> bool:
        """Tell the coordinator of outcomes whose large values have their copies by now; False when there are none."""
        if not self._copied:
            return False
        copied, self._copied = self._copied, []
        for outcomes in copied:
            self._to_coordinator(outcomes)
        return True

    def _on_watch(self, session: Session, watch: Watch) -> None:
        for id in watch.ids:
            self.waiting.add(id, session.id)
        self._to_coordinator(watch)

    def _on_query(self, session: Session, query: Query) -> None:
        if len(self._questions) >= QUESTIONS_MAX:
            error = f"busy: {QUESTIONS_MAX} questions wait for the coordinator's answer; ask again later"
            self._turn.to_session(session.id, Answer(query.number, b"null", error))
            return
        self._question_number += 1
        number = self._question_number
        self._questions[number] = (session.id, query.number, self.now)
        if not self._to_coordinator(Query(number, query.what, query.argument)):
            self.on_answer(Answer(number, *self._local_answer(query.what, query.argument)), False)

    # -- from the coordinator --------------------

    def from_coordinator(self, message: object, after_commit: bool) -> None:
        """A message that the coordinator, here or elsewhere, has for a program attached to this node."""
        if isinstance(message, Deliver | OutcomesKept | Notice | Taken | Recall | Consume | Cancel):
            session = self.workers.get(message.worker)
            if session is not None:
                self._turn.to_session(session, message)
        elif isinstance(message, Results):
            self._on_results(message, after_commit)
        elif isinstance(message, States):
            for state in message.states:
                for waiting in self.waiting.get(state.id):
                    self._turn.to_session(waiting, States("", [state]))
        elif isinstance(message, Answer):
            self.on_answer(message, after_commit)
        elif isinstance(message, Fetched):
            self.fetches.on_fetched(message)
        elif isinstance(message, Reserved):
            self.gate.on_reserved(message)

    def _on_results(self, message: Results, after_commit: bool) -> None:
        send = self._turn.to_session_after_commit if after_commit else self._turn.to_session
        by_session: dict[bytes, Results] = {}
        for result in message.results:
            for session in self.waiting.pop(result.id):
                found = by_session.get(session)
                if found is None:
                    found = by_session[session] = Results([])
                found.results.append(result)
        for id, status in message.states:
            for session in self.waiting.get(id):
                by_session.setdefault(session, Results([])).states.append((id, status))
        for session, results in by_session.items():
            if session in self.sessions:
                send(session, results)

    def on_consumers(self, queues: Iterable[str]) -> None:
        """The queues that are consumed; who published before that was known hears now what the confirms could not say."""
        self.consumed = frozenset(queues)
        unwarned, self._unwarned = self._unwarned, {}
        for session, published in unwarned.items():
            warnings = sorted(published - self.consumed)
            if warnings and session in self.sessions:
                self._turn.to_session(session, Confirm(0, 0, "", warnings))

    def on_answer(self, answer: Answer, after_commit: bool) -> None:
        """The answer to a question that this edge has passed on."""
        send = self._turn.to_session_after_commit if after_commit else self._turn.to_session
        asker = self._questions.pop(answer.number, None)
        if asker is not None:
            session, number, _ = asker
            send(session, Answer(number, answer.body, answer.error))

    def coordinator_changed(self) -> None:
        """Another coordinator reigns: workers repeat what they hold; it is told what clients wait for."""
        coordinator, term = self._coordinator()
        notice = NewCoordinator(self._membership.name_of(coordinator), term)
        for session in self.sessions.values():
            self._turn.to_session(session.id, notice)

    def watch_again(self) -> None:
        """Ask the coordinator for all results and all room that clients of this node wait for."""
        self.gate.ask_again()
        self._tell(self.waiting.tell_again())

    def _tell(self, ids: list[str]) -> None:
        for start in range(0, len(ids), WATCH_CHUNK):
            self._to_coordinator(Watch(ids[start : start + WATCH_CHUNK]))

    # -- coming and going --------------------

    def close(self, id: bytes, *, by_itself: bool = False) -> None:
        """A program has left, ``by_itself`` with a word, or was not heard for too long."""
        session = self.sessions.pop(id, None)
        if session is not None:
            self.waiting.closed(id)
        self._unwarned.pop(id, None)
        self.uploads.close(id)
        self.gate.close(id)
        if session is not None:
            for worker in list(session.workers):
                self._lose_worker(session, worker, by_itself=by_itself)

    def _lose_worker(self, session: Session, worker: str, *, by_itself: bool) -> None:
        """A worker or consumer is no longer there; nothing to say of one that is attached through another session by now."""
        session.workers.pop(worker, None)
        if self.workers.get(worker) == session.id:
            del self.workers[worker]
            self._to_coordinator(WorkerGone(worker, by_itself))

    def tick(self) -> None:
        """Forget sessions that are silent."""
        for session in list(self.sessions.values()):
            limit_s = self._settings.worker_timeout_s if session.kind == "worker" else self._settings.session_timeout_s
            if self.now - session.heard_at > limit_s:
                self.close(session.id)
        self.gate.tick()
        if self._deadlines:
            self._answer_overdue()
        while self._questions and self.now - next(iter(self._questions.values()))[2] > QUESTION_TIMEOUT_S:
            del self._questions[next(iter(self._questions))]
        self._tell(self.waiting.tick())

    def _answer_overdue(self) -> None:
        """Say that messages are kept but lack copies: they will run, and the publisher must not take them for safe."""
        for when, session, number, answered in self._deadlines:
            if self.now >= when and not answered[0]:
                answered[0] = True
                error = "not-enough-copies: accepted and kept here, but fewer disks than `copies` hold it; durability is safe"
                self._turn.to_session(session, Confirm(number, 1, error))
        self._deadlines = [waiting for waiting in self._deadlines if not waiting[3][0]]

    def leave(self) -> None:
        """The node stops: send its programs elsewhere."""
        leaving: SessionReply = Leaving()
        for session in self.sessions.values():
            self._turn.to_session(session.id, leaving)


def _refusal(attach: Attach) -> Refused | None:
    """Why a program can't attach, None when it can."""
    if attach.protocol != PROTOCOL_VERSION:
        text = f"this node speaks protocol {PROTOCOL_VERSION}, you speak {attach.protocol}: install the same version of mesh"
        return Refused("protocol", text)
    if attach.kind not in KINDS:
        return Refused("kind", f"a program attaches as {' or '.join(KINDS)}, not as {attach.kind[:40]!r}")
    return None
