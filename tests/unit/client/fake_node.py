"""A node for tests of the library: a thread with a real ipc ROUTER that speaks the session protocol, honestly or as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import zmq

from mesh.wire.bodies import decode_call, encode
from mesh.wire.entries import Failure, Message, Result, Status
from mesh.wire.frames import decode_request
from mesh.wire.frames import encode as frame
from mesh.wire.messages import (
    Answer,
    Attach,
    Attached,
    Confirm,
    Detach,
    Fetch,
    Fetched,
    Go,
    Grant,
    Leaving,
    NewCoordinator,
    Ping,
    Pong,
    Query,
    Refused,
    Results,
    SessionReply,
    Submit,
    Upload,
    UploadChunk,
    Watch,
)

Run = Callable[[Message], Result | None]


def run_nothing(message: Message) -> Result | None:
    """No worker: every task waits."""
    return None


def add(message: Message) -> Result:
    """A worker that adds its arguments."""
    args, kwargs = decode_call(message.body)
    return success(message.id, sum(args) + sum(kwargs.values()))


def success(id: str, value: object) -> Result:
    return Result(id=id, status=Status.SUCCESS, body=encode(value), node="server", worker="w1")


def failure(id: str, type_name: str, message: str, arguments: object = None) -> Result:
    encoded = b"" if arguments is None else encode(arguments)
    trace = f"Traceback (most recent call last):\n{type_name}: {message}\n"
    return Result(id=id, status=Status.FAILURE, failure=Failure(type_name, message, encoded, trace), node="server", worker="w1")


def answer_status(what: str, argument: str) -> tuple[object, str]:
    """Knows one question."""
    return {"asked": what}, "" if what == "status" else f"no such question: {what}"


class FakeNode:
    """``run`` makes a task's result; ``confirm`` its confirm, None for silence; ``answer`` the (value, error) for a question.

    Counters and lists say what came in.
    """

    def __init__(self, path: Path, run: Run = run_nothing, *, max_body_bytes: int = 1 << 20) -> None:
        self.path = path
        self.run = run
        self.confirm: Callable[[Submit], Confirm | None] = lambda submit: Confirm(submit.number, copies=2)
        self.answer: Callable[[str, str], tuple[object, str]] = answer_status
        self.refusal: Refused | None = None
        self.silent = False
        self.room = True
        """It has room for large bodies."""
        self.asked: list[int] = []
        """Numbers of the submits that asked for it."""
        self.shut = ""
        """Why no large body is taken."""
        self.uploaded: dict[bytes, bytearray] = {}
        """Large bodies that came, by their id."""
        self.stored: dict[bytes, list[bytes]] = {}
        """The chunks of large results, by the body's id."""
        self.max_body_bytes = max_body_bytes
        self.attaches: list[Attach] = []
        self.submits: list[list[str]] = []
        self.watched: list[list[str]] = []
        self.detached = 0
        self.pings = 0
        self.messages: dict[str, Message] = {}
        self.results: dict[str, Result] = {}
        self.sessions: dict[bytes, set[str]] = {}
        self._orders: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    # -- life --------------------

    def start(self) -> FakeNode:
        self.sessions.clear()
        self._stopping = threading.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="fake-node", daemon=True)
        self._thread.start()
        assert ready.wait(5)
        return self

    def stop(self) -> None:
        """As kill -9 does it: the sockets close without a word."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(5)
            self._thread = None

    @property
    def up(self) -> bool:
        return self._thread is not None

    # -- orders from the test --------------------

    def finish(self, result: Result) -> None:
        """A worker has finished this task."""

        def do() -> None:
            self.results[result.id] = result
            for session, ids in self.sessions.items():
                if result.id in ids:
                    self._send(session, Results([result]))

        self._order(do)

    def tell_all(self, reply: SessionReply) -> None:
        self._order(lambda: [self._send(session, reply) for session in list(self.sessions)] and None)

    def leave(self) -> None:
        self.tell_all(Leaving())

    def reign(self) -> None:
        self.tell_all(NewCoordinator("server", 2))

    def _order(self, do: Callable[[], None]) -> None:
        with self._lock:
            self._orders.append(do)

    # -- the thread --------------------

    def _serve(self, ready: threading.Event) -> None:
        context = zmq.Context()
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self.path.unlink(missing_ok=True)
        self._socket.bind(f"ipc://{self.path}")
        ready.set()
        try:
            while not self._stopping.is_set():
                with self._lock:
                    orders, self._orders = self._orders, []
                for order in orders:
                    order()
                if self._socket.poll(2):
                    session, payload = self._socket.recv_multipart()
                    if not self.silent:
                        self._take(session, payload)
        finally:
            self._socket.close()
            context.term()

    def _send(self, session: bytes, reply: SessionReply) -> None:
        self._socket.send_multipart([session, frame(reply)])

    def _take(self, session: bytes, payload: bytes) -> None:
        request = decode_request(payload)
        if isinstance(request, Attach):
            self.attaches.append(request)
            if self.refusal is not None:
                self._send(session, self.refusal)
                return
            self.sessions[session] = set()
            self._send(session, Attached("default", "meshid", "server", "nodeid", "server", max_body_bytes=self.max_body_bytes))
        elif isinstance(request, Submit):
            self._submit(session, request)
        elif isinstance(request, Upload):
            self._send(session, Grant(request.body, 0 if self.shut else -(-request.size // request.chunk_bytes), self.shut))
        elif isinstance(request, UploadChunk):
            self.uploaded.setdefault(request.body, bytearray()).extend(request.data)
        elif isinstance(request, Fetch):
            self._send(session, Fetched(request.number, request.index, self.stored[request.chunks.body][request.index]))
        elif isinstance(request, Watch):
            self._watch(session, request)
        elif isinstance(request, Ping):
            self.pings += 1
            self._send(session, Pong())
        elif isinstance(request, Query):
            value, error = self.answer(request.what, request.argument)
            self._send(session, Answer(request.number, json.dumps(value).encode(), error))
        elif isinstance(request, Detach):
            self.detached += 1
            self.sessions.pop(session, None)

    def _submit(self, session: bytes, submit: Submit) -> None:
        chunks = submit.messages[0].chunks if submit.messages else None
        if chunks is not None and not chunks.body:
            self.asked.append(submit.number)
            if self.room:
                self._send(session, Go(submit.number, 1))
            return
        self.submits.append([message.id for message in submit.messages])
        confirm = self.confirm(submit)
        if confirm is None:
            return
        done = []
        if confirm.copies:
            for message in submit.messages:
                self.messages[message.id] = message
                self.sessions.get(session, set()).add(message.id)
                result = self.results.get(message.id) or self.run(message)
                if result is not None:
                    self.results[message.id] = result
                    done.append(result)
        self._send(session, confirm)
        for start in range(0, len(done), 64):
            self._send(session, Results(done[start : start + 64]))

    def _watch(self, session: bytes, watch: Watch) -> None:
        self.watched.append(watch.ids)
        self.sessions.get(session, set()).update(watch.ids)
        known = [self.results[id] for id in watch.ids if id in self.results]
        states = [(id, int(Status.PENDING if id in self.messages else Status.UNKNOWN)) for id in watch.ids if id not in self.results]
        self._send(session, Results(known, states))
