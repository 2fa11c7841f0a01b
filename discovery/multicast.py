"""One open mDNS link on some of this machine's interfaces: announce, ask, listen. Imports zeroconf, so import this late.

Not zeroconf's own ServiceBrowser: its tables and its queue grow with every name that anyone on the link makes up, and it asks
with the unicast-response bit first, whose answers go to port 5353, where they reach only one of several processes of a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zeroconf import (  # type: ignore[attr-defined]  # zeroconf keeps its record classes here, but not in __all__
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    DNSPointer,
    DNSQuestion,
    DNSService,
    DNSText,
    IPVersion,
    NotRunningException,
    RecordUpdate,
    RecordUpdateListener,
    ServiceInfo,
    Zeroconf,
    current_time_millis,
)
from zeroconf.asyncio import AsyncZeroconf

SERVICE_TYPE = "_mesh._tcp.local."
GROUP, PORT = "224.0.0.251", 5353

KNOWN_ANSWERS_MAX = 40
"""Pointers of some 30 bytes each: they fit one packet with the question."""
ONE_SHOT_WAIT_S = 3.0
GOODBYE_PAUSE_S = 0.05
_TYPE_PTR, _CLASS_IN, _FLAGS_QUERY, _PACKET_BYTES_MAX = 12, 1, 0, 8966  # RFC 1035; RFC 6762 section 17

# What goes wrong here is told by Mdns.problem. Without a handler of the application's, zeroconf's warnings and tracebacks would go
# to a user's terminal by logging's last resort.
logging.getLogger("zeroconf").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Heard:
    """A complete announcement, unchecked."""

    instance: str
    hosts: tuple[bytes, ...]
    """Packed IP addresses."""
    port: int
    properties: dict[bytes, bytes]


class MulticastLink:
    """Sockets on the given interfaces, until closed. For use in one event loop."""

    def __init__(self, interfaces: list[str], on_heard: Callable[[Heard], None], on_gone: Callable[[str], None]) -> None:
        """Opens the sockets. Raises OSError when the system refuses."""
        self._aio = AsyncZeroconf(interfaces=interfaces, ip_version=IPVersion.V4Only)
        self._zeroconf = self._aio.zeroconf
        self._interfaces = interfaces
        self._listener = _Listener(on_heard, on_gone)
        self._info: ServiceInfo | None = None
        self._announcing: asyncio.Future[None] | None = None
        self._one_shots: list[asyncio.DatagramTransport] = []

    def take_heard_itself(self) -> bool:
        """Whether an own announcement came back since this was last asked, as multicast does on a machine where it works."""
        heard, self._listener.heard_own = self._listener.heard_own, False
        return heard

    async def start(self) -> None:
        """Begins to listen. Raises OSError when no interface takes multicast."""
        try:
            await self._zeroconf.async_wait_for_start()
        except NotRunningException:
            raise OSError("its sockets did not open") from None
        if not self._zeroconf.engine.senders:
            raise OSError("no interface takes multicast")
        self._zeroconf.async_add_listener(self._listener, None)

    async def announce(self, instance: str, server: str, addresses: list[str], port: int, properties: dict[str, str]) -> None:
        """Announces at once and twice more within half a second, and answers whoever asks. Called again, it replaces the announcement."""
        info = ServiceInfo(
            SERVICE_TYPE, f"{instance}.{SERVICE_TYPE}", port=port, server=server, parsed_addresses=addresses, properties=properties
        )
        await self._stop_announcing()
        self._listener.own = instance
        if self._info is None:
            # No probing for conflicts (RFC 6762 section 8.1 wants 0.75 s for it): the name is 64 random bits.
            sent = await self._aio.async_register_service(info, cooperating_responders=True)
        else:
            sent = await self._aio.async_update_service(info)
        self._info = info
        self._announcing = asyncio.ensure_future(sent)

    def announce_again(self) -> None:
        """One unsolicited announcement, for those who missed the earlier ones and whose questions get lost."""
        if self._info is not None:
            self._zeroconf.async_send(self._zeroconf.generate_service_broadcast(self._info, None))

    def ask(self, known: Iterable[str]) -> None:
        """Asks everyone, except for the instances that are known already (RFC 6762 section 7.1)."""
        now = current_time_millis()
        query = DNSOutgoing(_FLAGS_QUERY)
        query.add_question(_question())
        names = {f"{instance}.{SERVICE_TYPE}" for instance in known}
        answers = (
            record
            for record in self._zeroconf.cache.get_all_by_details(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN)
            if isinstance(record, DNSPointer) and record.alias in names and not record.is_stale(now)
        )
        for answer, _ in zip(answers, range(KNOWN_ANSWERS_MAX), strict=False):
            query.add_answer_at_time(answer, now)
        self._zeroconf.async_send(query)

    async def ask_at_once(self) -> None:
        """Asks from a port of its own, so that answers come directly and undelayed (RFC 6762 section 6.7).

        Answers by multicast wait up to 0.12 s, and a whole second when the same was multicast in the last second; unicast answers
        to port 5353 would reach one process of the machine only.
        """
        loop = asyncio.get_running_loop()
        for interface in self._interfaces:
            try:
                transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(self._zeroconf), sock=_one_shot_socket(interface))
            except OSError:
                continue  # the interface went away; the next look at the interfaces notices
            self._one_shots.append(transport)
            # A fresh id: zeroconf takes equal packets within 0.8 s for copies, also of different askers.
            query = DNSOutgoing(_FLAGS_QUERY, multicast=False, id_=secrets.randbits(16))
            query.add_question(_question())
            for packet in query.packets():
                transport.sendto(packet, (GROUP, PORT))
        loop.call_later(ONE_SHOT_WAIT_S, self._close_one_shots)

    async def close(self, *, goodbye: bool) -> None:
        """Closes the sockets; with ``goodbye`` tells the others first, twice as packets get lost, which takes 0.05 s."""
        self._close_one_shots()
        await self._stop_announcing()
        self._zeroconf.async_remove_listener(self._listener)
        if self._info is not None:
            self._zeroconf.registry.async_remove(self._info)
            if goodbye:
                farewell = self._zeroconf.generate_service_broadcast(self._info, 0)
                self._zeroconf.async_send(farewell)
                await asyncio.sleep(GOODBYE_PAUSE_S)
                self._zeroconf.async_send(farewell)
        await self._aio.async_close()

    async def _stop_announcing(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._announcing
            self._announcing = None

    def _close_one_shots(self) -> None:
        for transport in self._one_shots:
            transport.close()
        self._one_shots.clear()


class _Listener(RecordUpdateListener):
    """Turns each packet's records into announcements.

    Ours are whole within one packet, so nothing is looked up in zeroconf's cache: once a flood has filled that with long-lived
    records, it throws out the short-lived ones of whoever comes next.
    """

    def __init__(self, on_heard: Callable[[Heard], None], on_gone: Callable[[str], None]) -> None:
        self._on_heard = on_heard
        self._on_gone = on_gone
        self.own = ""
        self.heard_own = False

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """One packet's records, or some that ran out."""
        services: list[DNSService] = []
        texts: dict[str, bytes] = {}
        addresses: dict[str, list[bytes]] = {}
        for record in (update.new for update in records):
            if record.is_expired(now):
                if isinstance(record, DNSPointer) and (instance := _instance(record.alias)) is not None:
                    self._on_gone(instance)
            elif isinstance(record, DNSService):
                services.append(record)
            elif isinstance(record, DNSText):
                texts[record.key] = record.text
            elif isinstance(record, DNSAddress):
                addresses.setdefault(record.key, []).append(record.address)
        for service in services:
            instance = _instance(service.name)
            if instance == self.own:
                self.heard_own = True
            elif instance is not None and service.key in texts:
                hosts = tuple(addresses.get(service.server_key, ()))
                self._on_heard(Heard(instance, hosts, service.port, parse_text(texts[service.key])))

    def async_update_records_complete(self) -> None:
        """Nothing is kept for the end of the packet."""


