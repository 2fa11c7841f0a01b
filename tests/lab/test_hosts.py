"""The lab itself: what it promises to the tests that use it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.lab import hosts
from tests.lab.hosts import Host, Lab
from tests.machines import CommandFailed
from tests.polling import NeverTrue, poll_until
from tests.repository import ROOT

Build = Callable[[Sequence[str]], Lab]


def hears(receiver: Host, sender: Host) -> bool:
    """Whether one UDP datagram arrives; ARP has to work both ways for the first one, so neighbours are set by hand."""
    listen = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9)); s.settimeout(0.6); print('ready', flush=True)\n"
        "try: print(s.recv(9))\nexcept TimeoutError: print('silence')"
    )
    process = receiver.spawn(sys.executable, "-c", listen, name="listen")
    process.wait_for("ready", 5)
    sender.run("ip", "neigh", "replace", receiver.address, "lladdr", mac(receiver), "dev", "eth0")
    sender.run(sys.executable, "-c", f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{receiver.address}', 9))")
    process.wait(5)
    return "silence" not in process.output()


def mac(host: Host) -> str:
    return host.run("cat", "/sys/class/net/eth0/address").stdout.strip()


def pings(one: Host, other: Host) -> bool:
    return hears(one, other) and hears(other, one)


def test_hosts_reach_each_other_and_nothing_else(lab: Build) -> None:
    two = lab(["server", "laptop"])
    assert pings(two["server"], two["laptop"])
    routes = two["server"].run("ip", "route").stdout
    assert "default" not in routes
    assert two["server"].run("ip", "-o", "link").stdout.count("\n") == 2  # lo and eth0


def test_nothing_of_the_lab_is_in_the_machines_own_network(lab: Build) -> None:
    before = {name for _, name in socket.if_nameindex()}
    lab(["server", "laptop"])
    assert {name for _, name in socket.if_nameindex()} == before


def test_a_host_has_its_own_name_home_and_loopback(lab: Build) -> None:
    two = lab(["server", "laptop"])
    program = "import os, socket; print(socket.gethostname(), os.environ['MESH_HOME'])"
    assert two["laptop"].python("-c", program).split() == ["laptop", str(two["laptop"].home)]
    assert two["laptop"].home != two["server"].home
    assert socket.gethostname() != "laptop"


def test_multicast_reaches_every_host(lab: Build) -> None:
    three = lab(["server", "laptop", "third"])
    listen = (
        "import socket\ns = socket.socket(type=socket.SOCK_DGRAM); s.bind(('224.0.0.251', 5353)); s.settimeout(5)\n"
        "s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('224.0.0.251') + socket.inet_aton('{address}'))\n"
        "print('ready', flush=True); print(s.recv(9))"
    )
    listeners = [three[name].spawn(sys.executable, "-c", listen.format(address=three[name].address)) for name in ("laptop", "third")]
    for process in listeners:
        process.wait_for("ready", 5)
    three["server"].python("-c", "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'news', ('224.0.0.251', 5353))")
    for process in listeners:
        process.wait_for("news", 5)


def test_a_cut_is_silent_and_heals(lab: Build) -> None:
    three = lab(["server", "laptop", "third"])
    three.cut("server", "laptop")
    assert not hears(three["laptop"], three["server"])
    assert not hears(three["server"], three["laptop"])
    assert pings(three["server"], three["third"])
    three.heal()
    assert pings(three["server"], three["laptop"])


def test_a_one_way_cut_leaves_the_other_way_open(lab: Build) -> None:
    two = lab(["server", "laptop"])
    two.cut_one_way("server", "laptop")
    assert not hears(two["laptop"], two["server"])
    assert hears(two["server"], two["laptop"])


def test_a_split_cuts_between_sides_only(lab: Build) -> None:
    three = lab(["server", "laptop", "third"])
    three.split(["server"], ["laptop", "third"])
    assert not hears(three["third"], three["server"])
    assert pings(three["laptop"], three["third"])


def test_loss_takes_its_share(lab: Build) -> None:
    two = lab(["server", "laptop"])
    assert hears(two["server"], two["laptop"])
    two.loss("laptop", 30)
    listen = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9)); print('ready', flush=True)\n"
        "seen = 0\nwhile s.recv(9) != b'end': seen += 1\nprint(f'seen {seen}', flush=True)"
    )
    process = two["server"].spawn(sys.executable, "-c", listen)
    process.wait_for("ready", 5)
    send = (
        "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\n"
        "for number in range(1050):\n"
        "    s.sendto(b'x' if number < 1000 else b'end', (ADDRESS, 9))\n"
        "    if number % 20 == 0: time.sleep(0.005)  # the receiver's buffer holds a few hundred\n"
    )
    two["laptop"].python("-c", send.replace("ADDRESS", repr(two["server"].address)))
    process.wait_for("seen", 5)
    assert 600 < int(process.output().split()[-1]) < 800


def test_a_link_goes_down_and_up(lab: Build) -> None:
    two = lab(["server", "laptop"])
    two.link_down("laptop")
    assert not hears(two["server"], two["laptop"])
    two.link_up("laptop")
    poll_until(lambda: hears(two["server"], two["laptop"]), 5, "the link carries again")


def test_pause_resume_and_kill_hit_the_very_process(lab: Build) -> None:
    one = lab(["server"])
    process = one["server"].spawn(
        sys.executable, "-c", "import time\nwhile True: print(time.time(), flush=True); time.sleep(0.01)", name="ticks"
    )
    poll_until(process.output, 5, "it ticks")
    one.pause(process.pid)
    poll_until(lambda: state(process.pid) == "T", 5, "it is stopped")
    one.resume(process.pid)
    poll_until(lambda: state(process.pid) in "RS", 5, "it goes on")
    one.kill(process.pid)
    assert process.wait(5) == -9


def state(pid: int) -> str:
    """R running, S sleeping, T stopped (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_all_is_gone_after_a_failure_inside() -> None:
    broken = Lab(["server", "laptop"])
    with pytest.raises(ZeroDivisionError), broken:
        raise spoil(broken)
    assert not [name for name in hosts.namespaces() if name.startswith(broken.name)]
    assert not broken.folder.exists()
    assert not broken["server"].processes[0].running


def spoil(lab: Lab) -> Exception:
    """Leave processes behind, one of them detached."""
    lab["server"].spawn("sleep", "60")
    lab["laptop"].run("sh", "-c", "sleep 60 >/dev/null 2>&1 &")
    return ZeroDivisionError()


def test_what_a_killed_run_left_behind_is_swept() -> None:
    owner = (
        "import time; from tests.lab.hosts import Lab; lab = Lab(['server']); lab['server'].spawn('sleep', '60')\n"
        "print(lab.name, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        name = process.stdout.readline().strip()
        process.kill()
    assert name
    assert [left for left in hosts.namespaces() if left.startswith(name)]
    hosts.sweep()
    assert not [left for left in hosts.namespaces() if left.startswith(name)]


def test_a_failed_command_says_where_what_and_why(lab: Build) -> None:
    one = lab(["server"])
    with pytest.raises(CommandFailed, match=r"server\$ sh -c .*exit code 7\nbroken"):
        one["server"].run("sh", "-c", "echo broken >&2; exit 7")


def test_waiting_reports_what_was_last_seen() -> None:
    with pytest.raises(NeverTrue, match=r"not within 0\.01 s: the cows come home; last seen: 0"):
        poll_until(lambda: 0, 0.01, "the cows come home", pause_s=0.001)
