"""Messages on their way from an application into the mesh, and the results that its caller gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mesh import request
from mesh.calls import descended
from mesh.errors import NoCoordinator, NotEnoughCopies, PublishError
from mesh.messaging.publishing import Publishing
from mesh.result import AsyncResult
from mesh.wire.entries import Message

if TYPE_CHECKING:
    from mesh.app import Mesh


class Submission:
    """One batch. ``watched`` are the ids of which the caller wants the results; of a task whose ``unique`` key another one has it gets that
    one's, and the task is not sent.
    """

    def __init__(self, app: Mesh, messages: list[Message], watched: Sequence[str], deadline_s: float) -> None:
        self._app = app
        self._client = client = app.client
        self._deadline_s = deadline_s
        context = request.current()
        if context is not None:
            context.submitted(watched)
            messages = [descended(message, context) for message in messages]
        taken = self._taken(messages)
        if taken:
            messages = [message for message in messages if message.id not in taken]
        self._messages = messages
        self._ids = [message.id for message in messages]
        self._pending = client.expect(watched) if not taken else [self._awaited(id, taken) for id in watched]

    def send(self) -> list[AsyncResult[Any]]:
        """The results, when all is confirmed. Raises as Mesh.submit_many."""
        if not self._messages:
            return self._results(None)
        try:
            return self._results(self._client.submit(self._messages, self._deadline_s).copies)
        except PublishError as error:
            self._tell(error)
            raise

    async def send_async(self) -> list[AsyncResult[Any]]:
        """The same for an event loop, which goes on meanwhile."""
        if not self._messages:
            return self._results(None)
        client = self._client
        try:
            return self._results((await Publishing(client, client.submit_soon(self._messages, self._deadline_s))).copies)
        except PublishError as error:
            self._tell(error)
            raise

    def _taken(self, messages: list[Message]) -> dict[str, str]:
        """By the id of a message: the live task that has its key already. Without a coordinator nobody knows; it says so later."""
        keyed = [message for message in messages if message.call is not None and message.call.unique and message.flow is None]
        if not keyed:
            return {}
        wanted = [(message.call.unique, message.id) for message in keyed if message.call is not None]
        try:
            holders = json.loads(self._client.query("unique", json.dumps(wanted), self._deadline_s))
        except NoCoordinator:
            return {}
        return {message.id: holder for message, holder in zip(keyed, holders, strict=True) if holder != message.id}

    def _awaited(self, id: str, taken: dict[str, str]) -> Any:
        return self._client.watch(taken[id]) if id in taken else self._client.expect([id])[0]

    def _results(self, copies: int | None) -> list[AsyncResult[Any]]:
        return [AsyncResult(self._app, self._client, one, copies) for one in self._pending]

    def _tell(self, error: PublishError) -> None:
        """The ids of the call, and its results when it was accepted, are on its error."""
        error.task_ids = self._ids
        if isinstance(error, NotEnoughCopies):
            error.results = self._results(error.copies)
