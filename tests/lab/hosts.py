"""The lab: several hosts on one machine, each a network namespace of its own, on one switch.

    with Lab(["server", "laptop"]) as lab:
        lab["server"].mesh_spawn("up")
        lab.cut("server", "laptop")

A host has its own loopback, address, host name, home and folder to work in; multicast reaches all hosts of the lab and nothing
else. The switch is a bridge in one more namespace; every fault is a rule of that switch (nftables, family bridge), so that it
hits ARP and multicast like everything else and hosts know nothing of it. Nothing of a lab exists in the machine's own network.

Namespaces and folders carry the pid of their owner: what a killed run left behind is swept by the next one.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from tests.lab.mounts import unmount_beneath
from tests.machines import Machine, every_pid, kill_pid
from tests.polling import poll_until as poll_until

PREFIX = "meshlab"
OWNED = re.compile(rf"{PREFIX}-(\d+)-")
SWITCH = "switch"
TABLE = "faults"


class LabUnavailable(RuntimeError):
    """This machine can't build hosts; the message says why."""


def why_unavailable() -> str:
    """The reason why there can be no lab here, empty when there can."""
    missing = [tool for tool in ("ip", "nft", "unshare") if not shutil.which(tool)]
    if missing:
        return f"missing: {', '.join(missing)} (Debian: apt-get install iproute2 nftables util-linux)"
    if os.geteuid() != 0:
        return "network namespaces need root: run it as root, or `sudo make lab`"
    probe = f"{PREFIX}-{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
    except LabUnavailable as error:
        return str(error)
    ip("netns", "del", probe)
    return ""


