"""How commands reach a node: as any client does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from mesh.client.client import Client
from mesh.client.find import NodeFinder
from mesh.client.options import Options
from mesh.errors import NoCoordinator
from mesh.wire.entries import Message

ANSWER_TIMEOUT_S = 5.0
"""For the answer of a node, after the time that finding one may take."""
TAKEOVER_PATIENCE_S = 5.0
TAKEOVER_PAUSE_S = 0.2
"""A takeover is over in a second or two: a command waits for it rather than tell a person to type it again."""

F = TypeVar("F", bound=Callable[..., Any])


def mesh_option(command: F) -> F:
    """Adds ``--mesh``."""
    return click.option("--mesh", metavar="NAME", help="Which mesh.  [default: $MESH_NAME, else default]")(command)


class Questions:
    """The questions of a command to the mesh."""

    def __init__(self, client: Client, patience_s: float) -> None:
        self._client = client
        self._patience_s = patience_s

    def query(self, what: str, argument: str = "") -> dict[str, Any]:
        """The answer to a question of docs/protocol.md whose answer is an object.

        Raises MeshNotFound, NotAllowed, NoCoordinator, InvalidSetting, NotFound, MeshError.
        """
        answer: dict[str, Any] = self._ask(what, argument)
        return answer

    def rows(self, what: str, argument: str) -> list[Any]:
        """The same where the answer is an array."""
        answer: list[Any] = self._ask(what, argument)
        return answer

    def publish(self, messages: list[Message], deadline_s: float) -> None:
        """Submit messages as they are. Raises as Client.submit."""
        self._client.submit(messages, deadline_s)

    def _ask(self, what: str, argument: str) -> Any:
        give_up_at = time.monotonic() + TAKEOVER_PATIENCE_S
        while True:
            try:
                return json.loads(self._client.query(what, argument, time.monotonic() + self._patience_s))
            except NoCoordinator:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(TAKEOVER_PAUSE_S)


@contextmanager
def attached(options: Options) -> Iterator[Questions]:
    """A connection to the node on this machine, or to one that is found when there is none; looked for at the first question.

    Raises MeshNotFound at once when there is nowhere to look.
    """
    settings = options.settings()
    finder = NodeFinder(options.mesh, options.home.root, options["join"], settings)
    finder.check_places()
    client = Client(finder, "mesh", settings)
    try:
        yield Questions(client, settings.discovery_timeout_s + ANSWER_TIMEOUT_S)
    finally:
        client.close()
