"""What a worker is told, what it tells of itself, and what it needs of its attachment."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Protocol

from mesh.transport.poller import Poller
from mesh.wire.messages import Attached, SessionReply, SessionRequest


class WorkerLink(Protocol):
    """What a worker needs of its attachment to a node; mesh/client/link.py has it."""

    attached: Attached | None
    generation: int

    def register(self, poller: Poller) -> None:
        """Keep the link's socket in ``poller``."""

    def send(self, message: SessionRequest) -> bool:
        """False when nothing was sent."""

    def receive(self, limit: int = 256) -> list[SessionReply]:
        """What has come, without waiting."""

    def tick(self, now_s: float) -> None:
        """Beat, notice a lost node, look for the next."""

    def pause_s(self) -> float:
        """How long the owner may wait before the next tick."""

    def close(self) -> None:
        """Leave politely."""


@dataclass(frozen=True)
class WorkerSpec:
    """What a worker runs, and how much at once."""

    app: str
    """As ``-A`` takes it (mesh/worker/loader.py)."""
    queues: list[str] = field(default_factory=list)
    """Empty for the application's own."""
    concurrency: int = field(default_factory=lambda: os.cpu_count() or 1)
    pool: str = "process"
    """``process``, ``thread`` or ``async``."""
    name: str | None = None
    """For display; None for host name and process id."""

    @property
    def display_name(self) -> str:
        """The name, given or made."""
        return self.name or f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True)
class WorkerInfo:
    """What a banner shows, known when the application is loaded and a node has been found."""

    worker: str
    name: str
    mesh: str
    node: str
    coordinator: str
    app: str
    queues: list[str]
    tasks: list[str]
    slots: int
    pool: str
