"""`mesh identity`: the key by which the mesh knows this machine, and what to do about a copied state directory."""

from __future__ import annotations

from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import mesh_option
from mesh.cli.compose import running

from mesh import ids
from mesh.client.options import Options
from mesh.errors import MeshError, NotFound, StateRefused
from mesh.storage.home import NODE_KEY, Home
from mesh.storage.seal import SEAL, Seal
from mesh.transport.curve import KeyPair


@click.group(epilog=output.example("mesh identity show", "mesh identity reset"))
def identity() -> None:
    """Show or replace this machine's key.

    A state directory belongs to one machine: it is sealed with the machine's id, the directory's place and MESH_MACHINE_ID (for
    containers that share a machine id). A copy of it does not start, as two nodes with one key would answer for each other.
    """


@identity.command(epilog=output.example("mesh identity show", "mesh identity show --json"))
@mesh_option
@output.json_option
def show(mesh: str | None, as_json: bool) -> None:
    """Print this node's id and key, and if it is where it was sealed.

    Exit code 3 when this machine has no key.
    """
    home = Options({"mesh": mesh}).home
    found = examine(home)
    if as_json:
        output.print_json(found)
        return
    click.echo(f"node id    {found['id']}")
    click.echo(f"key        {found['key']}")
    click.echo(f"directory  {found['directory']}")
    click.echo(f"seal       {found['seal'] or 'ok'}")


def examine(home: Home) -> dict[str, Any]:
    """The node's id, its public key in hexadecimal, its directory, whether that has a seal, and what is wrong with it, if anything.

    Changes nothing. Raises NotFound when there is no key; StateRefused and its kind when it can't be used.
    """
    if home.read(NODE_KEY) is None:
        raise NotFound(f"this machine has no key for a mesh {home.mesh!r}; the first `mesh up` makes one")
    keys = KeyPair.load_or_make(home.path / NODE_KEY)
    problem = ""
    sealed = home.read(SEAL) is not None
    if not sealed:
        problem = "none yet; the next `mesh up` seals the directory"
    else:
        try:
            Seal(home, keys.secret).check()
        except StateRefused as error:
            problem = str(error)
    return {"id": ids.node_id(keys.public), "key": keys.public.hex(), "directory": str(home.path), "sealed": sealed, "seal": problem}


@identity.command(epilog=output.example("mesh identity reset", "mesh identity reset --mesh shop"))
@mesh_option
def reset(mesh: str | None) -> None:
    """Make a new key for this state directory and keep its entries.

    For a directory that was copied or moved, and for a machine that was cloned: the node starts as a new member of the same mesh. What
    the others have settled meanwhile is settled here too, what they lack they get, nothing runs because of the copy. The old node id
    stays in the list of members; if no machine has it any more, it is shown as lost. The node must not run.
    """
    home = Options({"mesh": mesh}).home
    if home.read(NODE_KEY) is None:
        raise NotFound(f"this machine has no key for a mesh {home.mesh!r}; the first `mesh up` makes one")
    there = running(home)
    if there is not None:
        raise MeshError(f"the node {there.name} (pid {there.pid}) uses this key now; stop it first: mesh down")
    path = home.path / NODE_KEY
    old = ids.node_id(KeyPair.load_or_make(path).public)
    path.unlink()  # a crash from here on leaves a seal that fits no key: the node then asks for this command again
    keys = KeyPair.load_or_make(path)
    Seal(home, keys.secret).renew()
    click.echo(f"node id    {ids.node_id(keys.public)} (was {old})")
    click.echo("the entries are kept; start the node with: mesh up")
