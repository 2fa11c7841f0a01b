"""What workers say that they hold, kept for as long as it can't be judged.

What a worker holds no more may have ended, and the result be on its way in its node's stream: judged before that, it would run again (R16).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import msgspec

from mesh.wire.messages import Offer


class EarlyOffers:
    """The last full offer of each worker whose node's stream has not brought all yet, as it would be by now."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Offer]] = {}

    def keep(self, node: str, offer: Offer) -> None:
        """A full offer came before the rest of its node's stream."""
        if not self._overtaken(offer):
            self._kept[offer.worker] = (node, offer)

    def _overtaken(self, offer: Offer) -> bool:
        """The worker has attached itself anew since, maybe to another node."""
        kept = self._kept.get(offer.worker)
        return kept is not None and kept[1].generation > offer.generation

    def changed(self, node: str, offer: Offer) -> None:
        """The worker takes something else by now; what it holds it has said before."""
        kept = self._kept.get(offer.worker)
        if kept is not None and kept[0] == node:
            self._kept[offer.worker] = (node, msgspec.structs.replace(offer, active=kept[1].active, generation=kept[1].generation))

    def ended(self, worker: str, ids: Iterable[str]) -> None:
        """The worker holds these no longer."""
        kept = self._kept.get(worker)
        if kept is not None:
            node, offer = kept
            over = set(ids)
            self._kept[worker] = (node, msgspec.structs.replace(offer, active=[id for id in offer.active or () if id not in over]))

    def take(self, has_brought_all: Callable[[str], bool]) -> list[tuple[str, Offer]]:
        """The offers, with their nodes, that can be judged now; they are no longer kept."""
        ready = [(node, offer) for node, offer in self._kept.values() if has_brought_all(node)]
        for _, offer in ready:
            del self._kept[offer.worker]
        return ready

    def replaced(self, offer: Offer) -> None:
        """The worker says anew what it holds, and that can be judged."""
        if not self._overtaken(offer):
            self._kept.pop(offer.worker, None)

    def attached(self, node: str, workers: Collection[str]) -> None:
        """The node names the workers that are there; others left it, or died with it."""
        self._kept = {worker: kept for worker, kept in self._kept.items() if kept[0] != node or worker in workers}

    def worker_gone(self, node: str, worker: str) -> None:
        """The worker has left this node; it may be attached to another one by now."""
        if worker in self._kept and self._kept[worker][0] == node:
            del self._kept[worker]

    def clear(self) -> None:
        """Another reign."""
        self._kept.clear()
