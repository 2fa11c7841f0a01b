"""Settings: one table, checked as a whole, from keywords over the environment over defaults."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config import Settings, check, mesh_wide, parse
from mesh.errors import InvalidSetting

FIELDS = {item.name: item for item in dataclasses.fields(Settings)}
NUMBERS = {name: item for name, item in FIELDS.items() if not item.metadata["choices"]}
CHOICES = {name: item for name, item in FIELDS.items() if item.metadata["choices"]}
BOUNDS = [
    pytest.param(name, item.metadata[side], -1 if side == "low" else 1, id=f"{name}-{side}")
    for name, item in NUMBERS.items()
    for side in ("low", "high")
    if item.metadata[side] is not None
]


def test_the_defaults_are_in_range() -> None:
    settings = Settings()
    for name, item in FIELDS.items():
        check(item, getattr(settings, name))


@pytest.mark.parametrize("item", FIELDS.values(), ids=FIELDS.keys())
def test_every_setting_says_what_it_does(item: dataclasses.Field[Any]) -> None:
    assert len(item.metadata["effect"]) > 10
    assert item.metadata["choices"] or item.metadata["low"] is not None, "every number has a least value"
    suffixes = ("_s", "_bytes", "_fraction", "_length", "_deliveries", "_prefetch")
    assert item.metadata["choices"] or item.name == "copies" or item.name.endswith(suffixes), "its unit is last in its name"


@pytest.mark.parametrize(("name", "bound", "outwards"), BOUNDS)
def test_a_bound_is_allowed_and_what_lies_beyond_is_not(name: str, bound: float, outwards: int) -> None:
    check(FIELDS[name], bound if isinstance(FIELDS[name].default, float) else int(bound))
    with pytest.raises(InvalidSetting, match=name):
        check(FIELDS[name], bound + outwards)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["5", None, True, math.nan, math.inf, [5]], ids=repr)
def test_what_is_no_number_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=name):
        check(NUMBERS[name], value)


@pytest.mark.parametrize("name", [name for name, item in NUMBERS.items() if isinstance(item.default, int)])
def test_a_count_is_whole(name: str) -> None:
    with pytest.raises(InvalidSetting, match="whole"):
        check(NUMBERS[name], float(NUMBERS[name].default))
    with pytest.raises(InvalidSetting, match="number"):
        parse(NUMBERS[name], "2.5")


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_is_one_of_its_words(name: str) -> None:
    for word in CHOICES[name].metadata["choices"]:
        check(CHOICES[name], parse(CHOICES[name], word))
    with pytest.raises(InvalidSetting, match=name):
        check(CHOICES[name], "perhaps")


def test_the_old_coordinator_stops_before_a_new_one_starts() -> None:
    with pytest.raises(InvalidSetting, match="authority_timeout_s must be below"):
        Settings(authority_timeout_s=1.0, heartbeat_timeout_s=1.0)


def test_one_lost_heartbeat_is_no_silence() -> None:
    with pytest.raises(InvalidSetting, match="at least twice"):
        Settings(heartbeat_interval_s=0.6)


def test_keywords_come_before_the_environment_and_that_before_defaults() -> None:
    environment = {"MESH_COPIES": "3", "MESH_TAKEOVER_PATIENCE_S": "2.5", "MESH_PARTITION": "strict", "COPIES": "7"}
    settings = Settings.load(environment, copies=4, durability=None)
    assert (settings.copies, settings.takeover_patience_s, settings.partition) == (4, 2.5, "strict")
    assert (settings.durability, settings.max_deliveries) == ("available", 5)


def test_an_unknown_keyword_is_named() -> None:
    with pytest.raises(InvalidSetting, match="colour"):
        Settings.load({}, colour="red")


def test_a_bad_value_in_the_environment_is_named() -> None:
    with pytest.raises(InvalidSetting, match="copies needs a number, not 'two'"):
        Settings.load({"MESH_COPIES": "two"})


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=6)))
def test_any_environment_gives_settings_or_invalid_setting(texts: dict[str, str]) -> None:
    try:
        settings = Settings.load({f"MESH_{name.upper()}": text for name, text in texts.items()})
    except InvalidSetting:
        return
    for name, item in FIELDS.items():
        check(item, getattr(settings, name))


def test_what_the_mesh_agrees_on_is_marked() -> None:
    assert set(mesh_wide()) >= {"copies", "partition", "durability", "max_deliveries", "takeover_patience_s"}
    assert "heartbeat_interval_s" not in mesh_wide()
