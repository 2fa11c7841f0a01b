"""The settings of the whole mesh: replicated, one value for a key (``mesh config set``, ``mesh queue set``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.config import QUEUE_LIMITS, Settings, check, mesh_wide, parse, queue_settings
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.standing import StandingValues
from mesh.errors import InvalidSetting
from mesh.wire.entries import Entry, Setting


class Policies:
    """Applies the highest value of each key to this node's settings, in place."""

    def __init__(self, replica: Replica, settings: Settings) -> None:
        self._replica = replica
        self._settings = settings
        self._started_with = {name: getattr(settings, name) for name in mesh_wide()}
        self._standing: StandingValues[str, Setting] = StandingValues(replica)
        self._queues: dict[tuple[str, str], float | int | str] = {}
        self.on_changed: list[Callable[[], None]] = []
        """Told that some setting of the mesh or of a queue is another one."""
        replica.on_shared_added.append(self._on_added)

    def load(self) -> None:
        """Index what the replica has restored."""
        self._replica.tell_restored(self._on_added)

    def set(self, key: str, value: str, term: int) -> None:
        """Write a new value; empty for the default. Raises InvalidSetting, and nothing is written then."""
        if value:
            self._parsed(key, value)
        else:
            self._field(key)
        self._standing.put(key, Setting(key, value), term)

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

    def any_queues(self) -> bool:
        """Whether some queue has something for itself."""
        return bool(self._queues)

    def all_of(self, queue: str) -> dict[str, float | int | str]:
        """All that was set for a queue by itself, by name."""
        return {name: self._queues[queue, name] for name in queue_settings() if (queue, name) in self._queues}

    def queues_with(self, name: str) -> list[str]:
        """The queues that have this for themselves."""
        return [queue for queue, known in self._queues if known == name]

    def report(self) -> dict[str, dict[str, Any]]:
        """Every mesh-wide setting with value, default, effect and where the value comes from; then those of queues."""
        rows: dict[str, dict[str, Any]] = {}
        for name, item in mesh_wide().items():
            standing = self._standing.get(name)
            value = getattr(self._settings, name)
            origin = "mesh" if standing is not None and standing.value else "node" if value != item.default else "default"
            rows[name] = {"value": value, "default": item.default, "origin": origin, "effect": item.metadata["effect"]}
        for (queue, name), value in sorted(self._queues.items()):
            rows[f"queue:{queue}:{name}"] = {
                "value": value,
                "default": getattr(self._settings, name) if name in QUEUE_LIMITS else None,
                "origin": "mesh",
                "effect": f"{name} of the queue {queue}",
            }
        return rows

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Setting) and self._standing.came(entry.key, journal, sequence, entry):
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
        if key.startswith("queue:"):
            queue, _, name = key.removeprefix("queue:").rpartition(":")
            of_queues = queue_settings()
            if queue and name in of_queues:
                return of_queues[name]
            raise InvalidSetting(f"a queue has the settings {', '.join(of_queues)}; {key!r} is none of them")
        known = mesh_wide()
        if key not in known:
            raise InvalidSetting(f"the mesh has no setting {key!r}; it has {', '.join(sorted(known))}")
        return known[key]
