"""Where other machines come in: the member door and the lobby, on two neighbouring ports."""

from __future__ import annotations

import errno

import zmq

from mesh.errors import InvalidSetting, MachineError, PortInUse
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.knocks import LOBBY_FRAME_BYTES_MAX
from mesh.transport.sockets import Context, Socket, open_router, serve_curve
from mesh.transport.zap import DOOR, LOBBY

DEFAULT_PORT = 7117
"""The lobby's; the door's is the next. Below the ports that systems give to outgoing connections."""
DEFAULT_PAIRS = 16
"""Nodes on one machine take neighbouring pairs, so that remembered addresses stay good."""
FREE_PORT_TRIALS = 64
MESSAGES_MAX = 4096
LOBBY_MESSAGES_MAX = 16


class Doors:
    """The two TCP sockets of a node: ``lobby`` on ``lobby_port`` and ``door`` on the port after it.

    With ``port`` None a free pair is taken, the usual one if possible. Raises PortInUse when one of a wanted pair is taken,
    InvalidSetting when ``port`` is out of range, MachineError when ``host`` is no address of this machine.
    """

    def __init__(self, context: Context, keys: KeyPair, secret: FleetSecret, host: str, port: int | None, frame_bytes_max: int) -> None:
        self._context = context
        self._keys = keys
        self._lobby_keys = secret.lobby()
        self._host = host
        self._frame_bytes_max = frame_bytes_max
        if port is not None:
            if not 1 <= port < 65_535:
                raise InvalidSetting(f"the port must be between 1 and 65534, as the next one is used too; not {port}")
            self._bind_pair(port)
        else:
            self._bind_some_pair()
        self.door_port = self.lobby_port + 1

    def _bind_some_pair(self) -> None:
        usual = [DEFAULT_PORT + 2 * number for number in range(DEFAULT_PAIRS)]
        for port in usual + [0] * FREE_PORT_TRIALS:
            try:
                self._bind_pair(port)
            except PortInUse:
                continue
            return
        raise PortInUse(f"no two neighbouring ports are free on {self._host}; name one with --port")

    def _bind_pair(self, port: int) -> None:
        """Bind both or neither; port 0 lets the system choose the lobby's."""
        lobby = open_router(self._context, LOBBY_FRAME_BYTES_MAX, LOBBY_MESSAGES_MAX)
        # Visitors are not members: nothing about them is bounded by credit, so the way out has a mark as well.
        lobby.setsockopt(zmq.SNDHWM, LOBBY_MESSAGES_MAX)
        serve_curve(lobby, self._lobby_keys, LOBBY)
        door = open_router(self._context, self._frame_bytes_max, MESSAGES_MAX)
        serve_curve(door, self._keys, DOOR)
        try:
            self.lobby_port = self._bind(lobby, port)
            self._bind(door, self.lobby_port + 1)
        except MachineError:
            lobby.close(linger=0)
            door.close(linger=0)
            raise
        self.lobby, self.door = lobby, door

    def _bind(self, socket: Socket, port: int) -> int:
        """The port bound to."""
        host = self._host
        if ":" in host:
            socket.setsockopt(zmq.IPV6, 1)
            host = f"[{host.strip('[]')}]"
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {port} on {host} is in use by another program; choose another with --port") from error
            if error.errno == errno.EADDRNOTAVAIL:
                raise MachineError(f"this machine has no address {host}; name one of its own: mesh up --interface ADDR") from error
            raise MachineError(f"port {port} on {host} can't be opened: {error.strerror}") from error
        endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return int(endpoint.rstrip(b"\0").rpartition(b":")[2])
