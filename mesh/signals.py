"""Signals: functions that programs connect to what happens to tasks and workers, under Celery's names.

``task_prerun.connect(function)``, or as a decorator; ``sender`` is the task (its name for what is about a message) or the worker.
A receiver is called with keywords only, has to take ``**kwargs``, and what it raises is logged and nothing more.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, overload

Receiver = Callable[..., Any]
_log = logging.getLogger("mesh.signals")


class Signal:
    """One kind of event. Falsy while nobody is connected, so that who sends can leave out the work."""

    def __init__(self, name: str, providing_args: tuple[str, ...] = ()) -> None:
        self.name = name
        self.providing_args = providing_args
        """The keywords that receivers get beside ``signal`` and ``sender``."""
        self._receivers: dict[Hashable, tuple[object, Callable[[], Receiver | None]]] = {}
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._receivers)

    @overload
    def connect(self, receiver: Receiver, /, *, sender: object = None, weak: bool = True, dispatch_uid: Hashable = None) -> Receiver: ...
    @overload
    def connect(
        self, receiver: None = None, /, *, sender: object = None, weak: bool = True, dispatch_uid: Hashable = None
    ) -> Callable[[Receiver], Receiver]: ...
    def connect(
        self, receiver: Receiver | None = None, /, *, sender: object = None, weak: bool = True, dispatch_uid: Hashable = None
    ) -> Any:
        """Call ``receiver`` for each event of this ``sender``, or of all; usable as a decorator, with or without arguments.

        ``weak``: only as long as somebody else holds it, which a module does for its functions; pass False for a lambda. Of two with the
        same ``dispatch_uid`` the first stays. Raises TypeError for a receiver that does not take ``**kwargs``.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender=sender, weak=weak, dispatch_uid=dispatch_uid)
        if not callable(receiver) or not _takes_keywords(receiver):
            raise TypeError(f"a receiver of {self.name} is a function that takes **kwargs, not {receiver!r}")
        key = _key(receiver, sender, dispatch_uid)
        with self._lock:
            if key not in self._receivers:
                self._receivers[key] = sender, self._reference(receiver, key) if weak else lambda: receiver
        return receiver

    def disconnect(self, receiver: Receiver | None = None, sender: object = None, *, dispatch_uid: Hashable = None) -> bool:
        """Undo a ``connect`` with the same arguments; False when there was none."""
        with self._lock:
            return self._receivers.pop(_key(receiver, sender, dispatch_uid), None) is not None

    def send(self, sender: object, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call the receivers in the order in which they were connected: each with what it returned, or the exception that it raised."""
        if not self._receivers:
            return []
        answers: list[tuple[Receiver, Any]] = []
        for wanted, reference in list(self._receivers.values()):
            receiver = reference() if wanted is None or wanted is sender or wanted == sender else None
            if receiver is not None:
                try:
                    answers.append((receiver, receiver(signal=self, sender=sender, **named)))
                except Exception as error:
                    _log.exception("a receiver of %s raised", self.name)
                    answers.append((receiver, error))
        return answers

    def _reference(self, receiver: Receiver, key: Hashable) -> Callable[[], Receiver | None]:
        forget = lambda _: self._receivers.pop(key, None)  # noqa: E731
        return weakref.WeakMethod(receiver, forget) if inspect.ismethod(receiver) else weakref.ref(receiver, forget)

    def __repr__(self) -> str:
        return f"<Signal {self.name}>"


def _key(receiver: Receiver | None, sender: object, dispatch_uid: Hashable) -> Hashable:
    if dispatch_uid is not None:
        return dispatch_uid, id(sender)
    if inspect.ismethod(receiver):
        return id(receiver.__self__), id(receiver.__func__), id(sender)
    return id(receiver), id(sender)


def _takes_keywords(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return True  # written in C: it says nothing of itself
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


before_task_publish = Signal("before_task_publish", ("body", "exchange", "routing_key", "headers", "properties"))
after_task_publish = Signal("after_task_publish", ("body", "exchange", "routing_key", "headers"))
task_received = Signal("task_received", ("request",))
task_prerun = Signal("task_prerun", ("task_id", "task", "args", "kwargs"))
task_postrun = Signal("task_postrun", ("task_id", "task", "args", "kwargs", "retval", "state"))
task_success = Signal("task_success", ("result",))
task_failure = Signal("task_failure", ("task_id", "exception", "args", "kwargs", "traceback", "einfo"))
task_retry = Signal("task_retry", ("request", "reason", "einfo"))
task_internal_error = Signal("task_internal_error", ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"))
task_revoked = Signal("task_revoked", ("request", "terminated", "signum", "expired"))
task_rejected = Signal("task_rejected", ("message", "exc"))
task_unknown = Signal("task_unknown", ("name", "id", "message", "exc"))
import_modules = Signal("import_modules")
worker_init = Signal("worker_init")
worker_ready = Signal("worker_ready")
worker_process_init = Signal("worker_process_init")
worker_process_shutdown = Signal("worker_process_shutdown", ("pid", "exitcode"))
worker_shutting_down = Signal("worker_shutting_down", ("sig", "how", "exitcode"))
worker_shutdown = Signal("worker_shutdown")
celeryd_init = Signal("celeryd_init", ("instance", "conf", "options"))
celeryd_after_setup = Signal("celeryd_after_setup", ("instance", "conf"))