class _Answers(asyncio.DatagramProtocol):
    """Direct answers to a one-shot question; they go the way of all others."""

    def __init__(self, zeroconf: Zeroconf) -> None:
        self._zeroconf = zeroconf

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) > _PACKET_BYTES_MAX:
            return
        message = DNSIncoming(data, addr)
        if message.valid and message.is_response():
            self._zeroconf.record_manager.async_updates_from_response(message)

    def error_received(self, exc: Exception) -> None:
        """A refused packet is a lost one; the regular questions follow."""


def _instance(name: str) -> str | None:
    label, dot, kind = name.partition(".")
    return label if label and dot and kind.lower() == SERVICE_TYPE else None


def parse_text(text: bytes) -> dict[bytes, bytes]:
    """The ``key=value`` strings of a TXT record; the first of equal keys counts (RFC 6763 section 6.4), the rest is left out."""
    properties: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        end = at + 1 + text[at]
        if end > len(text):
            break
        key, equals, value = text[at + 1 : end].partition(b"=")
        if equals:
            properties.setdefault(key, value)
        at = end
    return properties


def _question() -> DNSQuestion:
    return DNSQuestion(SERVICE_TYPE, _TYPE_PTR, _CLASS_IN)


def _one_shot_socket(interface: str) -> socket.socket:
    question = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        question.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        question.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        question.bind((interface, 0))
        question.setblocking(False)
    except OSError:
        question.close()
        raise
    return question
