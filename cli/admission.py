"""Whether `mesh up` founds a mesh, joins one or stops: the rules alone, without looking for anything.

A mesh that is found but can't be joined is never merged with, and a second one beside it is founded only when that is asked for: two
meshes where one was meant is the mistake that nobody notices (SECURITY 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mesh.errors import MeshNotFound, NotAllowed


class Start(Enum):
    """How a home begins."""

    FOUND = "found"
    """As the first node of a new mesh."""
    JOIN = "join"
    """As a new member of a mesh that knows the same secret."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a fresh home saw when it looked around, as addresses (``host:port``)."""

    ours: tuple[str, ...] = ()
    """Of nodes that proved to hold the same secret."""
    foreign: tuple[str, ...] = ()
    """Of nodes that answered, but not to our secret."""
    silent: tuple[str, ...] = ()
    """That were named to us and did not answer."""


def check_seeds_have_secret(seeds: tuple[str, ...], has_secret: bool) -> None:
    """Raises NotAllowed when a fresh home was told whom to join, but not the secret."""
    if seeds and not has_secret:
        raise NotAllowed(f"joining {seeds[0]} needs its secret; {_get_secret(f' --join {seeds[0]}')}")


def begin(has_secret: bool, seeds: tuple[str, ...], found: bool, seen: Sighting, looked_s: float) -> Start:
    """How a fresh home begins.

    Raises NotAllowed when only a mesh of another secret is there, MeshNotFound when none of ``seeds`` answered within ``looked_s``.
    """
    if seen.ours:
        return Start.JOIN
    refused = [address for address in seeds if address in seen.foreign]
    if refused:
        raise NotAllowed(f"the mesh at {refused[0]} does not know this secret; {_get_secret(f' --join {refused[0]}')}")
    if seeds:
        raise MeshNotFound(
            f"no node answered at {', '.join(seeds)} within {looked_s:g} s; check that `mesh up` runs there and that its port is reachable"
        )
    if seen.foreign and not found:
        lack = "but it does not know this secret" if has_secret else "but have no secret for it"
        raise NotAllowed(f"found a mesh at {seen.foreign[0]} {lack}; {_get_secret()}; to found a second mesh: mesh up --found")
    return Start.FOUND


def _get_secret(more: str = "") -> str:
    return f"run `mesh secret` on a member, then here: MESH_SECRET=... mesh up{more}"


def check_same_secret(mesh: str, same: bool) -> None:
    """Raises NotAllowed when a home that is a member already is given another mesh's secret."""
    if not same:
        raise NotAllowed(
            f"this home is a member of the mesh {mesh!r} of another secret; keep it: unset MESH_SECRET and --secret-file, "
            "or join the other one beside it: give it a name of its own with --mesh NAME"
        )
