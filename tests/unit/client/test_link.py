"""A link attaches to a node, notices when it is gone and attaches to the next."""

from __future__ import annotations

import time

import pytest
from mesh.discovery import local

from mesh import ids
from mesh.client import homecoming
from mesh.client.link import BEATS_OF_SILENCE, Link
from mesh.config import Settings
from mesh.errors import MeshNotFound, NotAllowed, StateNotOurs
from mesh.transport.attach import LocalSocket
from mesh.wire.messages import Detach, Refused, Results, Submit, Watch
from tests.polling import poll_until
from tests.unit.client.fake_node import FakeNode
from tests.unit.client.places import QUICK, Place, drive


def test_it_attaches_to_the_node_on_this_machine(place: Place) -> None:
    node, link = place.node(), place.link("worker")
    drive(link, lambda: link.attached)
    assert link.attached is not None
    assert (link.attached.node, link.generation, link.error) == ("server", 1, None)
    assert (node.attaches[0].kind, node.attaches[0].name) == ("worker", "test")
    link.close()
    poll_until(lambda: node.detached == 1, 5, "the node heard the goodbye")


def test_nothing_is_sent_without_a_node(place: Place) -> None:
    link = place.link()
    assert link.send(Watch(["a"])) is False
    assert link.receive() == []


def test_it_brings_what_the_node_says(place: Place) -> None:
    place.node()
    link = place.link()
    drive(link, lambda: link.attached)
    assert link.send(Watch(["a"]))
    assert drive_for_one(link) == Results([], [("a", 7)])
    link.close()


def drive_for_one(link):
    found = []
    poll_until(lambda: found.extend(link.receive()) or found, 5, "a reply", pause_s=0.002)
    return found[0]


def test_it_beats_while_nothing_else_is_said(place: Place) -> None:
    node, link = place.node(), place.link()
    drive(link, lambda: node.pings >= 3)
    assert link.generation == 1
    link.close()


def test_it_attaches_again_when_the_node_was_killed_and_is_back(place: Place) -> None:
    node, link = place.node(), place.link()
    drive(link, lambda: link.attached)
    node.stop()
    drive(link, lambda: link.attached is None)
    node.start()
    drive(link, lambda: link.generation == 2)
    assert link.attached is not None
    link.close()


class Elsewhere:
    """A search that finds one node."""

    def __init__(self, node: FakeNode) -> None:
        self._found: list[LocalSocket] = [LocalSocket(node.path, ids.session_id())]

    def take(self) -> LocalSocket | None:
        return self._found.pop() if self._found else None

    def close(self) -> None:
        for channel in self._found:
            channel.close()


def abroad(place: Place) -> tuple[FakeNode, Link]:
    """A link that is attached to a node of another machine, as the one of this machine is gone."""
    away = place.node()
    local.withdraw(place.home.run_dir)
    finder = place.finder()
    finder.search = lambda: Elsewhere(away)  # type: ignore[assignment,method-assign,return-value]
    finder.remember = lambda attached: None  # type: ignore[method-assign]
    link = Link(finder, "worker", "test", Settings(**QUICK))
    drive(link, lambda: link.attached)
    return away, link


def test_it_goes_home_when_the_node_of_this_machine_is_back(place: Place) -> None:
    away, link = abroad(place)
    home = place.node()
    drive(link, lambda: link.generation == 2)
    assert len(home.attaches) == 1
    assert away.detached == 0, "it will not be told that the worker is no more"
    assert link.attached is not None
    assert link.send(Watch(["a"]))
    assert drive_for_one(link) == Results([], [("a", 7)])
    home.stop()
    drive(link, lambda: link.attached is None)
    link.close()


def test_the_old_connection_stays_until_the_new_way_is_known(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homecoming, "PARTING_S", 0.3)
    away, link = abroad(place)
    place.node()
    drive(link, lambda: link.generation == 2)
    away.tell_all(Results([], [("void", 7)]))
    came = drive(link, lambda: not link._homecoming._parting)
    assert came == [], "what still comes by it is void"
    link.close()


