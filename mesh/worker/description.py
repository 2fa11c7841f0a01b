"""An exception as data, limited in size: what a task raised outlives the process that it was raised in."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from mesh.wire import bodies
from mesh.wire.entries import Failure

TRACEBACK_BYTES_MAX = 64 << 10
MESSAGE_BYTES_MAX = 16 << 10
ARGUMENTS_BYTES_MAX = 16 << 10
_OWN_FOLDER = str(Path(__file__).parent.parent)


def describe(error: BaseException) -> Failure:
    """An exception as data, limited in size: type name, message, arguments if they can travel, traceback without mesh's frames."""
    kind = type(error)
    return Failure(
        type_name=plain(f"{kind.__module__}.{kind.__qualname__}", MESSAGE_BYTES_MAX),
        message=plain(_message(error), MESSAGE_BYTES_MAX),
        arguments=_arguments(error),
        traceback=plain(traceback_text(error), TRACEBACK_BYTES_MAX),
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        try:
            return repr(error)
        except Exception:
            return "(its message can't be shown)"


def _arguments(error: BaseException) -> bytes:
    try:
        body = bodies.encode(tuple(error.args))
    except Exception:
        return b""
    return body if len(body) <= ARGUMENTS_BYTES_MAX else b""


def traceback_text(error: BaseException) -> str:
    """The traceback for people, without mesh's own frames."""
    try:
        return "".join(traceback.format_exception(type(error), error, _without_own(error.__traceback__)))
    except Exception as second:
        return f"(its traceback can't be shown: {type(second).__name__})\n"


def _without_own(step: TracebackType | None) -> TracebackType | None:
    while step is not None and step.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        step = step.tb_next
    return step


def plain(text: str, most_bytes: int) -> str:
    """Text that UTF-8 can carry, at most ``most_bytes`` long; what is too much is cut out of its middle."""
    blob = text.encode("utf-8", "backslashreplace")
    if len(blob) > most_bytes:
        gap = b"\n[...]\n"
        half = (most_bytes - len(gap)) // 2
        blob = blob[:half] + gap + blob[-half:]
    return blob.decode("utf-8", "ignore")
