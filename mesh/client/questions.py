"""What a client asks its node: how tasks stand, and questions about the mesh. All methods are called with the client's lock held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from mesh.wire.messages import Answer, Query, SessionRequest, Watch

WATCH_IDS = 1000
"""Most ids in one Watch."""


class Question:
    """One question until its answer is there, or will not come."""

    __slots__ = ("answer", "argument", "latch", "number", "sent", "what")

    def __init__(self, number: int, what: str, argument: str) -> None:
        self.number = number
        self.what = what
        self.argument = argument
        self.sent = False
        self.answer: Answer | None = None
        self.latch = held_latch()
        """Held until then."""

    def finish(self, answer: Answer | None) -> None:
        """Wake who asked."""
        if self.latch.locked():
            self.answer = answer
            self.latch.release()


class Questions:
    """What is to be asked, and what has no answer yet."""

    def __init__(self) -> None:
        self.to_watch: list[str] = []
        """Ids whose results the node shall send, or say how they stand."""
        self.watched: set[str] = set()
        """Those of them whose states on the way are wanted, too."""
        self._asked: dict[int, Question] = {}
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self.to_watch or self._asked)

    def follow(self, id: str, wanted: bool) -> None:
        """Ask for the states of a task on the way, or no longer."""
        if wanted:
            self.watched.add(id)
            self.to_watch.append(id)
        else:
            self.watched.discard(id)

    def ask(self, what: str, argument: str) -> Question:
        """A new question; :meth:`forget` has to follow."""
        self._number += 1
        question = self._asked[self._number] = Question(self._number, what, argument)
        return question

    def forget(self, question: Question) -> None:
        """Nobody waits for it any more."""
        self._asked.pop(question.number, None)

    def on_answer(self, answer: Answer) -> None:
        """The node has answered."""
        question = self._asked.get(answer.number)
        if question is not None:
            question.finish(answer)

    def give_up(self) -> None:
        """No answer will come."""
        for question in self._asked.values():
            question.finish(None)

    def again(self, ids: Iterable[str]) -> None:
        """The node is another one: all is asked anew, and these ids are watched."""
        for question in self._asked.values():
            question.sent = False
        self.to_watch = list(ids)

    def send(self, send: Callable[[SessionRequest], bool]) -> None:
        """Ask what was not asked yet."""
        while self.to_watch:
            ids = self.to_watch[:WATCH_IDS]
            watched = [id for id in ids if id in self.watched] if self.watched else []
            if watched and not send(Watch(watched, states=True)):
                return
            others = [id for id in ids if id not in self.watched] if watched else ids
            if others and not send(Watch(others)):
                return
            del self.to_watch[:WATCH_IDS]
        for question in self._asked.values():
            if not question.sent:
                question.sent = send(Query(question.number, question.what, question.argument))


def held_latch() -> threading.Lock:
    """A lock to block on until somebody releases it: much cheaper than an Event, and there is one for each call."""
    latch = threading.Lock()
    latch.acquire()
    return latch
