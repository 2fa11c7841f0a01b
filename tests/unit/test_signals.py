"""Signals: who is connected is called, as long as it lives, and does no harm."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from mesh.signals import Signal


class Listener:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def hear(self, sender: Any, **named: Any) -> str:
        self.heard.append((sender, named["value"]))
        return "heard"


def test_a_receiver_is_called_with_the_sender_and_the_keywords() -> None:
    signal, listener = Signal("s"), Listener()
    assert not signal
    signal.connect(listener.hear)
    assert signal
    assert signal.send("me", value=1) == [(listener.hear, "heard")]
    assert listener.heard == [("me", 1)]


def test_a_receiver_may_ask_for_one_sender_only() -> None:
    signal, listener = Signal("s"), Listener()
    signal.connect(listener.hear, sender="me")
    signal.send("you", value=1)
    signal.send("me", value=2)
    assert listener.heard == [("me", 2)]


def test_it_works_as_a_decorator_with_and_without_arguments() -> None:
    signal, heard = Signal("s"), list[str]()

    @signal.connect
    def first(**_: Any) -> None:
        heard.append("first")

    @signal.connect(sender="me")
    def second(**_: Any) -> None:
        heard.append("second")

    signal.send("me")
    assert heard == ["first", "second"]


def test_a_receiver_that_nobody_holds_is_forgotten_unless_it_is_connected_strongly() -> None:
    signal, heard = Signal("s"), list[int]()
    listener = Listener()
    signal.connect(listener.hear)
    del listener
    gc.collect()
    assert not signal
    signal.connect(lambda **_: heard.append(1), weak=False)
    gc.collect()
    signal.send("me")
    assert heard == [1]


def test_connecting_twice_is_connecting_once() -> None:
    signal, listener = Signal("s"), Listener()
    signal.connect(listener.hear)
    signal.connect(listener.hear)
    signal.connect(lambda **_: None, weak=False, dispatch_uid="u")
    signal.connect(lambda **_: None, weak=False, dispatch_uid="u")
    assert len(signal.send("me", value=1)) == 2
    assert signal.disconnect(dispatch_uid="u")
    assert signal.disconnect(listener.hear)
    assert not signal.disconnect(listener.hear)
    assert not signal


def test_what_a_receiver_raises_reaches_the_log_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    signal, listener = Signal("s"), Listener()

    def broken(**_: Any) -> None:
        raise ValueError("no")

    signal.connect(broken)
    signal.connect(listener.hear)
    answers = signal.send("me", value=1)
    assert isinstance(answers[0][1], ValueError)
    assert answers[1][1] == "heard"
    assert "a receiver of s raised" in caplog.text


def test_a_receiver_has_to_take_any_keyword() -> None:
    with pytest.raises(TypeError, match="takes \\*\\*kwargs"):
        Signal("s").connect(lambda sender: None)
