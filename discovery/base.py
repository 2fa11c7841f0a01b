"""What discovery yields: addresses to try, never members (rule R13; DESIGN: discovery is a hint)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address where a node's lobby may be listening."""

    address: str
    """``host:port``; IPv6 hosts in brackets."""
    source: str
    """``local``, ``remembered``, ``seed`` or ``mdns``."""
    ours: bool = False
    """The finder has proof that it belongs to the mesh that is looked for (a keyed tag); False means unknown."""


class Finder(Protocol):
    """One layer of discovery, running until closed. Callbacks may come from another thread."""

    def close(self) -> None:
        """Stop looking and announcing."""
