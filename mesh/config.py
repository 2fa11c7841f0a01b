"""The one table of settings: name, default, unit in the name, effect.

Values come from, in falling order: an option or keyword, the environment (``MESH_<NAME IN CAPITALS>``), a file, the default.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.errors import InvalidSetting

UNITS = {"_s": "seconds", "_bytes": "bytes"}
"""The end of a setting's name -> its unit."""
TIME_S_MAX = 1e10
TEXT_CHARS_MAX = 255


def _setting(
    default: Any,
    effect: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    mesh_wide: bool = False,
    text: bool = False,
) -> Any:
    metadata = {"effect": effect, "low": low, "high": high, "choices": choices, "mesh_wide": mesh_wide, "text": text}
    return field(default=default, metadata=metadata)


@dataclass(slots=True)
class Settings:
    """All settings of a node and of those who attach to it. Times in seconds, sizes in bytes.

    Those marked mesh-wide are settled for all nodes at once by ``mesh config set``, which wins over what a node was started with.
    """

    heartbeat_interval_s: float = _setting(0.25, "pause between heartbeats to each peer", low=0.01, high=10)
    heartbeat_timeout_s: float = _setting(
        1.0, "silence after which a peer is suspected and an election may start; 4 x the interval", low=0.05, high=60
    )
    authority_timeout_s: float = _setting(
        0.7,
        "silence after which a coordinator no longer counts a peer towards its majority; below heartbeat_timeout_s, so that the old "
        "coordinator stops before a new one starts",
        low=0.03,
        high=60,
    )
    takeover_patience_s: float = _setting(
        10.0,
        "how long a vanished machine may come back before the others dispatch its work without a majority",
        low=0,
        high=3600,
        mesh_wide=True,
    )
    partition: str = _setting(
        "available",
        "`available`: after takeover_patience_s a minority dispatches too, so a long cut may run tasks twice; `strict`: only a majority "
        "ever dispatches, so a minority stands still",
        choices=("available", "strict"),
        mesh_wide=True,
    )
    durability: str = _setting(
        "available",
        "`available`: when fewer disks than `copies` are reachable, a publish is confirmed with what there is; `safe`: it waits for them "
        "until its deadline and then raises NotEnoughCopies",
        choices=("available", "safe"),
        mesh_wide=True,
    )
    forget_after_s: float = _setting(
        2_592_000.0,
        "absence after which a node is forgotten: it no longer counts, and what it brings back later is not run but kept in the list "
        "`quarantine`",
        low=60,
        high=31_536_000,
        mesh_wide=True,
    )
    reconcile_timeout_s: float = _setting(
        2.0, "longest wait for the reports of reachable members at the start of a reign", low=0.1, high=60
    )
    copies: int = _setting(
        2, "fsynced copies that a confirm waits for, as far as so many durable members are admitted", low=1, high=7, mesh_wide=True
    )
    short_copies_after_s: float = _setting(
        1.0,
        "how long fewer reachable disks than `copies` delay a confirm before it is given with what there is",
        low=0,
        high=60,
        mesh_wide=True,
    )
    worker_beat_s: float = _setting(0.5, "pause between a worker's lease renewals", low=0.05, high=60)
    worker_timeout_s: float = _setting(2.5, "silence after which a worker's leases are void", low=0.1, high=3600)
    orphan_grace_s: float = _setting(
        3.0, "how long the leases of a worker stay valid when the node that it was attached to is gone", low=0, high=3600
    )
    session_timeout_s: float = _setting(10.0, "silence after which a node forgets a client", low=1, high=3600)
    max_deliveries: int = _setting(
        5, "attempts after which a task that keeps losing its worker fails for good", low=1, high=1000, mesh_wide=True
    )
    max_length: int = _setting(
        0,
        "most tasks that wait in one queue, delayed ones included, those that a worker holds not; 0 for no limit. What happens beyond is "
        "up to `overflow`",
        low=0,
        mesh_wide=True,
    )
    max_bytes: int = _setting(
        0,
        "most bytes of bodies of the tasks that wait in one queue; 0 for no limit. What happens beyond is up to `overflow`",
        low=0,
        mesh_wide=True,
    )
    overflow: str = _setting(
        "reject-publish",
        "what a queue over max_length or max_bytes does: `reject-publish`: publishers wait for room until their deadline and then get "
        "QueueFull; `drop-head`: its oldest waiting task fails with TaskDropped; `dead-letter`: that one is kept as a dead letter, too",
        choices=("reject-publish", "drop-head", "dead-letter"),
        mesh_wide=True,
    )
    priority_ageing_s: float = _setting(
        60.0,
        "head start that is worth one level of priority: a task goes before one of the next higher priority that came so much later; 0: "
        "never",
        low=0,
        high=31_536_000,
        mesh_wide=True,
    )
    result_expires_s: float = _setting(86_400.0, "how long results are kept", low=0, high=31_536_000, mesh_wide=True)
    max_results_bytes: int = _setting(1 << 30, "bytes of kept results; the oldest go first", low=1 << 16, mesh_wide=True)
    max_body_bytes: int = _setting(1 << 20, "largest task body or result", low=1024, high=1 << 30)
    chunk_bytes: int = _setting(
        128 << 10,
        "largest body that travels in one piece with its message; a larger one travels in chunks of this size",
        low=16,
        high=1 << 20,
    )
    max_frame_bytes: int = _setting(8 << 20, "largest frame from an authenticated peer, client or worker", low=1 << 16, high=1 << 31)
    max_accepted_bytes: int = _setting(
        256 << 20, "bytes of messages that a node holds unconfirmed; beyond that publishers wait, then get MeshBusy", low=1 << 20
    )
    max_transient_bytes: int = _setting(
        256 << 20,
        "transient messages that a node holds, each counted with 800 bytes beside its body: they are in memory only, so publishers of "
        "further ones wait, then get MeshBusy",
        low=1 << 16,
    )
    window_bytes: int = _setting(
        32 << 20,
        "waiting tasks that a node holds in memory, each counted with 800 bytes beside its body; what comes beyond lies on its disk only "
        "until its turn comes",
        low=0,
    )
    link_window_bytes: int = _setting(16 << 20, "unacknowledged bytes to a follower before it has to catch up by state (R15)", low=1 << 16)
    replicate_batch_bytes: int = _setting(1 << 20, "largest single batch of replicated entries", low=1 << 12)
    prefetch_target_s: float = _setting(
        0.05, "work, in seconds, that a worker holds ready for short tasks beyond its free slots", low=0, high=10
    )
    max_prefetch: int = _setting(1024, "most tasks that a worker holds, however short they are", low=1, high=65_536)
    disk_reserve_bytes: int = _setting(
        512 << 20,
        "room on the disk below which a node takes nothing new (DiskLow) and hands over coordination; or disk_reserve_fraction of the "
        "disk, if that is less",
        low=0,
        mesh_wide=True,
    )
    disk_reserve_fraction: float = _setting(
        0.05, "share of the disk that counts instead of disk_reserve_bytes where it is less", low=0, high=1, mesh_wide=True
    )
    memory_limit_bytes: int = _setting(
        4 << 30,
        "memory of a node's process above which it takes nothing new: publishers wait, then get MeshBusy; or memory_limit_fraction of the "
        "machine's memory, if that is less. They are let in again below 90 % of it",
        low=0,
        mesh_wide=True,
    )
    memory_limit_fraction: float = _setting(
        0.4,
        "share of the memory, of the machine or of the container, that counts instead of memory_limit_bytes where it is less",
        low=0,
        high=1,
        mesh_wide=True,
    )
    discovery_timeout_s: float = _setting(5.0, "how long a client or worker looks for a node", low=0.1, high=600)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            check(item, getattr(self, item.name))
        if self.authority_timeout_s >= self.heartbeat_timeout_s:
            raise InvalidSetting(
                "authority_timeout_s must be below heartbeat_timeout_s: the old coordinator has to stop before a new one starts"
            )
        if self.heartbeat_interval_s * 2 > self.heartbeat_timeout_s:
            raise InvalidSetting("heartbeat_timeout_s must be at least twice heartbeat_interval_s")

    @property
    def piece_bytes(self) -> int:
        """Largest body, or chunk of one, that travels in one piece: ``chunk_bytes``, as far as frames have room for it."""
        return min(self.chunk_bytes, self.max_frame_bytes // 4)

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, **given: Any) -> Settings:
        """Settings from keywords over the environment over defaults.

        Raises InvalidSetting for an unknown name or a value that is not a number in range.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        known = {item.name: item for item in dataclasses.fields(cls)}
        for name, item in known.items():
            text = environment.get(f"MESH_{name.upper()}")
            if text is not None:
                values[name] = parse(item, text)
        for name, value in given.items():
            if name not in known:
                raise InvalidSetting(f"there is no setting {name!r}")
            if value is not None:
                values[name] = value
        return cls(**values)


@dataclass(slots=True)
class QueueSettings:
    """What a queue may have by ``mesh queue set`` beside the settings of the mesh; it wins over what the queue was declared with.

    Texts are written as JSON, so that an empty one, the default exchange, is a value.
    """

    message_ttl_s: float | None = _setting(None, "messages that come from now on expire so long after they came", low=0, high=TIME_S_MAX)
    expires_s: float | None = _setting(None, "a declared queue goes when it was not used for so long", low=0.001, high=TIME_S_MAX)
    dead_letter_exchange: str | None = _setting(None, "where rejected, expired and dropped messages go", text=True)
    dead_letter_routing_key: str | None = _setting(None, "with this routing key instead of the message's own", text=True)


QUEUE_LIMITS = ("max_deliveries", "max_length", "max_bytes", "overflow")
"""Settings of the mesh that a queue may have for itself."""


def queue_settings() -> dict[str, dataclasses.Field[Any]]:
    """All that ``mesh queue set`` takes, by name."""
    known = mesh_wide()
    return {name: known[name] for name in QUEUE_LIMITS} | {item.name: item for item in dataclasses.fields(QueueSettings)}


def parse(item: dataclasses.Field[Any], text: str) -> float | int | str:
    """What ``text`` means for a setting. Raises InvalidSetting."""
    if item.metadata["text"]:
        return _text(item, text)
    if item.metadata["choices"]:
        return text
    try:
        return int(text) if isinstance(item.default, int) else float(text)
    except ValueError:
        raise InvalidSetting(f"{item.name} needs a number, not {text!r}") from None


def _text(item: dataclasses.Field[Any], text: str) -> str:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise InvalidSetting(f"{item.name} needs a text of at most {TEXT_CHARS_MAX} characters as JSON, not {text!r:.80}")
    return value


def check(item: dataclasses.Field[Any], value: Any) -> None:
    """Raises InvalidSetting unless ``value`` is one of the setting's choices, or a number within its range."""
    choices, low, high = item.metadata["choices"], item.metadata["low"], item.metadata["high"]
    if item.metadata["text"]:
        return
    if choices:
        if value not in choices:
            raise InvalidSetting(f"{item.name} is one of {', '.join(choices)}, not {value!r}")
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InvalidSetting(f"{item.name} needs a number, not {value!r}")
    if isinstance(item.default, int) and not isinstance(value, int):
        raise InvalidSetting(f"{item.name} needs a whole number, not {value!r}")
    if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise InvalidSetting(f"{item.name} must be {limits}, not {value}")


def mesh_wide() -> dict[str, dataclasses.Field[Any]]:
    """The settings that ``mesh config set`` settles for all nodes, by name."""
    return {item.name: item for item in dataclasses.fields(Settings) if item.metadata["mesh_wide"]}


def unit(name: str) -> str:
    """The unit of a setting, by the end of its name; empty for a number of things and for a choice."""
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")
