"""`mesh up` and `mesh down`: the node of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option
from mesh.cli.compose import LocalNode, Wishes, given_secret, running
from mesh.cli.log import log_options, log_refused, start_logging
from mesh.discovery.interfaces import host_port
from mesh.discovery.local import Rendezvous, process_marker

from mesh.client.options import Options
from mesh.errors import MeshError, NotFound
from mesh.storage.home import Home

COORDINATOR_PATIENCE_S = 3.0
"""How long the banner waits for a coordinator to be known."""
DOWN_TIMEOUT_S = 10.0
DETACH_TIMEOUT_S = 30.0
POLL_PAUSE_S = 0.05
LOG_NAME = "node.log"


@click.command(
    epilog=output.example(
        "mesh up",
        "MESH_SECRET=... mesh up --name laptop -d",
        "mesh up --join 192.168.1.5:7117 --secret-file ~/secret --no-mdns",
    )
)
@mesh_option
@click.option("--name", metavar="NODE", help="This node's name.  [default: the host's]")
@click.option("--port", type=click.IntRange(1, 65534), help="Port for newcomers; members use the next.  [default: 7117, or a free one]")
@click.option("--interface", metavar="ADDR", help="Bind and announce only this address of this machine.  [default: all]")
@click.option("--advertise", metavar="ADDR", help="Tell others to come to this address.  [default: those of the interfaces]")
@click.option("--join", multiple=True, metavar="HOST:PORT", help="Join the mesh of this node; may be repeated.")
@click.option("--found", is_flag=True, help="Found a mesh even if another one is here.")
@click.option("--no-mdns", is_flag=True, help="Neither announce nor look for others by multicast.")
@click.option("--never-coordinate", is_flag=True, help="Leave coordinating to others.")
@click.option("--weight", type=int, help="Nodes of higher weight are preferred as coordinator.  [default: 0]")
@click.option(
    "--secret-file", type=click.Path(dir_okay=False, path_type=Path), help="Read the mesh's secret from here, not from MESH_SECRET."
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background; returns when the node answers.")
@log_options
@click.pass_context
def up(ctx: click.Context, /, **given: Any) -> int:
    """Start this machine's node: found a mesh or join one.

    A machine without a mesh founds one, unless another mesh is found nearby: that one is joined if MESH_SECRET (or --secret-file) is
    its secret, and otherwise left alone (exit code 3). Ctrl-C makes the node leave politely. A second `mesh up` says that it is up
    already.
    """
    options = Options({key: given[key] for key in ("mesh", "name", "port", "interface", "advertise", "join", "weight", "log_level")})
    there = running(options.home)
    if there is not None:
        click.echo(f"already up: mesh {there.mesh}, node {there.name}, pid {there.pid}, since {_instant(there.started)}")
        return 0
    secret = given_secret(given["secret_file"])
    if given["detach"]:
        return _detach(ctx, options)
    start_logging(options["log_level"], given["logfile"])
    wishes = Wishes(not given["no_mdns"], given["found"], given["never_coordinate"], secret)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until there is a node that can leave, leave as Ctrl-C does
    node = LocalNode(options, wishes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: node.stop())
    node.run(lambda: _banner_when_known(node, options))
    return 0


def _instant(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


# -- what it says --------------------


def _banner_when_known(node: LocalNode, options: Options) -> None:
    """The node's loop goes on meanwhile: a coordinator is elected by it."""
    there = running(options.home)

    def wait_and_say() -> None:
        deadline = time.monotonic() + COORDINATOR_PATIENCE_S
        while not node.coordinator and time.monotonic() < deadline:
            time.sleep(POLL_PAUSE_S)
        if there is not None:
            address = next(iter(node.identity.addresses), "")
            _say(there, address, node.coordinator, node.start.value if node.start is not None else "")

    threading.Thread(target=wait_and_say, name="mesh-banner", daemon=True).start()


