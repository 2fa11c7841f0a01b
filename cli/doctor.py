"""`mesh doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import click
from mesh.cli import findings, output
from mesh.cli.attach import attached, mesh_option
from mesh.cli.findings import Finding, Verdict, fail, ok, warn
from mesh.cli.identity import examine as examine_identity
from mesh.cli.lookout import browse
from mesh.cli.status import wrong_clocks
from mesh.discovery import local
from mesh.discovery.interfaces import host_port, is_loopback
from mesh.discovery.local import Rendezvous

from mesh.client.options import Options
from mesh.errors import MeshError, NotFound
from mesh.storage.home import NODE_KEY, SECRET, Home
from mesh.transport.attach import shakes_hands
from mesh.transport.curve import FleetSecret, KeyPair

LISTEN_S = 1.0


@click.command(epilog=output.example("mesh doctor", "mesh doctor --json"))
@mesh_option
@output.json_option
def doctor(mesh: str | None, as_json: bool) -> int:
    """Check this machine, its node and its network.

    Each line is ok, warn or fail, and says what to do. Exit code 1 when a check fails. Nothing is changed or announced.
    """
    found = []
    for finding in examine(Options({"mesh": mesh})):
        found.append(finding)
        if not as_json:
            _print(finding)
    if as_json:
        output.print_json([asdict(finding) | {"verdict": finding.verdict.value} for finding in found])
    return int(any(finding.verdict is Verdict.FAIL for finding in found))


def _print(finding: Finding) -> None:
    colour = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}[finding.verdict]
    click.echo(f"{click.style(f'{finding.verdict.value:4}', fg=colour)}  {finding.check:12} {finding.text}")
    if finding.todo:
        click.echo(f"{'':19}-> {finding.todo}")


def examine(options: Options) -> Iterator[Finding]:
    """All findings, in the order in which causes come before effects."""
    yield findings.python()
    yield findings.encryption()
    yield state(options.home)
    yield identity(options.home)
    yield from findings.damage(options.home.path)
    yield findings.disk(options.home.path, options.settings())
    yield findings.clock()
    there = local.read(options.home.run_dir)
    if there is None:
        yield warn("node", f"none runs here for the mesh {options.mesh!r}", "start it with: mesh up")
        yield findings.firewall(())
        yield from network(options, None, options["interface"] or None)
        return
    status = ask(options)
    yield answer(there, status)
    yield from health(status)
    own = next((node["address"] for node in status.get("nodes", []) if node["id"] == there.node_id), "")
    host = own.rpartition(":")[0].strip("[]")
    if own:
        lobby = host_port(host, there.lobby_port)
        yield findings.door([own, lobby], handshakes(options.home, lobby))
    if not is_loopback(host):
        yield findings.firewall((there.lobby_port, there.door_port))
    yield from network(options, there, host if is_loopback(host) else options["interface"] or None)


def handshakes(home: Home, lobby: str) -> Callable[[str], bool] | None:
    """Tries the node's door and lobby as a member and a newcomer would, so that it has no stranger to report; None without keys."""
    try:
        secret = FleetSecret.parse((home.read(SECRET) or b"").decode("ascii", "replace"))
        keys = KeyPair.load_or_make(home.path / NODE_KEY) if (home.path / NODE_KEY).exists() else None
    except MeshError:
        return None
    if keys is None:
        return None
    lobby_key = secret.lobby().public
    return lambda address: shakes_hands(address, lobby_key if address == lobby else keys.public, keys, findings.DIAL_TIMEOUT_S)


def state(home: Home) -> Finding:
    """Whether the state directory is ours alone."""
    if not home.path.exists():
        return ok("state", f"{home.path} will be made by: mesh up")
    try:
        home.create()
    except MeshError as error:
        return fail("state", f"{home.path} can't be used", str(error))
    return ok("state", f"{home.path} is this user's alone")


