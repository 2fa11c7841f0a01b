"""A mesh that can't be joined is never merged with, and a second one is founded only on demand."""

from __future__ import annotations

import pytest
from mesh.cli.admission import Sighting, Start, begin, check_same_secret, check_seeds_have_secret

from mesh.errors import MeshNotFound, NotAllowed

OURS = Sighting(ours=("10.0.0.1:7700",))
FOREIGN = Sighting(foreign=("10.0.0.2:7700",))
BOTH = Sighting(ours=("10.0.0.1:7700",), foreign=("10.0.0.2:7700",))
NOBODY = Sighting()


@pytest.mark.parametrize("has_secret", [False, True])
@pytest.mark.parametrize("found", [False, True])
def test_alone_on_the_network_a_fresh_home_founds(has_secret: bool, found: bool) -> None:
    assert begin(has_secret, (), found, NOBODY, 0.4) is Start.FOUND


@pytest.mark.parametrize("seen", [OURS, BOTH])
def test_r5_a_mesh_of_the_same_secret_is_joined_whoever_else_is_there(seen: Sighting) -> None:
    assert begin(True, (), False, seen, 0.4) is Start.JOIN


def test_without_a_secret_a_mesh_that_is_there_stops_the_founding_and_says_both_ways_on() -> None:
    with pytest.raises(NotAllowed, match=r"10\.0\.0\.2:7700 but have no secret") as caught:
        begin(False, (), False, FOREIGN, 0.4)
    assert caught.value.exit_code == 3
    for hint in ("mesh secret", "MESH_SECRET=... mesh up", "mesh up --found"):
        assert hint in str(caught.value)


def test_r5_with_another_secret_a_mesh_that_is_there_stops_the_founding() -> None:
    with pytest.raises(NotAllowed, match="does not know this secret"):
        begin(True, (), False, FOREIGN, 0.4)


@pytest.mark.parametrize("has_secret", [False, True])
def test_found_founds_a_second_mesh_beside_another(has_secret: bool) -> None:
    assert begin(has_secret, (), True, FOREIGN, 0.4) is Start.FOUND


def test_a_seed_that_refuses_is_named() -> None:
    with pytest.raises(NotAllowed, match=r"10\.0\.0\.2:7700 does not know this secret"):
        begin(True, ("10.0.0.2:7700",), True, FOREIGN, 5)


def test_a_seed_that_is_silent_is_not_found_and_named_with_the_time() -> None:
    with pytest.raises(MeshNotFound, match=r"10\.0\.0\.9:7700 within 5 s") as caught:
        begin(True, ("10.0.0.9:7700",), False, Sighting(silent=("10.0.0.9:7700",)), 5)
    assert caught.value.exit_code == 3


def test_one_seed_that_lets_in_is_enough() -> None:
    seen = Sighting(ours=("10.0.0.1:7700",), silent=("10.0.0.9:7700",))
    assert begin(True, ("10.0.0.9:7700", "10.0.0.1:7700"), False, seen, 5) is Start.JOIN


def test_a_seed_without_a_secret_is_refused_at_once() -> None:
    with pytest.raises(NotAllowed, match="needs its secret"):
        check_seeds_have_secret(("10.0.0.1:7700",), has_secret=False)
    check_seeds_have_secret(("10.0.0.1:7700",), has_secret=True)
    check_seeds_have_secret((), has_secret=False)


def test_a_member_given_another_secret_hears_both_ways_out() -> None:
    with pytest.raises(NotAllowed, match=r"unset MESH_SECRET.*--mesh NAME"):
        check_same_secret("default", same=False)
    check_same_secret("default", same=True)
