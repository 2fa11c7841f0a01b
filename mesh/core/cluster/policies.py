"""The settings of the whole mesh: replicated, one value for a key (``mesh config set``, ``mesh queue set``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.config import Settings, check, mesh_wide, parse
from mesh.core.cluster.replica import Journal, Replica
from mesh.errors import InvalidSetting
from mesh.wire.entries import Entry, Scope, Setting

QUEUE_SETTINGS = ("max_deliveries", "max_length", "max_bytes", "overflow")
"""Settings that a queue may have for itself."""

Rank = tuple[int, int, bytes, int]


class Policies:
    """Applies the highest value of each key to this node's settings, in place."""

    def __init__(self, replica: Replica, settings: Settings) -> None:
        self._replica = replica
        self._settings = settings
        self._started_with = {name: getattr(settings, name) for name in mesh_wide()}
        self._standing: dict[str, tuple[Rank, Setting, Journal, int]] = {}
        self._queues: dict[tuple[str, str], float | int | str] = {}
        self.on_changed: list[Callable[[], None]] = []
        """Told that some setting of the mesh or of a queue is another one."""
        replica.on_shared_added.append(self._on_added)

    def load(self) -> None:
        """Index what the replica has restored."""
        for journal in list(self._replica.journals.values()):
            if journal.scope == Scope.SHARED:
                for sequence, entry in list(journal.live.items()):
                    self._on_added(journal, sequence, entry)

    def set(self, key: str, value: str, term: int) -> None:
        """Write a new value; empty for the default. Raises InvalidSetting, and nothing is written then."""
        if value:
            self._parsed(key, value)
        else:
            self._field(key)
        known = self._standing.get(key)
        revision = known[1].revision + 1 if known is not None else 1
        self._replica.write(Setting(key, value, term, revision), Scope.SHARED)

    def own(self, queue: str, name: str) -> Any:
        """What was set for a queue by itself, or None."""
        return self._queues.get((queue, name))

    def of_mesh(self, name: str) -> Any:
        """What holds for all queues."""
        return getattr(self._settings, name)

    def any_limits(self) -> bool:
        """Whether some queue has limits: a quick look before the queues are asked one by one."""
        settings = self._settings
        return bool(settings.max_length or settings.max_bytes or self._queues)

    def report(self) -> dict[str, dict[str, Any]]:
        """Every mesh-wide setting with value, default, effect and where the value comes from; then those of queues."""
        rows: dict[str, dict[str, Any]] = {}
        for name, item in mesh_wide().items():
            standing = self._standing.get(name)
            value = getattr(self._settings, name)
            origin = "mesh" if standing is not None and standing[1].value else "node" if value != item.default else "default"
            rows[name] = {"value": value, "default": item.default, "origin": origin, "effect": item.metadata["effect"]}
        for (queue, name), value in sorted(self._queues.items()):
            rows[f"queue:{queue}:{name}"] = {
                "value": value,
                "default": getattr(self._settings, name),
                "origin": "mesh",
                "effect": f"{name} of the queue {queue}",
            }
        return rows

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if not isinstance(entry, Setting):
            return
        rank = (entry.term, entry.revision, journal.name, sequence)
        known = self._standing.get(entry.key)
        if known is not None and known[0] > rank:
            self._replica.settle(journal, sequence)
            return
        self._standing[entry.key] = (rank, entry, journal, sequence)
        if known is not None and (known[2] is not journal or known[3] != sequence):
            self._replica.settle(known[2], known[3])
        self._apply(entry)

    def _apply(self, setting: Setting) -> None:
        try:
            value = self._parsed(setting.key, setting.value) if setting.value else None
        except InvalidSetting:
            return  # of a newer version: it stands, and this node goes on without it
        if setting.key.startswith("queue:"):
            queue, _, name = setting.key.removeprefix("queue:").rpartition(":")
            if value is None:
                self._queues.pop((queue, name), None)
            else:
                self._queues[queue, name] = value
        elif setting.key in self._started_with:
            setattr(self._settings, setting.key, self._started_with[setting.key] if value is None else value)
        for listener in self.on_changed:
            listener()

    def _parsed(self, key: str, value: str) -> float | int | str:
        item = self._field(key)
        parsed = parse(item, value)
        check(item, parsed)
        return parsed

    @staticmethod
    def _field(key: str) -> Any:
        known = mesh_wide()
        if key.startswith("queue:"):
            queue, _, name = key.removeprefix("queue:").rpartition(":")
            if queue and name in QUEUE_SETTINGS:
                return known[name]
            raise InvalidSetting(f"a queue has the settings {', '.join(QUEUE_SETTINGS)}; {key!r} is none of them")
        if key not in known:
            raise InvalidSetting(f"the mesh has no setting {key!r}; it has {', '.join(sorted(known))}")
        return known[key]
