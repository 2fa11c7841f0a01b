"""The one client of a process for each place, shared by all applications that want the same."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable

from mesh.client.client import Client

_clients: dict[tuple[object, ...], tuple[Client, int]] = {}
_clients_lock = threading.Lock()


def shared_client(key: tuple[object, ...], make: Callable[[], Client]) -> Client:
    """The process's one client for ``key`` (home, mesh, seeds), made by ``make`` when there is no usable one.

    Give it back with :func:`release`; the last one closes it.
    """
    with _clients_lock:
        client, users = _clients.get(key, (None, 0))
        if client is None or not client.usable:
            client, users = make(), 0
        _clients[key] = client, users + 1
        return client


def release(key: tuple[object, ...], client: Client) -> None:
    """The counterpart of :func:`shared_client`."""
    with _clients_lock:
        current, users = _clients.get(key, (None, 0))
        if current is client and users > 1:
            _clients[key] = client, users - 1
            return
        if current is client:
            del _clients[key]
    client.close()


def close_all() -> None:
    """Close every client of the process."""
    with _clients_lock:
        clients = [client for client, _ in _clients.values()]
        _clients.clear()
    for client in clients:
        client.close()


def _after_fork_in_child() -> None:
    global _clients_lock
    _clients_lock = threading.Lock()
    for client, _ in _clients.values():
        client.abandon()
    _clients.clear()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
