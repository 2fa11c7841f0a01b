"""mDNS on loopback: real packets, real threads."""

import getpass
import itertools
import re
import secrets
import socket
import struct
import time
from collections.abc import Iterator

import pytest
from mesh.discovery import mdns
from mesh.discovery.base import Candidate
from mesh.discovery.mdns import Mdns, announcement_tag
from mesh.discovery.multicast import SERVICE_TYPE, parse_text
from zeroconf import DNSAddress, DNSIncoming, DNSNsec, DNSOutgoing, DNSPointer, DNSService, DNSText, ServiceInfo

from mesh.errors import UsageError
from tests.polling import poll_until

LOOPBACK = "127.0.0.1"
GROUP = ("224.0.0.251", 5353)
FLAGS_RESPONSE = 0x8400


class Party:
    """One Mdns on loopback and what it was told. Other tests may speak on the same loopback, so look for the own ports."""

    def __init__(self, key: bytes | None, *, port: int | None = None, addresses: list[str] | None = None) -> None:
        self.told: list[Candidate] = []
        self.mdns = Mdns(self.told.append, port=port, tag_key=key, interface=LOOPBACK, addresses=addresses)

    def opened(self) -> "Party":
        assert self.mdns.wait_opened(10)
        return self

    def about(self, port: int) -> list[Candidate]:
        return [candidate for candidate in self.told if candidate.address.endswith(f":{port}")]

    def finds(self, port: int, deadline_s: float = 5) -> Candidate:
        return poll_until(lambda: self.about(port), deadline_s, f"a candidate with port {port}", pause_s=0.005)[0]


@pytest.fixture
def party() -> Iterator:
    parties: list[Party] = []

    def build(key: bytes | None = None, **settings) -> Party:
        parties.append(Party(key, **settings))
        return parties[-1]

    yield build
    for one in parties:
        one.mdns.close()


@pytest.fixture
def key() -> bytes:
    return secrets.token_bytes(32)


_ports = itertools.count(20_000 + secrets.randbelow(20_000))


@pytest.fixture
def port() -> int:
    return next(_ports)


