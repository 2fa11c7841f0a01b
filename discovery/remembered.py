"""The last good addresses of known members, so that a node finds its mesh again where there is no multicast."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from mesh.discovery.private_files import read_bounded, write_private

PEERS_MAX = 256
ADDRESSES_MAX = 16
FILE_BYTES_MAX = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RememberedPeer:
    """A member and where it last answered."""

    id: str
    name: str
    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Its Curve25519 public key, hexadecimal: whoever answers at one of the addresses has to own it."""
    addresses: tuple[str, ...]
    """``host:port`` of its door, best first."""


class Remembered:
    """The file of remembered peers. Losing it costs speed, never state, so that no fault of the file is an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complained = False
        self._written: list[RememberedPeer] | None = None

    def load(self) -> list[RememberedPeer]:
        """The peers of the last save, at most PEERS_MAX; empty when the file is absent or damaged (logged once)."""
        try:
            data = read_bounded(self._path, FILE_BYTES_MAX)
            if data is None:
                return []
            peers = msgspec.json.decode(data, type=list[RememberedPeer])
        except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
            self._complain("can't use the remembered peers in %s, going on without: %s", error)
            return []
        self._written = _bounded(peers)
        return list(self._written)

    def save(self, peers: Iterable[RememberedPeer]) -> None:
        """Replaces the file. Of more than PEERS_MAX peers or ADDRESSES_MAX addresses the first stay, so put the best first.

        Nothing is written when nothing changed. A disk that refuses is logged once; the next save tries again.
        """
        kept = _bounded(peers)
        if kept == self._written:
            return
        try:
            write_private(self._path, msgspec.json.encode(kept))
        except OSError as error:
            self._complain("can't write the remembered peers to %s: %s", error)
            return
        self._written = kept

    def _complain(self, text: str, error: Exception) -> None:
        if not self._complained:
            log.warning(text, self._path, error)
            self._complained = True


def _bounded(peers: Iterable[RememberedPeer]) -> list[RememberedPeer]:
    return [RememberedPeer(peer.id, peer.name, peer.key, tuple(peer.addresses[:ADDRESSES_MAX])) for peer in list(peers)[:PEERS_MAX]]
