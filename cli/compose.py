"""Putting a node together: which storage, transport and discovery it gets, and whether it founds a mesh or joins one."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mesh.cli.admission import Start, begin, check_same_secret, check_seeds_have_secret
from mesh.cli.battery import has_battery
from mesh.cli.lookout import Knocker, Visit, browse, own_addresses, strangers
from mesh.cli.surroundings import Surroundings
from mesh.discovery import local
from mesh.discovery.interfaces import multicast_addresses
from mesh.discovery.local import Rendezvous
from mesh.discovery.remembered import Remembered

from mesh import ids
from mesh.client.options import Options
from mesh.core.effects import Gap, Identity
from mesh.errors import UsageError
from mesh.node import Node
from mesh.storage import damage
from mesh.storage.footprint import Footprint
from mesh.storage.healing import HealingStore
from mesh.storage.home import NODE_KEY, PEERS, SECRET, Home
from mesh.storage.room import Room
from mesh.storage.seal import Seal
from mesh.storage.sqlite import log_of
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.zmq import ZmqTransport
from mesh.wire.entries import Member

log = logging.getLogger("mesh.node")

SOCKET_NAME = "node.sock"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `mesh up` was asked for beyond the settings that files may hold."""

    mdns: bool = True
    found: bool = False
    never_coordinate: bool = False
    secret: FleetSecret | None = None


def given_secret(secret_file: Path | None) -> FleetSecret | None:
    """The secret of ``--secret-file``, else of ``MESH_SECRET``, else None.

    Raises InvalidSetting for one that is too weak, UsageError when the file can't be read.
    """
    if secret_file is not None:
        try:
            return FleetSecret.parse(secret_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"can't read the secret from {secret_file}: {error}") from None
    text = os.environ.get("MESH_SECRET", "").strip()
    return FleetSecret.parse(text) if text else None


