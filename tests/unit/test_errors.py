"""The tree of errors: each says whose fault it is, whether trying again helps, and what it is, in words."""

from __future__ import annotations

import inspect

import pytest

from mesh import errors
from mesh.errors import Fault, MeshError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MeshError)]
each = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)


@each
def test_every_error_can_be_raised_without_words_and_then_says_its_docstrings_first_line(kind: type[MeshError]) -> None:
    error = kind()
    assert str(error) == (inspect.getdoc(kind) or "").splitlines()[0]
    assert str(error).endswith((".", "safe", "later"))
    assert str(kind("what happened")) == "what happened"


@each
def test_every_error_says_whose_fault_it_is_and_what_the_command_line_returns(kind: type[MeshError]) -> None:
    assert isinstance(kind.fault, Fault)
    assert isinstance(kind.retry, bool)
    assert kind.exit_code in (1, 2, 3)


@each
def test_every_error_has_its_own_docstring(kind: type[MeshError]) -> None:
    assert kind.__doc__
    assert all(kind.__doc__ != base.__doc__ for base in kind.__mro__[1:])


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ResultTimeout, TimeoutError),
        (errors.PublishUnknown, TimeoutError),
        (errors.NotEncodable, TypeError),
        (errors.BodyTooLarge, ValueError),
        (errors.InvalidSetting, ValueError),
        (errors.NotFound, LookupError),
        (errors.UnknownTask, LookupError),
    ],
)
def test_errors_that_python_has_a_name_for_are_those_too(kind: type[MeshError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_the_callers_faults_are_not_worth_another_try() -> None:
    assert [kind.__name__ for kind in ALL if kind.fault is Fault.CALLER and kind.retry] == []


def test_what_was_not_accepted_is_told_from_what_is_unknown() -> None:
    assert not issubclass(errors.PublishUnknown, errors.NotAccepted)
    assert errors.PublishUnknown.retry, "publishing the same id again is safe"
    assert issubclass(errors.MeshBusy, errors.NotAccepted)


def test_the_side_that_broke_the_protocol_is_in_the_type() -> None:
    assert (errors.LocalProtocolError.fault, errors.RemoteProtocolError.fault) == (Fault.MESH, Fault.PEER)
