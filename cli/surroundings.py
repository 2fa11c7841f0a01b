"""Discovery around a running node: mDNS, seeds, and the file of members to look for next time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from mesh.cli.lookout import seed_addresses
from mesh.discovery.mdns import Mdns
from mesh.discovery.remembered import Remembered, RememberedPeer

from mesh.wire.entries import Member

SEEDS_PAUSE_S = 15.0
SEEDS_PAUSE_MAX_S = 60.0

log = logging.getLogger("mesh.discovery")


class Surroundings:
    """Hands candidate addresses to the node, and keeps the members' addresses. Runs from construction until :meth:`close`."""

    def __init__(self, on_address: Callable[[str], None], peers_path: Path, seeds: Sequence[str], me: str) -> None:
        """``me`` is the id of the node itself, which is not remembered."""
        self._on_address = on_address
        self._seeds = tuple(seeds)
        self._me = me
        self._remembered = Remembered(peers_path)
        self._rosters: SimpleQueue[list[Member] | None] = SimpleQueue()
        self._mdns: Mdns | None = None
        self._thread = Thread(target=self._run, name="mesh-surroundings", daemon=True)
        self._thread.start()

    def announce(self, port: int, tag_key: bytes, interface: str | None, addresses: list[str] | None) -> None:
        """Announce the lobby's port by mDNS and listen for others."""
        self._mdns = Mdns(
            lambda candidate: self._on_address(candidate.address), port=port, tag_key=tag_key, interface=interface, addresses=addresses
        )

    def roster(self, members: list[Member]) -> None:
        """The members changed. Returns at once: the disk is another thread's business."""
        self._rosters.put(members)

    def close(self) -> None:
        """Say goodbye and stop."""
        self._rosters.put(None)
        if self._mdns is not None:
            self._mdns.close()

    def _run(self) -> None:
        pause_s, due_s = SEEDS_PAUSE_S, time.monotonic()
        while True:
            now_s = time.monotonic()
            if self._seeds and now_s >= due_s:
                due_s = now_s + pause_s
                pause_s = min(2 * pause_s, SEEDS_PAUSE_MAX_S)
                self._try_seeds()
            try:
                members = self._rosters.get(timeout=max(0.0, due_s - time.monotonic()) if self._seeds else None)
            except Empty:
                continue
            if members is None:
                return
            self._remember(members)

    def _try_seeds(self) -> None:
        for address in seed_addresses(self._seeds):
            self._on_address(address)

    def _remember(self, members: list[Member]) -> None:
        others = [member for member in members if member.id != self._me and member.addresses]
        self._remembered.save(RememberedPeer(one.id, one.name, one.key.hex(), tuple(one.addresses)) for one in others)
