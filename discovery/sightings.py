"""What was heard on the link, bounded: any host can claim anything there, as often and under as many names as it likes.

Pure: the time comes in, candidates go out. An announcement that the budgets refuse is forgotten and gets its chance when it is
heard again. Announcements with a member's tag have a budget and a place of their own, so that a flood of strange names does not
keep members from finding each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.discovery.base import Candidate

INSTANCES_MAX = 1024
ADDRESSES_MAX = 16
"""Per announcement; a host with more than 16 usable addresses is not a laptop on a LAN."""

UNKNOWN_PER_S, UNKNOWN_BURST = 32.0, 128.0
OURS_PER_S, OURS_BURST = 128.0, 512.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """One instance as last heard."""

    instance: str
    addresses: tuple[str, ...]
    """``host:port``."""
    ours: bool


class Sightings:
    """Remembers which addresses of which instances were handed on."""

    def __init__(self, instances_max: int = INSTANCES_MAX) -> None:
        self._instances_max = instances_max
        self._ours: dict[str, frozenset[str]] = {}
        self._unknown: dict[str, frozenset[str]] = {}
        self._ours_budget = _Budget(OURS_PER_S, OURS_BURST)
        self._unknown_budget = _Budget(UNKNOWN_PER_S, UNKNOWN_BURST)

    def __len__(self) -> int:
        return len(self._ours) + len(self._unknown)

    def hear(self, announcement: Announcement, now_s: float) -> list[Candidate]:
        """The candidates to hand on: addresses that are new for this instance, or all when it turns out to be ours."""
        instance, ours = announcement.instance, announcement.ours
        addresses = list(dict.fromkeys(announcement.addresses))[:ADDRESSES_MAX]
        told = self._ours.get(instance)
        if told is None and not ours:
            told = self._unknown.get(instance)
        fresh = [address for address in addresses if told is None or address not in told]
        if fresh:
            budget = self._ours_budget if ours else self._unknown_budget
            if not budget.take(len(fresh), now_s):
                return []
        if told is None and fresh:
            self._make_room()
        # A tag that was right once counts on: a spoofed TXT record can't take a member's place away.
        if ours or instance in self._ours:
            self._unknown.pop(instance, None)
            self._ours[instance] = frozenset(addresses)
        elif told is not None or fresh:
            self._unknown[instance] = frozenset(addresses)
        return [Candidate(address, "mdns", ours) for address in fresh]

    def forget(self, instance: str) -> None:
        """The instance said goodbye or its records ran out; it is told afresh when it comes back."""
        self._ours.pop(instance, None)
        self._unknown.pop(instance, None)

    def ours(self) -> set[str]:
        """The instances that are known to belong to the mesh that is looked for."""
        return set(self._ours)

    def _make_room(self) -> None:
        while len(self) >= self._instances_max:
            table = self._unknown or self._ours
            del table[next(iter(table))]


class _Budget:
    """A token bucket."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s: float | None = None

    def take(self, count: int, now_s: float) -> bool:
        if self._at_s is not None:
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if count > self._left:
            return False
        self._left -= count
        return True
