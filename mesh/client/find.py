"""Finding a node to attach to: the one on this machine, remembered peers, seeds, mDNS.

The first is looked at by the link's own turn, as it costs nothing; the others knock and wait, in threads of a search.
"""

from __future__ import annotations

import os
import platform
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mesh import ids
from mesh.config import Settings
from mesh.discovery import local
from mesh.discovery.base import Candidate
from mesh.discovery.remembered import Remembered, RememberedPeer
from mesh.discovery.seeds import parse_seeds, resolve_seeds
from mesh.errors import MachineError, MeshError, MeshNotFound, NotAllowed, RemoteProtocolError
from mesh.storage.home import NODE_KEY, PEERS, SECRET, Home
from mesh.transport.attach import LocalSocket, NodeSocket, knock
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.doors import DEFAULT_PORT
from mesh.wire.entries import Member
from mesh.wire.frames import decode_lobby, encode
from mesh.wire.messages import Admitted, Attached, Knock, Refused

KNOCK_TIMEOUT_S = 2.0
KNOCKS_AT_ONCE = 8
CANDIDATES_MAX = 64
"""Most addresses tried in one search: announcements cost a stranger nothing."""
GET_SECRET = "run `mesh secret` on a member and set MESH_SECRET here"


class Door(NamedTuple):
    """A member's door (``host:port``) and the key (32 bytes) that whoever answers has to own."""

    address: str
    key: bytes


class NodeFinder:
    """Where programs of one home look for a node of one mesh.

    ``root`` is the state directory (None: MESH_HOME or the platform's), ``seeds`` come before those of MESH_SEEDS.
    Raises UsageError for a name or a seed that can't be read.
    """

    def __init__(self, mesh: str, root: Path | None, seeds: Sequence[str], settings: Settings) -> None:
        self.home = Home(mesh, root)
        self._settings = settings
        self.seeds = parse_seeds(" ".join([*seeds, os.environ.get("MESH_SEEDS", "")]), DEFAULT_PORT)
        self.key = (str(self.home.path), mesh, tuple(self.seeds))
        """Equal for finders that look in the same places."""
        self.notes: dict[str, str] = {}
        """What came of each layer in the last search, for the error."""
        self.refusal: str | None = None
        self._remembered = Remembered(self.home.path / PEERS)

    def local(self) -> LocalSocket | None:
        """A connection to this home's own node, None when none runs. Raises StateNotOurs, MachineError."""
        found = local.read(self.home.run_dir)
        if found is None:
            self.notes["this machine"] = f"no node runs for {self.home.path}"
            return None
        self.notes["this machine"] = f"the node {found.name} (pid {found.pid}) does not answer"
        return LocalSocket(Path(found.ipc_path), ids.session_id())

    def search(self) -> NodeSearch:
        """Start to look on other machines."""
        return NodeSearch(self)

    def connect(self, door: Door) -> NodeSocket:
        """A connection to a member's door. Raises MachineError, and StateNotOurs for a key that others can read."""
        return NodeSocket(door.address, door.key, self.keys(), ids.session_id())

    def keys(self) -> KeyPair:
        """The home's key pair, made at the first use."""
        self.home.create()
        return KeyPair.load_or_make(self.home.path / NODE_KEY)

    def secret(self) -> FleetSecret | None:
        """The mesh's secret, from MESH_SECRET or the home; None when we have none."""
        text = os.environ.get("MESH_SECRET")
        if not text:
            kept = self.home.read(SECRET)
            text = kept.decode(errors="replace") if kept else ""
        return FleetSecret.parse(text) if text.strip() else None

    def known_doors(self) -> list[Door]:
        """Doors of members that this home once met."""
        peers = self._remembered.load()
        self.notes["remembered peers"] = ", ".join(peer.addresses[0] for peer in peers if peer.addresses) or "none"
        return [Door(address, bytes.fromhex(peer.key)) for peer in peers for address in peer.addresses]

    def remember(self, attached: Attached) -> None:
        """Keep the doors of the members that a node of another machine told of; our own node keeps them itself."""
        self.remember_members(attached.members)

    def remember_members(self, members: Sequence[Member]) -> None:
        """Keep the doors of these members."""
        peers = [RememberedPeer(m.id, m.name, m.key.hex(), tuple(m.addresses)) for m in members if m.addresses and len(m.key) == 32]
        if peers:
            self._remembered.save(peers)

    def guest(self) -> Member:
        """How we knock: as one without a node, who never counts for majorities or copies."""
        keys = self.keys()
        return Member(id=ids.node_id(keys.public), name=platform.node(), key=keys.public, addresses=[], durable=False)

    def check_places(self) -> None:
        """Raises MeshNotFound when there is nowhere to look: a search would find nothing, however long it took. Raises MeshError for
        files that can't be used.
        """
        if local.read(self.home.run_dir) is None and not self.known_doors() and not (self.may_knock and self.secret()):
            self.notes.setdefault("this machine", f"no node runs for {self.home.path}")
            if self.may_knock:
                self.notes["seeds and mDNS"] = f"not tried without the mesh's secret: {GET_SECRET}"
            raise MeshNotFound(
                f"no node of the mesh {self.home.mesh!r} runs here, and there is nowhere else to look ({self._tried()}){self._start()}"
            )

    @property
    def may_knock(self) -> bool:
        """A home with a node's state is a member already; knocking as a guest would deny that."""
        return not self.home.state_path.exists()

    def not_found(self) -> MeshError:
        """What to raise after a search: NotAllowed when a node refused us, else MeshNotFound naming what was tried."""
        mesh, timeout_s = self.home.mesh, self._settings.discovery_timeout_s
        if self.refusal is not None:
            return NotAllowed(f"the mesh {mesh!r} does not let this machine in: {self.refusal}; {GET_SECRET}")
        return MeshNotFound(f"no node of the mesh {mesh!r} found within {timeout_s:g} s ({self._tried()}){self._start()}")

    def _tried(self) -> str:
        return "; ".join(f"{layer}: {note}" for layer, note in self.notes.items())

    def _start(self) -> str:
        return "; start one here with: " + ("mesh up" if self.home.mesh == "default" else f"mesh up --mesh {self.home.mesh}")