def test_a_node_of_this_machine_that_does_not_answer_is_left_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homecoming, "ANSWER_S", 0.1)
    away, link = abroad(place)
    home = place.node()
    home.silent = True
    looked = link._homecoming
    drive(link, lambda: looked._candidate is not None)
    drive(link, lambda: looked._candidate is None)
    assert (link.generation, link.attached is not None) == (1, True)
    assert away.detached == 0
    link.close()


def test_a_node_that_is_silent_for_four_beats_is_lost(place: Place) -> None:
    node, link = place.node(), place.link()
    drive(link, lambda: link.attached)
    node.silent = True
    begun = time.monotonic()
    drive(link, lambda: link.attached is None)
    assert time.monotonic() - begun >= BEATS_OF_SILENCE * 0.1 * 0.7
    node.silent = False
    drive(link, lambda: link.generation == 2)
    link.close()


def test_a_program_that_was_stopped_itself_does_not_blame_the_node(place: Place) -> None:
    place.node()
    link = place.link()
    drive(link, lambda: link.attached)
    link.tick(time.monotonic() + 60)
    assert link.attached is not None
    link.close()


def test_a_node_that_leaves_is_left_at_once(place: Place) -> None:
    first = place.node()
    link = place.link()
    drive(link, lambda: link.attached)
    second = place.node()
    first.leave()
    drive(link, lambda: link.generation == 2, deadline_s=2)
    assert len(second.attaches) == 1
    link.close()


def test_a_session_that_the_node_forgot_is_made_anew(place: Place) -> None:
    node, link = place.node(), place.link()
    drive(link, lambda: link.attached)
    node.tell_all(Refused("not-attached", "attach first"))
    drive(link, lambda: link.generation == 2)
    assert link.error is None
    link.close()


def test_a_malformed_frame_ends_the_attachment(place: Place) -> None:
    node, link = place.node(), place.link()
    drive(link, lambda: link.attached)
    node.tell_all(Submit(1, []))  # a request is no reply
    drive(link, lambda: link.generation == 2)
    link.close()


def test_a_refusal_by_our_own_node_is_raised_at_once(place: Place) -> None:
    node, link = place.node(), place.link(discovery_timeout_s=60)
    node.refusal = Refused("not-allowed", "this key was revoked")
    with pytest.raises(NotAllowed, match="this key was revoked"):
        drive(link, lambda: False, deadline_s=5)
    node.refusal = None
    drive(link, lambda: link.attached)
    link.close()


def test_a_state_directory_that_others_can_read_is_refused(place: Place) -> None:
    place.node()
    place.home.run_dir.chmod(0o755)
    link = place.link(discovery_timeout_s=60)
    with pytest.raises(StateNotOurs, match="chmod"):
        drive(link, lambda: False, deadline_s=5)
    link.close()


def test_no_mesh_is_found_within_the_discovery_timeout_and_the_error_says_what_was_tried(place: Place) -> None:
    link = place.link(seeds=("10.255.255.1:7117",), discovery_timeout_s=0.4)
    begun = time.monotonic()
    with pytest.raises(MeshNotFound) as caught:
        drive(link, lambda: False, deadline_s=5)
    assert time.monotonic() - begun < 1.5
    text = str(caught.value)
    for part in (str(place.home.path), "remembered peers", "10.255.255.1:7117", "mDNS", "mesh secret", "mesh up", "0.4 s"):
        assert part in text
    assert "\n" not in text
    link.close()


def test_a_link_without_a_node_searches_on_after_the_error(place: Place) -> None:
    link = place.link(discovery_timeout_s=0.2)
    with pytest.raises(MeshNotFound):
        drive(link, lambda: False, deadline_s=5)
    node: FakeNode = place.node()
    drive(link, lambda: link.attached)
    assert len(node.attaches) == 1
    assert link.error is None
    link.close()


def test_once_attached_a_link_raises_no_more_and_says_how_the_search_stands(place: Place) -> None:
    node, link = place.node(), place.link(discovery_timeout_s=0.2)
    drive(link, lambda: link.attached)
    node.stop()
    drive(link, lambda: link.error)
    assert isinstance(link.error, MeshNotFound)
    node.start()
    drive(link, lambda: link.attached)
    assert link.error is None
    link.send(Detach())
    link.close()
