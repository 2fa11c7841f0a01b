"""What a worker says that it holds waits for its node's stream, and stays true meanwhile (R16)."""

from __future__ import annotations

from mesh.core.broker.early_offers import EarlyOffers
from mesh.wire.messages import Offer


def offer(active: list[str] | None, *, capacity: int = 2, generation: int = 1) -> Offer:
    return Offer("w", "w", ["q"], ["work"], 2, capacity, active, generation=generation)


def everything(node: str) -> bool:
    return True


def kept(node: str = "a", generation: int = 2) -> EarlyOffers:
    offers = EarlyOffers()
    offers.keep(node, offer(["t1", "t2"], generation=generation))
    return offers


def test_r16_an_offer_is_judged_once_when_its_nodes_stream_has_brought_all() -> None:
    offers = kept()
    assert offers.take(lambda node: node != "a") == []
    assert [(node, offer.active) for node, offer in offers.take(everything)] == [("a", ["t1", "t2"])]
    assert offers.take(everything) == []


def test_what_ended_meanwhile_is_not_held_any_more() -> None:
    offers = kept()
    offers.ended("w", ["t1"])
    offers.ended("another", ["t2"])
    assert [offer.active for _, offer in offers.take(everything)] == [["t2"]]


def test_what_the_worker_takes_is_what_it_said_last() -> None:
    offers = kept()
    offers.changed("a", offer(None, capacity=0))
    assert [(offer.active, offer.capacity, offer.generation) for _, offer in offers.take(everything)] == [(["t1", "t2"], 0, 2)]


def test_a_goodbye_by_way_of_the_former_node_is_not_one_from_the_present() -> None:
    offers = kept()
    offers.worker_gone("b", "w")
    assert offers.take(everything)
    offers = kept()
    offers.worker_gone("a", "w")
    assert offers.take(everything) == []


def test_an_offer_that_was_overtaken_replaces_nothing() -> None:
    offers = kept()
    offers.keep("b", offer([], generation=1))
    offers.replaced(offer([], generation=1))
    assert [(node, offer.active) for node, offer in offers.take(everything)] == [("a", ["t1", "t2"])]
    offers = kept()
    offers.replaced(offer([], generation=3))
    assert offers.take(everything) == []


def test_a_worker_that_its_node_no_longer_names_is_not_judged() -> None:
    offers = kept()
    offers.attached("b", [])
    offers.attached("a", ["w"])
    assert offers.take(everything)
    offers = kept()
    offers.attached("a", ["another"])
    assert offers.take(everything) == []
