"""mDNS between hosts: found across a switch, unharmed by a network that drops multicast and by one that is full of strange names."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab.hosts import Host, Lab
from tests.machines import Process
from tests.polling import poll_until

pytestmark = pytest.mark.lab

KEY = "ab" * 32
FINDER = """
import json, signal, sys, threading, time
from mesh.discovery.mdns import Mdns

def say(**what):
    print(json.dumps({"at": time.monotonic(), **what}), flush=True)

port, key, advertised, interface = json.loads(sys.argv[1])
end = threading.Event()
say(starts=True)
finder = Mdns(lambda found: say(address=found.address, ours=found.ours), port=port, tag_key=bytes.fromhex(key), addresses=advertised,
              interface=interface)
signal.signal(signal.SIGUSR1, lambda *_: finder.refresh())
signal.signal(signal.SIGTERM, lambda *_: end.set())
said = ""
while not end.wait(0.02):
    if finder.wait_opened(0) and finder.problem != said:
        said = finder.problem
        say(problem=said)
started = time.monotonic()
finder.close()
say(closed_after=time.monotonic() - started)
"""
FLOOD = """
import os, socket, sys, time
from zeroconf import DNSOutgoing, ServiceInfo

kind = "_mesh._tcp.local."
info = ServiceInfo(kind, "A" * 16 + "." + kind, port=7, server="B" * 16 + ".local.", parsed_addresses=["10.1.2.3"],
                   properties={"v": "1", "t": "0123456789abcdef"})
out = DNSOutgoing(0x8400)
for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
    out.add_answer_at_time(record, 0)
packet = out.packets()[0]
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[1])):
    name = os.urandom(8).hex().encode()
    link.sendto(packet.replace(b"A" * 16, name).replace(b"B" * 16, name), ("224.0.0.251", 5353))
    if number % 20 == 0:
        time.sleep(0.002)
    if number == 11_000:
        print("more names than zeroconf's cache has room for", flush=True)
"""


class Finder:
    """A process with one Mdns on a host of the lab."""

    def __init__(self, host: Host, port: int | None, *, advertised: Sequence[str] | None = None, interface: str | None = None) -> None:
        settings = json.dumps([port, KEY, list(advertised) if advertised else None, interface])
        self.process: Process = host.spawn(sys.executable, "-c", FINDER, settings, name="finder")

    def said(self, what: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.process.output().splitlines() if line.startswith("{")]
        return [line for line in lines if what in line]

    def opens(self) -> None:
        """Waits until it has opened its sockets, or tried to."""
        poll_until(lambda: self.said("problem"), 10, "it tells how it stands")

    def finds(self, address: str) -> float:
        """Seconds from its start until it was told of ``address``; waits for it."""

        def told() -> list[dict[str, Any]]:
            return [line for line in self.said("address") if line["address"] == address]

        found = poll_until(told, 10, f"it finds {address}", pause_s=0.01)[0]
        assert found["ours"]
        return float(found["at"] - self.said("starts")[0]["at"])

    def problem(self) -> str | None:
        """The last thing that it said on the matter."""
        return str(lines[-1]["problem"] or "") if (lines := self.said("problem")) else None

    def rss_bytes(self) -> int:
        """Resident memory of its process."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def two(lab: Callable[[Sequence[str]], Lab]) -> Lab:
    return lab(["server", "laptop"])


def drop_multicast(host: Host) -> None:
    """As a host's own firewall does."""
    host.run("nft", "add table ip firewall")
    for hook in ("input", "output"):
        host.run("nft", f"add chain ip firewall {hook} {{ type filter hook {hook} priority 0; }}")
        host.run("nft", f"add rule ip firewall {hook} ip daddr 224.0.0.251 drop")


def test_two_hosts_find_each_other_within_a_second(two: Lab) -> None:
    server, laptop = two["server"], two["laptop"]
    first = Finder(server, 7700)
    first.opens()
    second = Finder(laptop, 7701)
    late = second.finds(f"{server.address}:7700")
    started = second.said("starts")[0]["at"]
    first.finds(f"{laptop.address}:7701")
    early = next(line["at"] for line in first.said("address") if line["address"] == f"{laptop.address}:7701") - started
    assert late < 1
    assert early < 1


