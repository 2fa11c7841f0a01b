"""Loading a store as a node does."""

from __future__ import annotations

from mesh.core.effects import Restored
from mesh.errors import StateDamaged
from mesh.storage.base import Store


def loaded(store: Store) -> Restored:
    """All of it at once. Damage may be noticed only when the entries are gone through; a store that heals has then done so."""
    try:
        return _gone_through(store)
    except StateDamaged:
        return _gone_through(store)


def _gone_through(store: Store) -> Restored:
    restored = store.load()
    restored.entries = list(restored.entries)
    return restored