class LocalNode:
    """This home's node, from its state directory to its announcement.

    The constructor takes the state directory and the ports, and decides between founding and joining; :meth:`run` blocks.
    Raises NotAllowed, MeshNotFound (a fresh home is as fresh as before), StateRefused and its kind, PortInUse, MachineError, UsageError.
    """

    def __init__(self, options: Options, wishes: Wishes) -> None:
        self._options = options
        self._wishes = wishes
        self._home = options.home
        self._settings = options.settings()
        self._home.create()
        kept = self._home.read(SECRET)
        self.fresh = kept is None
        if kept is None:
            self._secret = self._secret_of_a_fresh_home()
        else:
            self._secret = FleetSecret.parse(kept.decode("ascii", "replace"))
            check_same_secret(options.mesh, same=wishes.secret in (None, self._secret))
        self.start: Start | None = None
        """How a fresh home began, None for one that was a member already."""
        self._known: tuple[Member, ...] = ()
        self._keys = self._own_keys()
        self._surroundings: Surroundings | None = None
        self._footprint = Footprint()  # before anything is loaded
        new_state = not self._home.state_path.exists()
        # The lock of the store comes first: the sockets of a node that runs are not to be taken.
        self._store = HealingStore(self._home.state_path)
        try:
            self._transport, self.identity = self._open_transport()
            try:
                self._node = self._make_node()
            except BaseException:
                self._transport.close()
                raise
        except BaseException:
            self._store.close()
            if new_state:
                self._forget_state()
            raise

    def _own_keys(self) -> KeyPair:
        """The node's key, in a directory that was sealed for it here (R3); a new key makes a new seal."""
        new = not (self._home.path / NODE_KEY).exists()
        keys = KeyPair.load_or_make(self._home.path / NODE_KEY)
        seal = Seal(self._home, keys.secret)
        if new:
            seal.renew()
        else:
            seal.check()
        return keys

    # -- founding and joining --------------------

    def _secret_of_a_fresh_home(self) -> FleetSecret:
        seeds = self._options["join"]
        check_seeds_have_secret(seeds, has_secret=self._wishes.secret is not None)
        if self._wishes.secret is not None:
            return self._wishes.secret
        if self._wishes.mdns and not self._wishes.found:
            begin(False, (), False, strangers(self._interface), 0)
        return FleetSecret.make()

    def _open_transport(self) -> tuple[ZmqTransport, Identity]:
        options = self._options
        keys = self._keys
        my_id = ids.node_id(keys.public)
        transport = ZmqTransport(
            keys,
            self._secret,
            my_id=my_id,
            ipc_path=self._home.socket_path(SOCKET_NAME),
            host=self._interface or "0.0.0.0",
            port=options["port"],
            max_frame_bytes=self._settings.max_frame_bytes,
        )
        present = multicast_addresses(None)
        identity = Identity(
            id=my_id,
            name=options["name"] or socket.gethostname().partition(".")[0],
            key=keys.public,
            mesh=options.mesh,
            mesh_id=self._secret.mesh_id(),
            bulk_journal=ids.journal_name(),
            shared_journal=ids.journal_name(),
            addresses=own_addresses(self._interface, options["advertise"], transport.door_port, present),
            version=version("mesh"),
            pid=os.getpid(),
            never_coordinate=self._wishes.never_coordinate,
            weight=options["weight"],
            sleeps=has_battery(),
        )
        return transport, identity

    def _make_node(self) -> Node:
        if self.fresh:
            self._decide()
        node = Node(
            self.identity,
            self._store,
            self._transport,
            self._settings,
            known=list(self._known),
            on_members=self._members,
            on_ready=self._ready,
            room=Room(self._home.path, self._settings.disk_reserve_bytes, self._settings.disk_reserve_fraction),
            footprint=self._footprint,
            on_recovered=self._recovered,
        )
        if not any(journal.live for journal in node.machine.replica.journals.values()):
            node.machine.introduce(self._remembered())
        return node

    def _remembered(self) -> list[Member]:
        """The members of former days, for a node whose state is gone or damaged: the others still know its key."""
        peers = Remembered(self._home.path / PEERS).load()
        return [Member(peer.id, peer.name, bytes.fromhex(peer.key), list(peer.addresses)) for peer in peers]

    def _decide(self) -> None:
        visit = self._look_around() if self._wishes.secret is not None else Visit.nothing()
        seeds = self._options["join"]
        self.start = begin(self._wishes.secret is not None, seeds, self._wishes.found, visit.seen, self._settings.discovery_timeout_s)
        self._known = visit.members
        self._home.write(SECRET, f"{self._secret.text}\n".encode())

    def _look_around(self) -> Visit:
        knocker = Knocker(self._transport, self.identity.member(int(time.time() * 1000)))
        seeds = self._options["join"]
        if seeds:
            return knocker.at_seeds(seeds, self._settings.discovery_timeout_s)
        if self._wishes.mdns:
            return knocker.at_candidates(browse(self._interface, self._secret.mdns_tag_key()).candidates)
        return Visit.nothing()

    def _forget_state(self) -> None:
        """A home that was not let in stays as it was: with a node's state, its clients would not knock as guests."""
        for path in (self._home.state_path, log_of(self._home.state_path)):
            path.unlink(missing_ok=True)

    # -- running --------------------

    @property
    def _interface(self) -> str | None:
        return self._options["interface"] or None

    @property
    def coordinator(self) -> str:
        """The coordinator's name as this node knows it, empty while there is none."""
        machine = self._node.machine
        return machine.membership.name_of(machine.election.coordinator) if machine.election.coordinator else ""

    def run(self, on_ready: Callable[[], None]) -> None:
        """Run until :meth:`stop`; ``on_ready`` is called once other processes can find the node. Raises DiskFailed."""
        self._on_ready = on_ready
        try:
            self._node.run()
        finally:
            if self._surroundings is not None:
                self._surroundings.close()
                local.withdraw(self._home.run_dir)

    def stop(self) -> None:
        """Leave politely; safe from a signal handler."""
        self._node.stop()

    def _ready(self) -> None:
        options, transport = self._options, self._transport
        self._surroundings = Surroundings(self._node.candidate, self._home.path / PEERS, options["join"], self.identity.id)
        if self._wishes.mdns:
            advertised = [options["advertise"]] if options["advertise"] else None
            self._surroundings.announce(transport.lobby_port, self._secret.mdns_tag_key(), self._interface, advertised)
        local.publish(self._home.run_dir, self._rendezvous())
        self._members([member for member in self._node.machine.membership.members.values() if member.durable])
        self._on_ready()

    def _recovered(self, kept: int, lost: list[Gap]) -> None:
        """What was damaged is whole again, but for what nobody has (R20)."""
        lines = self._store.recovered(kept, lost)
        log.warning("the node has got back what others hold, and kept %d entries that only its damaged file had", kept)
        for line in lines:
            log.error("%s: %s", damage.PERHAPS_LOST if line.startswith(damage.UNTOLD) else damage.LOST, line)

    def _members(self, members: list[Member]) -> None:
        if self._surroundings is not None:
            self._surroundings.roster(members)

    def _rendezvous(self) -> Rendezvous:
        me = self.identity
        return Rendezvous(
            pid=me.pid,
            process=local.process_marker(me.pid),
            started=time.time(),
            ipc_path=str(self._home.socket_path(SOCKET_NAME)),
            name=me.name,
            mesh=me.mesh,
            mesh_id=me.mesh_id,
            node_id=me.id,
            lobby_port=self._transport.lobby_port,
            door_port=self._transport.door_port,
            version=me.version,
        )


def running(home: Home) -> Rendezvous | None:
    """This home's node if it runs."""
    return local.read(home.run_dir)
