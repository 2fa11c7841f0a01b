"""Static seeds: addresses that a person wrote down (``--join``, ``MESH_SEEDS``)."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from mesh.discovery.base import Candidate
from mesh.discovery.interfaces import host_port

from mesh.errors import UsageError

log = logging.getLogger(__name__)

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})\Z")
_EXAMPLES = "write host:port, host or [IPv6]:port, separated by commas or spaces"


@dataclass(frozen=True, slots=True)
class Seed:
    """A host by name or address (IPv6 without brackets) and the port of its lobby."""

    host: str
    port: int


def parse_seeds(text: str, default_port: int) -> list[Seed]:
    """The seeds in ``text``, in order and without repetition; none for an empty text. Looks up nothing.

    Raises UsageError that names the piece that is wrong.
    """
    return list(dict.fromkeys(_parse(piece, default_port) for piece in re.split(r"[,\s]+", text) if piece))


def resolve_seeds(seeds: Iterable[Seed]) -> list[Candidate]:
    """All addresses of all seeds, without repetition.

    Asks the resolver, so it blocks for as long as that takes; look again later, as answers change. A host that has no
    address now is logged and left out.
    """
    found: dict[str, None] = {}
    for seed in seeds:
        try:
            answers = socket.getaddrinfo(seed.host, seed.port, type=socket.SOCK_STREAM)
        except OSError as error:
            log.warning("seed %s: no address now: %s", seed.host, error)
            continue
        for family, _, _, _, where in answers:
            if family in (socket.AF_INET, socket.AF_INET6):
                found[host_port(str(where[0]), seed.port)] = None
    return [Candidate(address, "seed") for address in found]


def _parse(piece: str, default_port: int) -> Seed:
    if piece.startswith("["):
        host, bracket, rest = piece[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise UsageError(f"{piece!r} is not an address: {_EXAMPLES}")
        return Seed(host, _port(rest[1:], piece) if rest else default_port)
    host, colon, port = piece.partition(":")
    if ":" in port:
        raise UsageError(f"{piece!r} is not an address: put IPv6 addresses in brackets, as in [::1]:{default_port}")
    if not _HOST.match(host):
        raise UsageError(f"{piece!r} is not an address: {_EXAMPLES}")
    return Seed(host, _port(port, piece) if colon else default_port)


def _port(text: str, piece: str) -> int:
    if not (len(text) <= 5 and text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise UsageError(f"{piece!r} is not an address: the port must be a number from 1 to 65535")
    return int(text)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