def identity(home: Home) -> Finding:
    """Whether the state directory is where it was sealed (R3)."""
    try:
        found = examine_identity(home)
    except NotFound:
        return ok("identity", "the first `mesh up` makes this node's key")
    except MeshError as error:
        return fail("identity", "this node's key can't be used", str(error))
    if not found["seal"]:
        return ok("identity", f"node {found['id']}, sealed to this machine and place")
    if not found["sealed"]:
        return warn("identity", f"node {found['id']}, not sealed to this machine", "start the node once: mesh up")
    return fail("identity", found["seal"], "if it was copied or moved: mesh identity reset")


def ask(options: Options) -> dict[str, Any]:
    """The status as the local node tells it, empty when it does not answer."""
    try:
        with attached(options) as mesh:
            return mesh.query("status")
    except MeshError:
        return {}


def answer(there: Rendezvous, status: dict[str, Any]) -> Finding:
    """Whether the node answers."""
    if not status:
        return fail(
            "node", f"{there.name} (pid {there.pid}) runs but does not answer", "look at its log; stop it with mesh down, then: mesh up"
        )
    return ok("node", f"{there.name} (pid {there.pid}) answers for the mesh {there.mesh}")


def health(status: dict[str, Any]) -> Iterator[Finding]:
    """What the mesh says of itself."""
    if not status:
        return
    if status["coordinator"]:
        yield ok("coordinator", f"{status['coordinator']} (term {status['term']})")
    else:
        yield fail("coordinator", "none: no task is handed out", "bring back machines that are away (mesh status lists them)")
    missing = [node["name"] for node in status["nodes"] if node["state"] == "lost"]
    if missing:
        yield warn("members", f"lost: {', '.join(missing)}", "start their nodes (mesh up), or look at the network between")
    else:
        yield ok("members", f"{len(status['nodes'])}, none lost")
    wrong = [f"that of {name} is {text}" for name, text in wrong_clocks(status)]
    if wrong:
        yield warn("clocks", "; ".join(wrong), "set them by NTP (timedatectl set-ntp true): tasks with a countdown may start late")
    else:
        yield ok("clocks", "all within 2 s of the coordinator's")
    for alarm in status.get("alarms", []):
        whose = "all publishers wait" if alarm["blocks"] == "mesh" else f"the publishers on {alarm['node']} wait"
        todo = (
            "make room there" if alarm["kind"] == "disk" else "start more workers, or set limits for the queues that grow (mesh queue set)"
        )
        yield fail("room", f"{alarm['kind']} on {alarm['node']}: {alarm['text']}; {whose}", todo)
    full = [queue["name"] for queue in status.get("queues", []) if queue.get("publishers_waiting")]
    if full:
        yield warn("queues", f"publishers wait for room in {', '.join(full)}", "start more workers for them, or change their limits")
    if status["under_replicated"]:
        yield warn("copies", f"{status['under_replicated']} entries have fewer copies than wanted", "keep at least two nodes up")
    else:
        yield ok("copies", "every entry has the copies that it should")


def network(options: Options, there: Rendezvous | None, interface: str | None) -> Iterator[Finding]:
    """Multicast, and other meshes. Only listens."""
    try:
        secret = options.home.read(SECRET)
    except MeshError:
        secret = None
    tag_key = FleetSecret.parse(secret.decode("ascii", "replace")).mdns_tag_key() if secret else None
    heard, problem = browse(interface, tag_key, LISTEN_S, to_the_end=True)
    ours = [candidate.address for candidate in heard if candidate.ours]
    own = there is not None and any(address.endswith(f":{there.lobby_port}") for address in ours)
    todo = "joining by address always works: mesh up --join HOST:PORT"
    if problem is not None:
        yield warn("multicast", problem, todo)
    elif there is not None and not own:
        yield warn("multicast", "this node's announcement does not come back (right if it runs with --no-mdns)", todo)
    else:
        yield ok("multicast", f"works; {len(ours)} addresses of this mesh heard" if own else "can be listened to")
    others = list(dict.fromkeys(candidate.address for candidate in heard if not candidate.ours))
    if others and (there is not None or secret):
        yield ok("neighbours", f"another mesh is at {', '.join(others[:3])}; it is left alone")
    elif others:
        yield warn(
            "neighbours",
            f"a mesh is at {', '.join(others[:3])}",
            "to join it: MESH_SECRET=... mesh up, with what `mesh secret` prints there",
        )
