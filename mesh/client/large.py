"""Results whose value is large: they count as here when the whole value is."""

from __future__ import annotations

from typing import cast

from msgspec.structs import replace

from mesh.client.bodies import BodyReceiver, Buffer, Send
from mesh.client.pending import PendingTable
from mesh.wire.entries import Failure, Result, Status
from mesh.wire.messages import Fetched, Results

BODY_LOST = "mesh.errors.BodyLost"


class LargeResults:
    """The results whose values are on their way."""

    def __init__(self) -> None:
        self._receiver = BodyReceiver()
        self._results: dict[str, tuple[Result, Buffer]] = {}

    def keep(self, news: Results, pending: PendingTable) -> Results:
        """The news without the results whose value has to be fetched; it is, where somebody waits for it."""
        large = [result for result in news.results if result.chunks is not None]
        if not large:
            return news
        for result in large:
            if result.chunks is not None and pending.get(result.id) is not None and not self._receiver.brings(result.id, result.chunks):
                # a task that ran again, since the disk with its first value was lost, has another one
                buffer = Buffer()
                self._results[result.id] = result, buffer
                self._receiver.add(result.id, result.chunks, buffer)
        return Results([result for result in news.results if result.chunks is None], news.states)

    def send(self, send: Send, now_s: float, pending: PendingTable) -> None:
        """Ask for what is missing, as far as somebody still waits for it."""
        if self._results:
            for id in [id for id in self._results if pending.get(id) is None]:
                del self._results[id]
                self._receiver.drop(id)
            self._receiver.send(send, now_s)

    def again(self) -> None:
        """The node, or the coordinator, is another one."""
        self._receiver.again()

    def on_fetched(self, fetched: Fetched) -> Results:
        """A chunk has come: the results that are whole with it, or whose value is lost."""
        self._receiver.on_fetched(fetched)
        results = []
        for id, error in self._receiver.take_finished():
            result, buffer = self._results.pop(id)
            if error:
                results.append(
                    replace(result, status=Status.FAILURE, chunks=None, failure=Failure(BODY_LOST, f"the value of task {id}: {error}"))
                )
            else:
                results.append(replace(result, body=cast(bytes, buffer.body), chunks=None))  # a copy of it would take as long as a chunk
        return Results(results)