def ip(*arguments: str) -> str:
    """Run ``ip``. Raises LabUnavailable with what it said when it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabUnavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def namespaces() -> list[str]:
    """Names of all network namespaces of this machine that any lab made."""
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith(f"{PREFIX}-")]


def sweep() -> list[str]:
    """Delete what labs left behind whose owner is gone; returns the namespaces that were."""
    alive = set(every_pid())
    dead = [name for name in namespaces() if (owner := OWNED.match(name)) and int(owner[1]) not in alive]
    for name in dead:
        _delete_namespace(name)
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if (owner := OWNED.match(folder.name)) and int(owner[1]) not in alive:
            unmount_beneath(folder)
            shutil.rmtree(folder, ignore_errors=True)
    return dead


def _delete_namespace(name: str) -> None:
    for pid in pids_in(name):
        kill_pid(pid)
    poll_until(lambda: not pids_in(name), 10, f"the processes of {name} are gone")
    ip("netns", "del", name)


def pids_in(namespace: str) -> list[int]:
    """Processes that run in a network namespace."""
    return [int(pid) for pid in ip("netns", "pids", namespace).split()]


class Host(Machine):
    """A machine in a namespace of its own."""

    def __init__(self, lab_name: str, folder: Path, name: str, number: int, subnet: str) -> None:
        super().__init__(folder / name, name)
        self.namespace = f"{lab_name}-{name}"
        self.address = f"{subnet}.{number}"
        self.port = f"port{number}"
        """The host's end at the switch."""
        self._connect(lab_name)

    def _connect(self, lab_name: str) -> None:
        ip("netns", "add", self.namespace)
        switch = f"{lab_name}-{SWITCH}"
        ip("link", "add", "eth0", "netns", self.namespace, "type", "veth", "peer", "name", self.port, "netns", switch)
        ip("-n", switch, "link", "set", self.port, "master", "bridge0", "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "route", "add", "224.0.0.0/4", "dev", "eth0")

    def placed(self, arguments: Sequence[str]) -> list[str]:
        """Each step replaces the one before (exec), so that the pid that was started is the command's own."""
        rename = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", rename, self.name, *arguments]

    def strays(self) -> list[int]:
        """All that still runs in the namespace."""
        return pids_in(self.namespace)

    def bytes_sent(self) -> int:
        """Bytes that have left this host's interface since it was made, link headers included."""
        return int(self.run("cat", "/sys/class/net/eth0/statistics/tx_bytes").stdout)


class Lab:
    """Hosts on one switch, for as long as the ``with`` block lasts.

    Raises LabUnavailable where hosts can't be made. On the way out every process of every host is killed and everything that was
    made is deleted, whatever happened inside.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        reason = why_unavailable()
        if reason:
            raise LabUnavailable(reason)
        sweep()
        self.name = f"{PREFIX}-{os.getpid()}-{random.randrange(16**4):04x}"
        self.subnet = f"10.77.{random.randrange(256)}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.hosts: dict[str, Host] = {}
        try:
            self._make_switch()
            for number, name in enumerate(hosts, 1):
                self.hosts[name] = Host(self.name, self.folder, name, number, self.subnet)
        except BaseException:
            self.close()
            raise

    @property
    def switch(self) -> str:
        """The namespace that holds the bridge."""
        return f"{self.name}-{SWITCH}"

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts.values())

    def _make_switch(self) -> None:
        ip("netns", "add", self.switch)
        # Without snooping a bridge floods multicast: there is no router here that would send the queries that snooping needs.
        ip("-n", self.switch, "link", "add", "bridge0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0")
        ip("-n", self.switch, "link", "set", "bridge0", "up")
        self._nft(f"add table bridge {TABLE}")
        self._nft(f"add chain bridge {TABLE} forward {{ type filter hook forward priority 0; policy accept; }}")

    def _nft(self, command: str) -> None:
        done = subprocess.run(["ip", "netns", "exec", self.switch, "nft", command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabUnavailable(f"nft {command}: {done.stderr.strip()}")

    # -- faults ------------------------------------------------------------------------------------------------------------

    def cut(self, one: str, other: str) -> None:
        """Nothing passes between two hosts any more, in silence: no reset, no ICMP."""
        self.cut_one_way(one, other)
        self.cut_one_way(other, one)

    def cut_one_way(self, sender: str, receiver: str) -> None:
        """What ``sender`` sends no longer reaches ``receiver``."""
        self._nft(f'add rule bridge {TABLE} forward iifname "{self[sender].port}" oifname "{self[receiver].port}" drop')

    def split(self, *sides: Sequence[str]) -> None:
        """Cut every pair of hosts that stand on different sides."""
        for number, side in enumerate(sides):
            for one in side:
                for other in (name for later in sides[number + 1 :] for name in later):
                    self.cut(one, other)

    def loss(self, host: str, percent: int) -> None:
        """Lose that share of all frames to and from a host, at random."""
        for direction in ("iifname", "oifname"):
            self._nft(f'add rule bridge {TABLE} forward {direction} "{self[host].port}" numgen random mod 100 <= {percent - 1} drop')

    def heal(self) -> None:
        """End every cut and every loss; links that are down stay down."""
        self._nft(f"flush chain bridge {TABLE} forward")

    def link_down(self, host: str) -> None:
        """Pull the cable of a host: it loses its carrier, the others only notice silence."""
        ip("-n", self.switch, "link", "set", self[host].port, "down")

    def link_up(self, host: str) -> None:
        """Plug it in again."""
        ip("-n", self.switch, "link", "set", self[host].port, "up")

    @staticmethod
    def pause(pid: int) -> None:
        """SIGSTOP: a process that hangs, a laptop that sleeps."""
        os.kill(pid, signal.SIGSTOP)

    @staticmethod
    def resume(pid: int) -> None:
        """SIGCONT."""
        os.kill(pid, signal.SIGCONT)

    @staticmethod
    def kill(pid: int) -> None:
        """SIGKILL: a crash."""
        kill_pid(pid)

    # -- reports and the end ---------------------------------------------------------------------------------------------------

    def logs(self) -> str:
        """What every process of every host has printed."""
        return "\n".join(host.logs() for host in self)

    def close(self) -> None:
        """Kill and delete all that the lab made."""
        for host in self.hosts.values():
            host.close()
        for name in namespaces():
            if name.startswith(f"{self.name}-"):
                _delete_namespace(name)
        unmount_beneath(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
