"""`mesh secret`: what another machine needs to join."""

from __future__ import annotations

import sys

import click
from mesh.cli import output
from mesh.cli.attach import mesh_option

from mesh.client.options import Options
from mesh.errors import NotFound
from mesh.storage.home import SECRET


@click.command(epilog=output.example("mesh secret", "ssh laptop MESH_SECRET=$(mesh secret) mesh up -d"))
@mesh_option
def secret(mesh: str | None) -> None:
    """Print what another machine needs to join.

    Prints the fleet secret alone on stdout, and how to use it on stderr. Whoever holds it can become a member: hand it on as you would
    a password.
    """
    home = Options({"mesh": mesh}).home
    kept = home.read(SECRET)
    if kept is None:
        raise NotFound(f"this machine is not a member of a mesh {home.mesh!r}; found one with: mesh up")
    text = kept.decode("ascii", "replace").strip()
    click.echo(text)
    name = "" if home.mesh == "default" else f" MESH_NAME={home.mesh}"
    # Repeated where a person reads it, but not into the log of a script that captures stdout.
    click.echo(f"on the other machine:{name} MESH_SECRET={text if sys.stdout.isatty() else '...'} mesh up", err=True)