class NodeSearch:
    """One round of looking beyond this machine: threads find doors, :meth:`take` connects to the next one."""

    def __init__(self, finder: NodeFinder) -> None:
        self._finder = finder
        self._doors: queue.SimpleQueue[Door] = queue.SimpleQueue()
        self._tried: set[Door] = set()
        self._candidates: queue.SimpleQueue[Candidate | None] = queue.SimpleQueue()
        self._knocks = threading.BoundedSemaphore(KNOCKS_AT_ONCE)
        self._closed = False
        finder.refusal = None
        threading.Thread(target=self._run, name="mesh-search", daemon=True).start()

    def take(self) -> NodeSocket | None:
        """A connection to the next door, None when none is known now. Raises StateRefused and its kind."""
        while True:
            try:
                door = self._doors.get_nowait()
            except queue.Empty:
                return None
            if door in self._tried:
                continue
            self._tried.add(door)
            try:
                return self._finder.connect(door)
            except MachineError as error:
                self._finder.notes[door.address] = str(error)

    def close(self) -> None:
        """Stop looking; threads end by themselves soon after."""
        self._closed = True
        self._candidates.put(None)

    # -- the threads --------------------

    def _run(self) -> None:
        finder = self._finder
        try:
            for door in finder.known_doors():
                self._doors.put(door)
            secret = finder.secret()
            finder.notes["seeds"] = ", ".join(f"{seed.host}:{seed.port}" for seed in finder.seeds) or "none (MESH_SEEDS)"
            if secret is None:
                finder.notes["mDNS"] = f"not tried without the mesh's secret: {GET_SECRET}"
            elif not finder.may_knock:
                finder.notes["mDNS"] = "not tried, as this machine is a member with a node of its own"
            else:
                self._look(secret)
        except MeshError as error:
            finder.notes["secret and keys"] = str(error)

    def _look(self, secret: FleetSecret) -> None:
        from mesh.discovery.mdns import Mdns  # slow to import, and rarely needed

        guest = self._finder.guest()
        for seed in resolve_seeds(self._finder.seeds):
            self._candidates.put(seed)
        self._finder.notes["mDNS"] = "nothing heard"
        mdns = Mdns(self._candidates.put, port=None, tag_key=secret.mdns_tag_key(), interface=os.environ.get("MESH_INTERFACE") or None)
        try:
            seen: set[str] = set()
            while len(seen) < CANDIDATES_MAX and (candidate := self._candidates.get()) is not None and not self._closed:
                if candidate.address not in seen:
                    seen.add(candidate.address)
                    self._knocks.acquire()
                    threading.Thread(target=self._knock, args=(candidate, secret, guest), name="mesh-knock", daemon=True).start()
        finally:
            mdns.close()

    def _knock(self, candidate: Candidate, secret: FleetSecret, guest: Member) -> None:
        finder, layer = self._finder, "mDNS" if candidate.source == "mdns" else "seeds"
        try:
            payload = knock(candidate.address, secret, finder.keys(), encode(Knock(guest)), KNOCK_TIMEOUT_S)
            answer = decode_lobby(payload) if payload is not None else None
        except (MachineError, RemoteProtocolError) as error:
            finder.notes[layer] = f"{candidate.address}: {error}"
            return
        finally:
            self._knocks.release()
        if isinstance(answer, Admitted):
            finder.remember_members(answer.members)
            for member in answer.members:
                for address in member.addresses:
                    self._doors.put(Door(address, member.key))
        elif isinstance(answer, Refused):
            finder.refusal = answer.text
        else:
            finder.notes[layer] = f"{candidate.address} did not answer, or does not know this secret"