def test_an_address_of_the_others_own_loopback_is_not_handed_on(two: Lab) -> None:
    server, laptop = two["server"], two["laptop"]
    Finder(server, 7700, advertised=["127.0.0.1", server.address])
    finder = Finder(laptop, None)
    finder.finds(f"{server.address}:7700")
    assert [line["address"] for line in finder.said("address")] == [f"{server.address}:7700"]


def test_where_multicast_is_dropped_nothing_is_found_and_the_problem_is_told(two: Lab) -> None:
    for host in two:
        drop_multicast(host)
    finders = [Finder(two["server"], 7700), Finder(two["laptop"], 7701)]
    for finder in finders:
        poll_until(lambda finder=finder: "multicast" in (finder.problem() or ""), 10, "the problem is told")
        assert not finder.said("address")
        assert finder.process.running
    two["server"].run("nft", "delete table ip firewall")
    two["laptop"].run("nft", "delete table ip firewall")
    finders[1].process.signal(signal.SIGUSR1)
    finders[1].finds(f"{two['server'].address}:7700")
    poll_until(lambda: finders[1].problem() == "", 10, "the problem is gone")
    assert "Traceback" not in two.logs()


def test_where_the_network_drops_it_in_silence_nothing_is_found(two: Lab) -> None:
    server, laptop = two["server"], two["laptop"]
    two.cut("server", "laptop")
    before = {host: host.bytes_sent() for host in two}
    finders = [Finder(server, 7700), Finder(laptop, 7701)]
    poll_until(lambda: all(host.bytes_sent() > before[host] + 600 for host in two), 10, "both have announced and asked")
    assert not any(finder.said("address") for finder in finders)
    two.heal()
    finders[0].finds(f"{laptop.address}:7701")
    finders[1].finds(f"{server.address}:7700")


def test_an_interface_that_comes_later_is_used(two: Lab) -> None:
    server, laptop = two["server"], two["laptop"]
    laptop.run("ip", "addr", "flush", "dev", "eth0")
    laptop.run("ip", "link", "set", "lo", "down")
    Finder(server, 7700)
    finder = Finder(laptop, 7701, interface=laptop.address)
    poll_until(lambda: laptop.address in (finder.problem() or ""), 10, "the problem is told")
    laptop.run("ip", "addr", "add", f"{laptop.address}/24", "dev", "eth0")
    finder.process.signal(signal.SIGUSR1)
    finder.finds(f"{server.address}:7700")


def test_closing_is_quick_also_where_multicast_is_dropped(two: Lab) -> None:
    drop_multicast(two["laptop"])
    for finder in (Finder(two["server"], 7700), Finder(two["laptop"], 7701)):
        finder.opens()
        assert finder.process.terminate() == 0
        assert finder.said("closed_after")[0]["closed_after"] < 0.5


def test_in_a_flood_of_names_memory_stays_and_members_still_find_each_other(lab: Callable[[Sequence[str]], Lab]) -> None:
    three = lab(["server", "laptop", "stranger"])
    browser = Finder(three["laptop"], None)
    announcer = Finder(three["server"], 7700)
    browser.finds(f"{three['server'].address}:7700")
    before = browser.rss_bytes()
    announcer.process.terminate()
    flood = three["stranger"].spawn(sys.executable, "-c", FLOOD, "20000", name="flood")
    flood.wait_for("more names", 60)
    started = time.monotonic()
    Finder(three["server"], 7701)
    browser.finds(f"{three['server'].address}:7701")
    assert time.monotonic() - started < 5
    assert flood.wait(60) == 0
    strangers = [line for line in browser.said("address") if not line["ours"]]
    assert 0 < len(strangers) < 2_000
    assert browser.rss_bytes() - before < 32 << 20
