"""What nodes said and became, as text that a person can review: one line for each message, without the steady hum of heartbeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.core.states import Role
from mesh.wire.entries import Member, Message, Result, Status
from mesh.wire.messages import (
    Abdicate,
    Append,
    Confirm,
    Deliver,
    DotSet,
    Goodbye,
    Leaving,
    NewCoordinator,
    Offer,
    Outcomes,
    OutcomesKept,
    PreVote,
    PreVoted,
    Refused,
    Reign,
    Release,
    Replicate,
    Report,
    Reset,
    Results,
    Vote,
    Voted,
    Watch,
    Welcome,
    WorkerGone,
)
from tests.unit.core.cluster import Cluster, Node


def _granted(message: PreVoted | Voted) -> str:
    return f"{'yes' if message.granted else 'no'}, term {message.term}"


def _outcomes(message: Outcomes) -> str:
    kinds = ("done", "returned", "lost")
    return " ".join(f"{outcome.id} {kinds[outcome.kind]}" for outcome in message.outcomes)


def _results(message: Results) -> str:
    ended = [f"{result.id} {Status(result.status).name}" for result in message.results]
    return " ".join([*ended, *(f"{id} {Status(status).name}" for id, status in message.states)])


def _journal(name: bytes) -> str:
    return name.rstrip(b"\0").decode()


def _dots(dots: DotSet) -> str:
    pairs = zip(dots.ranges[::2], dots.ranges[1::2], strict=True)
    return " ".join(f"{_journal(dots.journal)}:{first}" + (f"-{last}" if last > first else "") for first, last in pairs)


def _append(append: Append) -> list[str]:
    sequences = append.sequences or range(append.base + 1, append.base + 1 + len(append.entries))
    return [
        f"{_journal(append.journal)}:{sequence} {_entry(entry)}"
        for sequence, entry in zip(sequences, append.entries, strict=True)
        if not isinstance(entry, Member)
    ]


def _entry(entry: Any) -> str:
    if isinstance(entry, Message):
        return f"message {entry.id}" + (f" (lost {entry.attempts} times)" if entry.attempts else "")
    assert isinstance(entry, Result)
    return f"result {entry.id} {Status(entry.status).name}"


def _replicate(message: Replicate) -> str:
    parts = [line for append in message.appends for line in _append(append)]
    settled = [_dots(dots) for dots in message.settled if not _journal(dots.journal).endswith("s")]
    parts += [f"settled {' '.join(settled)}"] if settled else []
    parts += [f"{worker} holds {' '.join(ids)}" for worker, _node, ids in message.leases]
    return "; ".join(parts)


TEXTS: dict[type, Callable[[Any], str]] = {
    PreVote: lambda m: f"term {m.term}",
    PreVoted: _granted,
    Vote: lambda m: f"term {m.term}" + (", handover" if m.handover else ""),
    Voted: _granted,
    Reign: lambda m: f"term {m.term}",
    Report: lambda m: f"term {m.term}" + (f", workers {' '.join(m.workers)}" if m.workers else ""),
    Welcome: lambda m: f"term {m.term}",
    Release: lambda m: f"term {m.term}",
    Reset: lambda m: f"epoch {m.epoch}",
    Abdicate: lambda m: f"term {m.term}",
    Goodbye: lambda m: "",
    Leaving: lambda m: "",
    Confirm: lambda m: f"{m.number}: {m.error or f'{m.copies} copies'}" if m.number else f"nobody consumes {', '.join(m.warnings)}",
    Deliver: lambda m: " ".join(f"{d.id} (attempt {d.attempt})" for d in m.deliveries),
    Outcomes: _outcomes,
    OutcomesKept: lambda m: " ".join(m.ids),
    Results: _results,
    Watch: lambda m: " ".join(m.ids),
    Offer: lambda m: f"{m.worker}" + ("" if m.active is None else f", holds {' '.join(m.active) or 'nothing'}"),
    WorkerGone: lambda m: m.worker,
    NewCoordinator: lambda m: f"{m.name or 'none'}, term {m.term}",
    Refused: lambda m: m.code,
    Replicate: _replicate,
}
"""What is said of each type; others (heartbeats, acknowledgements, answers) are left out, and streams that only carry members."""


class Transcript:
    """Lines of what has happened since they were last taken."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._roles: dict[str, tuple[int, Role, int, str]] = {}
        self._lines: list[str] = []
        self._noted = 0
        cluster.on_turn = self._on_turn

    def take(self) -> str:
        """The lines since the last time."""
        self._note_sent()
        lines, self._lines = self._lines, []
        return "\n".join(lines)

    def _on_turn(self, node: Node) -> None:
        election = node.machine.election
        follows = election.coordinator if election.role is Role.FOLLOWER else ""
        now = (node.life, election.role, election.term, follows)
        if self._roles.get(node.name) != now:
            self._roles[node.name] = now
            state = f"follows {follows}" if follows else election.role.name.lower()
            self._lines.append(f"{self._cluster.now:6.2f}  {node.name} {state}, term {election.term}")
        self._note_sent()

    def _note_sent(self) -> None:
        for sent in self._cluster.sent[self._noted :]:
            text = TEXTS.get(type(sent.message))
            if text is None:
                continue
            said = text(sent.message)
            if said or not isinstance(sent.message, Replicate):
                self._lines.append(f"{sent.at_s:6.2f}  {sent.sender} > {sent.receiver}  {type(sent.message).__name__} {said}".rstrip())
        self._noted = len(self._cluster.sent)
