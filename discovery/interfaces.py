"""Addresses: those that this machine has now, and how they are written."""

from __future__ import annotations

import ipaddress


def multicast_addresses(interface: str | None) -> list[str]:
    """IPv4 addresses to speak mDNS on: ``interface`` if this machine has it, or all, loopback only when there is nothing else.

    Looked up at every call, as interfaces come and go. Empty when nothing fits.
    """
    import ifaddr  # what zeroconf itself uses; imported with it, only where mDNS is on

    present = dict.fromkeys(address.ip for adapter in ifaddr.get_adapters() for address in adapter.ips if isinstance(address.ip, str))
    if interface is not None:
        return [interface] if interface in present else []
    return [address for address in present if not is_loopback(address)] or list(present)


def is_loopback(address: str) -> bool:
    """Whether an IP address (a scope is allowed) reaches only its own machine. False for what is no address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def host_port(host: str, port: int) -> str:
    """``host:port``, IPv6 hosts in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