def _say(there: Rendezvous, address: str, coordinator: str, start: str) -> None:
    how = {"found": " (founded)", "join": " (joined)"}.get(start, "")
    click.echo(f"mesh         {there.mesh} {there.mesh_id}{how}")
    click.echo(f"node         {there.name} {address}, pid {there.pid}")
    click.echo(f"coordinator  {coordinator or 'none yet: most members are away, or an election is under way'}")
    click.echo("add another  here: mesh secret   there: MESH_SECRET=... mesh up")


# -- in the background --------------------


def _detach(ctx: click.Context, options: Options) -> int:
    home = options.home
    home.create()
    log = ctx.params["logfile"] or home.path / LOG_NAME
    try:
        sink = log.open("ab")
    except OSError as error:
        raise log_refused(log, error) from None
    begin = log.stat().st_size
    with sink:
        child = subprocess.Popen(
            [sys.executable, "-m", "mesh.cli", "up", *_arguments(ctx)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=Path.cwd(),
            **_own_session(),
        )
    deadline = time.monotonic() + DETACH_TIMEOUT_S
    while (there := running(home)) is None or there.pid != child.pid:
        if child.poll() is not None:
            return _relay_failure(log, begin, child.returncode)
        if time.monotonic() > deadline:
            child.terminate()
            raise MeshError(f"the node did not start within {DETACH_TIMEOUT_S:g} s; its log is {log}")
        time.sleep(POLL_PAUSE_S)
    address, coordinator = _first_answer(options, there)
    _say(there, address, coordinator, "")
    click.echo(f"log          {log}")
    return 0


def _arguments(ctx: click.Context) -> list[str]:
    """The options of this call, except for --detach and where its log goes."""
    arguments = []
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        if parameter.name in ("detach", "logfile") or value in (None, False, ()):
            continue
        option = parameter.opts[-1]
        if value is True:
            arguments.append(option)
        else:
            arguments += [part for one in (value if isinstance(value, tuple) else (value,)) for part in (option, str(one))]
    return arguments


def _own_session() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def _relay_failure(log: Path, begin: int, code: int) -> int:
    with log.open("rb") as written:
        written.seek(begin)
        lines = written.read().decode(errors="replace").strip().splitlines()
    click.echo(lines[-1] if lines else f"mesh: the node ended with code {code}; its log is {log}", err=True)
    return code or 1


def _first_answer(options: Options, there: Rendezvous) -> tuple[str, str]:
    """The node's address and the coordinator, by asking it until it knows one."""
    deadline = time.monotonic() + COORDINATOR_PATIENCE_S
    with attached(options) as mesh:
        while True:
            state = mesh.query("status")
            if state["coordinator"] or time.monotonic() > deadline:
                address = next((node["address"] for node in state["nodes"] if node["id"] == there.node_id), "")
                return address or host_port("127.0.0.1", there.door_port), state["coordinator"] or ""
            time.sleep(POLL_PAUSE_S)


# -- down --------------------


@click.command(epilog=output.example("mesh down", "mesh down --mesh shop"))
@mesh_option
def down(mesh: str | None) -> int:
    """Stop this machine's node and wait until it is gone.

    It leaves politely: what it coordinates or holds is handed over. Exit code 3 when no node runs here.
    """
    home = Options({"mesh": mesh}).home
    there = running(home)
    if there is None:
        raise NotFound(f"no node of the mesh {home.mesh!r} runs here; start one with: mesh up")
    try:
        os.kill(there.pid, signal.SIGTERM)
    except ProcessLookupError:
        return 0
    _wait_until_gone(home, there)
    click.echo(f"node {there.name} of the mesh {there.mesh} is down")
    return 0


def _wait_until_gone(home: Home, there: Rendezvous) -> None:
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while _is_there(home, there):
        if time.monotonic() > deadline:
            raise MeshError(f"the node (pid {there.pid}) still runs after {DOWN_TIMEOUT_S:g} s; kill -9 {there.pid} loses nothing")
        time.sleep(POLL_PAUSE_S / 5)


def _is_there(home: Home, there: Rendezvous) -> bool:
    if there.process is not None:
        return process_marker(there.pid) == there.process
    still = running(home)  # where processes have no marker: until the node has withdrawn its rendezvous
    return still is not None and still.pid == there.pid
