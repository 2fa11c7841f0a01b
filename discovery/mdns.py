"""Discovery by multicast DNS: announce this node's lobby and hear of others. It yields hints, never members."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.discovery.base import Candidate, Finder
from mesh.discovery.interfaces import host_port, is_loopback, multicast_addresses
from mesh.discovery.sightings import Announcement, Sightings

from mesh.errors import UsageError

if TYPE_CHECKING:
    from mesh.discovery.multicast import Heard, MulticastLink

FORMAT = "1"
"""TXT ``v``; what carries another is not understood and left alone."""
TAG_BYTES = 8
TAG_HOUR_S = 3600

FIRST_REPEAT_S = 1.0
LONGEST_REPEAT_S = 60.0
"""Questions and announcements repeat after 1, 2, 4 ... 60 s (RFC 6762 sections 5.2 and 8.3 ask for doubling)."""
INTERFACES_CHECK_S = 30.0
CLOSE_TIMEOUT_S = 0.3

log = logging.getLogger(__name__)


def announcement_tag(tag_key: bytes, instance: str, hour: int) -> str:
    """What TXT ``t`` says: 16 hexadecimal characters that only holders of ``tag_key`` can make or recognise.

    ``hour`` is the number of hours since 1970 UTC. It is part of it so that a stranger can't follow a mesh from day to day.
    """
    return hmac.digest(tag_key, instance.encode() + hour.to_bytes(8, "big"), hashlib.sha256)[:TAG_BYTES].hex()


class Mdns(Finder):
    """Announces and browses in a thread of its own from construction until :meth:`close`."""

    def __init__(
        self,
        on_candidate: Callable[[Candidate], None],
        *,
        port: int | None,
        tag_key: bytes | None,
        interface: str | None = None,
        addresses: list[str] | None = None,
    ) -> None:
        """Returns at once; sockets are opened in the background.

        ``on_candidate`` gets every address of every announcement, from the thread of mDNS, and again when an announcement's
        addresses change; it must not block. ``port`` is the lobby's to announce, None to browse only. ``tag_key`` marks what is
        announced and recognises others (``Candidate.ours``). ``interface`` is an IPv4 address of this machine, default all but
        loopback. ``addresses`` are the ones to announce, default those of the interfaces.

        Raises UsageError for what is no IP address. A machine without multicast raises nothing: see :attr:`problem`.
        """
        _check_addresses(interface, addresses)
        self.problem: str | None = None
        """Why mDNS does not work at present, for a person; None when it does or was not tried yet."""
        self._on_candidate = on_candidate
        self._port = port
        self._tag_key = tag_key
        self._interface = interface
        self._advertised = addresses
        self._instance = secrets.token_hex(8)
        self._server = f"{secrets.token_hex(8)}.local."  # zeroconf's default would be the instance, a habit it may change
        self._sightings = Sightings()
        self._link: MulticastLink | None = None
        self._interfaces: list[str] = []
        self._announced_hour = 0
        self._pause_s = FIRST_REPEAT_S
        self._repeat_at_s = 0.0
        self._closing = False
        self._opened = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mesh-mdns", daemon=True)
        self._thread.start()

    def wait_opened(self, timeout_s: float) -> bool:
        """Waits until the first try to open sockets is over, well or badly; False when that takes longer."""
        return self._opened.wait(timeout_s)

    def refresh(self) -> None:
        """Looks for changed interfaces now, not after up to 30 s, then announces and asks again. From any thread."""
        self._call(self._refresh)

    def close(self) -> None:
        """Says goodbye and stops, within 0.3 s. Closing twice is no error."""
        self._closing = True
        self._call(self._wake.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_TIMEOUT_S)

    def _refresh(self) -> None:
        self._pause_s = FIRST_REPEAT_S
        self._repeat_at_s = 0.0
        self._wake.set()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            log.exception("mDNS stopped")
            self.problem = f"mDNS stopped: {error}"
        finally:
            self._opened.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            while not self._closing:
                self._wake.clear()
                try:
                    await self._turn()
                except OSError as error:
                    self.problem = f"mDNS (UDP port 5353) can't be used: {error}"
                    await self._close_link(goodbye=False)
                self._opened.set()
                with contextlib.suppress(TimeoutError):
                    if not self._closing:
                        await asyncio.wait_for(self._wake.wait(), self._wait_s())
        finally:
            await self._close_link(goodbye=True)

    def _wait_s(self) -> float:
        if self._link is None:
            return INTERFACES_CHECK_S
        return min(INTERFACES_CHECK_S, max(self._repeat_at_s - time.monotonic(), 0.0))

    async def _turn(self) -> None:
        interfaces = multicast_addresses(self._interface)
        if self._link is None or interfaces != self._interfaces:
            await self._open(interfaces)
        elif time.monotonic() >= self._repeat_at_s:
            await self._repeat(self._link)
            self._pause_s = min(2 * self._pause_s, LONGEST_REPEAT_S)
        else:
            return
        self._repeat_at_s = time.monotonic() + self._pause_s

    async def _open(self, interfaces: list[str]) -> None:
        """Opens the link, or opens it anew. Raises OSError."""
        await self._close_link(goodbye=False)
        if not interfaces:
            raise OSError(f"this machine has no {self._interface or 'IPv4'} address")
        from mesh.discovery.multicast import MulticastLink

        self._interfaces = interfaces
        self._link = MulticastLink(interfaces, self._heard, self._sightings.forget)
        await self._link.start()
        await self._announce(self._link)
        await self._link.ask_at_once()
        self._pause_s = FIRST_REPEAT_S
        if self._port is None:
            self.problem = None

    async def _announce(self, link: MulticastLink) -> None:
        if self._port is None:
            return
        self._announced_hour = _hour()
        properties = {"v": FORMAT}
        if self._tag_key is not None:
            properties["t"] = announcement_tag(self._tag_key, self._instance, self._announced_hour)
        await link.announce(self._instance, self._server, self._advertised or self._interfaces, self._port, properties)

    async def _repeat(self, link: MulticastLink) -> None:
        if self._port is not None:
            silent = not link.take_heard_itself()
            self.problem = "multicast does not come back: a firewall or the network drops it" if silent else None
            if silent and self._pause_s >= LONGEST_REPEAT_S:
                self._interfaces = []  # a network card that went and came back has left the group: the next turn opens anew
            if self._announced_hour == _hour():
                link.announce_again()
            else:
                await self._announce(link)
        link.ask(self._sightings.ours())

    async def _close_link(self, *, goodbye: bool) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close(goodbye=goodbye)

    def _heard(self, heard: Heard) -> None:
        if heard.properties.get(b"v") != FORMAT.encode():
            return
        # Loopback addresses mean something only to those who browse on loopback; elsewhere they would make us dial ourselves.
        loopback = all(is_loopback(interface) for interface in self._interfaces)
        addresses = tuple(host_port(host, heard.port) for host in _dialable(heard.hosts, loopback)) if heard.port else ()
        announcement = Announcement(heard.instance, addresses, self._is_ours(heard))
        for candidate in self._sightings.hear(announcement, time.monotonic()):
            try:
                self._on_candidate(candidate)
            except Exception:
                log.exception("a candidate from mDNS was not taken")

    def _is_ours(self, heard: Heard) -> bool:
        tag = heard.properties.get(b"t")
        if self._tag_key is None or tag is None or len(tag) != 2 * TAG_BYTES:
            return False
        now = _hour()  # the clocks of members may differ, and an announcement may be some minutes old
        return any(hmac.compare_digest(tag, announcement_tag(self._tag_key, heard.instance, now + off).encode()) for off in (0, -1, 1))

    def _call(self, function: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the thread has ended
                loop.call_soon_threadsafe(function)


def _hour() -> int:
    return int(time.time() // TAG_HOUR_S)


def _dialable(hosts: tuple[bytes, ...], loopback: bool) -> list[str]:
    """Those that can be dialled as written: link-local IPv6 would need a scope, which an announcement does not carry."""
    dialable: list[str] = []
    for packed in hosts:
        try:
            address = ipaddress.ip_address(packed)
        except ValueError:
            continue
        scopeless = address.version == 6 and address.is_link_local
        if not (address.is_multicast or address.is_unspecified or scopeless or (address.is_loopback and not loopback)):
            dialable.append(str(address))
    return dialable


def _check_addresses(interface: str | None, addresses: list[str] | None) -> None:
    try:
        if interface is not None:
            ipaddress.IPv4Address(interface)
    except ValueError:
        raise UsageError(f"--interface needs an IPv4 address of this machine, not {interface!r}") from None
    for address in addresses or ():
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise UsageError(f"--advertise needs an IP address, not {address!r}") from None
