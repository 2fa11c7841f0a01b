"""Following a purge, or the deletion of a long queue, until all is dropped that was to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.errors import NoCoordinator

FOLLOWED = 1000
"""With so many messages the answer may come before all are gone."""
PAUSE_S = 0.2


def follow(
    changes: Sequence[Mapping[str, Any]], answer: Mapping[str, Any], ask: Callable[[], Mapping[str, Any]], tell: Callable[[str, int], None]
) -> None:
    """Return when nothing is left of what the ``answer`` to some changes says that they drop. ``ask`` asks the question ``purges``.

    ``tell`` is called with a queue and how many messages wait in it still. Raises NoCoordinator when a change of the coordinator broke it
    off, and what ``ask`` raises.
    """
    queues = {change["name"] for change, row in zip(changes, answer["changes"], strict=True) if row.get("messages", 0) >= FOLLOWED}
    while queues:
        state = ask()
        left = {queue: count for queue, count in state["queues"].items() if queue in queues}
        if state["term"] != answer["term"]:
            text = "the coordinator changed before all was dropped"
            raise NoCoordinator(f"{text}; what is left of {', '.join(sorted(queues))} still waits: ask for it again")
        if not left:
            return
        for queue, count in left.items():
            tell(queue, count)
        time.sleep(PAUSE_S)