class Stranger:
    """Any host on the link: hears every packet, says what it likes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(("", 5353))
        group = socket.inet_aton(GROUP[0]) + socket.inet_aton(LOOPBACK)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        self._socket.setblocking(False)
        self._heard: list[bytes] = []

    def close(self) -> None:
        self._socket.close()

    def say(self, packet: bytes) -> None:
        self._socket.sendto(packet, GROUP)

    def packets_about(self, port: int) -> list[bytes]:
        """Packets heard so far that announce a service at ``port``."""
        try:
            while True:
                self._heard.append(self._socket.recv(9000))
        except BlockingIOError:
            pass
        return [
            packet
            for packet in self._heard
            if any(isinstance(record, DNSService) and record.port == port for record in DNSIncoming(packet).answers())
        ]


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    one = Stranger()
    yield one
    one.close()


def announcement(port: int, text: bytes, addresses: tuple[str, ...] = (LOOPBACK,), instance: str = "") -> bytes:
    """A packet like ours, with any TXT record."""
    instance = instance or secrets.token_hex(8)
    info = ServiceInfo(
        SERVICE_TYPE,
        f"{instance}.{SERVICE_TYPE}",
        port=port,
        properties=text,
        server=f"{secrets.token_hex(8)}.local.",
        parsed_addresses=list(addresses),
    )
    out = DNSOutgoing(FLAGS_RESPONSE)
    for record in (info.dns_pointer(), info.dns_service(), info.dns_text(), *info.dns_addresses()):
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


# -- finding ------------------------------------------------------------------------------------------------------------


def test_a_browser_hears_a_new_announcer_within_a_second(party, key, port):
    browser = party(key).opened()
    started = time.monotonic()
    party(key, port=port)
    assert browser.finds(port) == Candidate(f"{LOOPBACK}:{port}", "mdns", True)
    assert time.monotonic() - started < 1


def test_who_browses_later_gets_an_answer_within_a_second(party, key, port, stranger):
    party(key, port=port)
    poll_until(lambda: len(stranger.packets_about(port)) >= 3, 5, "the announcer has said all that it says unasked at first")
    started = time.monotonic()
    party(key).finds(port)
    assert time.monotonic() - started < 1


def test_all_find_all_and_nobody_itself(party, key):
    ports = [next(_ports) for _ in range(3)]
    announcers = {port: party(key, port=port) for port in ports}
    browsers = [party(key), party(key)]
    for port in ports:
        for one in [*browsers, *(announcers[other] for other in ports if other != port)]:
            assert one.finds(port).ours
    for port, announcer in announcers.items():
        assert not announcer.opened().about(port)


def test_an_announcement_is_handed_on_once_however_often_it_is_repeated(party, key, port, stranger):
    browser = party(key).opened()
    party(key, port=port)
    poll_until(lambda: len(stranger.packets_about(port)) >= 3, 5, "it was announced three times")
    assert len(browser.about(port)) == 1


def test_every_advertised_address_is_a_candidate_of_its_own(party, key, port):
    browser = party(key).opened()
    party(key, port=port, addresses=["10.9.8.7", "fd00::7"])
    poll_until(lambda: len(browser.about(port)) == 2, 5, "both addresses")
    assert {candidate.address for candidate in browser.told} >= {f"10.9.8.7:{port}", f"[fd00::7]:{port}"}


# -- who may recognise it, and what it gives away --------------------------------------------------------------------------


def test_the_tag_is_recognised_only_with_the_key(party, key, port):
    member, other_mesh, keyless = party(key), party(secrets.token_bytes(32)), party(None)
    party(key, port=port)
    assert member.finds(port).ours
    assert not other_mesh.finds(port).ours
    assert not keyless.finds(port).ours


@pytest.mark.parametrize(("hours_off", "ours"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_the_tag_of_the_last_and_the_next_hour_counts(party, key, port, stranger, hours_off, ours):
    browser = party(key).opened()
    instance = secrets.token_hex(8)
    tag = announcement_tag(key, instance, int(time.time() // 3600) + hours_off)
    stranger.say(announcement(port, b"\x03v=1\x12t=" + tag.encode(), instance=instance))
    assert browser.finds(port).ours is ours


def test_a_tag_belongs_to_one_instance_name(party, key, port, stranger):
    browser = party(key).opened()
    tag = announcement_tag(key, secrets.token_hex(8), int(time.time() // 3600))
    stranger.say(announcement(port, b"\x03v=1\x12t=" + tag.encode()))
    assert not browser.finds(port).ours


def test_the_tag_follows_the_hour(party, key, port, stranger, monkeypatch):
    announcer = party(key, port=port)
    poll_until(lambda: stranger.packets_about(port), 5, "the first announcement")
    hour = int(time.time() // 3600) + 7
    monkeypatch.setattr(mdns, "_hour", lambda: hour)
    announcer.mdns.refresh()

    def tag_of_the_new_hour() -> bool:
        records = DNSIncoming(stranger.packets_about(port)[-1]).answers()
        text = next(record for record in records if isinstance(record, DNSText))
        return parse_text(text.text)[b"t"].decode() == announcement_tag(key, text.name.partition(".")[0], hour)

    poll_until(tag_of_the_new_hour, 5, "the tag of the new hour")


def test_nothing_personal_is_announced(party, key, port, stranger):
    party(key, port=port)
    packet = poll_until(lambda: stranger.packets_about(port), 5, "an announcement")[0]
    for secret in (socket.gethostname(), getpass.getuser()):
        assert len(secret) < 5 or secret.lower().encode() not in packet.lower()  # shorter ones may be in any random name
    for record in DNSIncoming(packet).answers():
        if isinstance(record, DNSPointer):
            assert re.fullmatch(r"[0-9a-f]{16}\._mesh\._tcp\.local\.", record.alias)
        elif isinstance(record, DNSService):
            assert re.fullmatch(r"[0-9a-f]{16}\.local\.", record.server)
        elif isinstance(record, DNSText):
            assert re.fullmatch(rb"\x03v=1\x12t=[0-9a-f]{16}", record.text)
        else:
            assert isinstance(record, DNSAddress | DNSNsec)


def test_each_start_has_new_names(party, key, port, stranger):
    def names() -> set[str]:
        records = [record for packet in stranger.packets_about(port) for record in DNSIncoming(packet).answers()]
        return {text for record in records if isinstance(record, DNSService) for text in (record.name, record.server)}

    first = party(key, port=port)
    poll_until(lambda: len(names()) == 2, 5, "the first start is announced")
    first.mdns.close()
    party(key, port=port)
    poll_until(lambda: len(names()) == 4, 5, "the second start is announced under other names")


# -- what strangers say ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"", b"\x00", b"\xff\xff\xff", b"\xffv=1", b"\x03v=2", b"\x01v", b"\x03V=1", b"\x03v=2\x03v=1", bytes(range(256))],
)
def test_garbage_text_is_not_handed_on_and_does_no_harm(party, key, port, stranger, text):
    browser = party(key).opened()
    stranger.say(announcement(port, text))
    good = next(_ports)
    stranger.say(announcement(good, b"\x03v=1"))
    assert not browser.finds(good).ours
    assert not browser.about(port)


@pytest.mark.parametrize("tag", [b"", b"\x00" * 16, b"\xff" * 16, b"f" * 15, b"f" * 200])
def test_a_garbage_tag_is_no_tag(party, key, port, stranger, tag):
    browser = party(key).opened()
    stranger.say(announcement(port, b"\x03v=1" + bytes([2 + len(tag)]) + b"t=" + tag))
    assert not browser.finds(port).ours


def test_addresses_that_nobody_can_dial_are_left_out(party, key, port, stranger):
    browser = party(key).opened()
    stranger.say(announcement(port, b"\x03v=1", ("0.0.0.0", "224.0.0.1", "::", "ff02::1", "fe80::1", "10.1.1.1")))
    browser.finds(port)
    assert [candidate.address for candidate in browser.about(port)] == [f"10.1.1.1:{port}"]


def test_broken_packets_do_no_harm(party, key, port, stranger):
    browser = party(key).opened()
    whole = announcement(port, b"\x03v=1")
    for length in range(0, len(whole), 3):
        stranger.say(whole[:length] or b"\x00")
    stranger.say(struct.pack(">6H", 0, FLAGS_RESPONSE, 0, 65535, 65535, 65535) + b"\xc0\x0c" * 40)
    good = next(_ports)
    stranger.say(announcement(good, b"\x03v=1"))
    browser.finds(good)


def test_other_addresses_under_the_same_name_are_handed_on_beside_the_first(party, key, port, stranger):
    browser = party(key).opened()
    instance = secrets.token_hex(8)
    stranger.say(announcement(port, b"\x03v=1", ("10.1.1.1",), instance))
    stranger.say(announcement(port, b"\x03v=1", ("10.1.1.2",), instance))
    poll_until(lambda: len(browser.about(port)) == 2, 5, "both addresses")
    assert [candidate.address for candidate in browser.about(port)] == [f"10.1.1.1:{port}", f"10.1.1.2:{port}"]


def test_a_callback_that_raises_does_not_end_the_search(key, port, stranger, caplog):
    told: list[Candidate] = []

    def stumble(candidate: Candidate) -> None:
        told.append(candidate)
        raise ValueError("stumbled")

    browser = Mdns(stumble, port=None, tag_key=key, interface=LOOPBACK)
    try:
        assert browser.wait_opened(10)
        for number in (port, next(_ports)):
            stranger.say(announcement(number, b"\x03v=1"))
            poll_until(lambda number=number: any(one.address.endswith(f":{number}") for one in told), 5, "it goes on")
    finally:
        browser.close()
    assert "was not taken" in caplog.text


# -- start and end ----------------------------------------------------------------------------------------------------------


def test_starting_does_not_hold_the_caller(party, key, port):
    def start() -> float:
        started = time.monotonic()
        party(key, port=port)
        return time.monotonic() - started

    assert min(start() for _ in range(3)) < 0.05


def test_closing_says_goodbye_and_is_quick(party, key, port, stranger):
    announcer = party(key, port=port)
    poll_until(lambda: stranger.packets_about(port), 5, "an announcement")
    started = time.monotonic()
    announcer.mdns.close()
    assert time.monotonic() - started < 0.5
    announcer.mdns.close()

    def goodbye() -> bool:
        records = DNSIncoming(stranger.packets_about(port)[-1]).answers()
        return all(record.ttl == 0 for record in records if isinstance(record, DNSPointer | DNSService | DNSText))

    poll_until(goodbye, 2, "a last packet with TTL 0 (RFC 6762 section 10.1)")


def test_who_said_goodbye_is_handed_on_again_when_it_comes_back(party, key, port, stranger):
    browser = party(key).opened()
    instance = secrets.token_hex(8)
    stranger.say(announcement(port, b"\x03v=1", instance=instance))
    browser.finds(port)
    farewell = DNSOutgoing(FLAGS_RESPONSE)
    farewell.add_answer_at_time(DNSPointer(SERVICE_TYPE, 12, 1, 0, f"{instance}.{SERVICE_TYPE}"), 0)
    stranger.say(farewell.packets()[0])
    stranger.say(announcement(port, b"\x03v=1", instance=instance))
    poll_until(lambda: len(browser.about(port)) == 2, 5, "it is handed on again")


def test_no_address_to_speak_on_is_a_problem_to_show_not_an_error(key, port):
    finder = Mdns(lambda candidate: None, port=port, tag_key=key, interface="192.0.2.123")
    try:
        assert finder.wait_opened(10)
        assert "192.0.2.123" in (finder.problem or "")
    finally:
        finder.close()


def test_no_multicast_is_a_problem_to_show_and_ends_when_it_works(party, key, port, monkeypatch):
    monkeypatch.setattr(mdns, "multicast_addresses", lambda interface: [])
    announcer = party(key, port=port).opened()
    assert announcer.mdns.problem
    monkeypatch.undo()
    announcer.mdns.refresh()
    party(key).finds(port)
    poll_until(lambda: announcer.mdns.problem is None, 5, "the problem is gone")


def test_changed_interfaces_are_followed_and_announced(party, key, port, monkeypatch):
    browser = party(key).opened()
    announcer = party(key, port=port).opened()
    browser.finds(port)
    monkeypatch.setattr(mdns, "multicast_addresses", lambda interface: [LOOPBACK, "127.0.0.2"])
    announcer.mdns.refresh()
    poll_until(lambda: len(browser.about(port)) == 2, 5, "the second address")
    assert {candidate.address for candidate in browser.about(port)} == {f"{LOOPBACK}:{port}", f"127.0.0.2:{port}"}


@pytest.mark.parametrize("settings", [{"interface": "eth0"}, {"interface": "::1"}, {"addresses": ["my-laptop"]}])
def test_what_is_no_address_is_refused_at_once(settings):
    with pytest.raises(UsageError, match=r"address"):
        Mdns(lambda candidate: None, port=1, tag_key=None, **settings)


def test_text_strings_are_read_up_to_the_last_whole_one():
    assert parse_text(b"\x03v=1\x04t=ab\x03v=2\x01x\x00\xffz=y") == {b"v": b"1", b"t": b"ab"}
    assert parse_text(b"") == {}
