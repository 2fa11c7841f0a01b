"""Pydantic's models as arguments and values of tasks, for ``@app.task(pydantic=True)``: they travel as dicts, and are checked on arrival.

Pydantic is imported only when a task asks for it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.errors import UsageError


class Models:
    """The parameters of one function that are models, or have models in them."""

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        """Raises UsageError when pydantic is not installed."""
        try:
            self._pydantic = importlib.import_module("pydantic")
        except ModuleNotFoundError:
            raise UsageError(f"the task {task} says pydantic=True, and pydantic is not installed: pip install 'mesh[pydantic]'") from None
        self._signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
        self._adapters = {
            name: self._pydantic.TypeAdapter(hints[name])
            for name in self._signature.parameters
            if name in hints and self._has_model(hints[name])
        }

    def loaded(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with models for what they arrived as. Raises pydantic's ValidationError, and TypeError for other arguments."""
        bound = self._signature.bind(*args, **kwargs)
        for name, adapter in self._adapters.items():
            if name in bound.arguments:
                bound.arguments[name] = adapter.validate_python(bound.arguments[name])
        return bound.args, bound.kwargs

    def sent(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, whole: bool, mode: str) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments as they travel; checked when they are the ``whole`` of them. Raises as :meth:`loaded`."""
        if whole:
            args, kwargs = self.loaded(args, kwargs)
        return [self.dumped(value, mode) for value in args], {name: self.dumped(value, mode) for name, value in kwargs.items()}

    def dumped(self, value: Any, mode: str = "python") -> Any:
        """The value with dicts for models, in lists, tuples and dicts too; ``mode`` is ``json`` or ``python``."""
        if isinstance(value, self._pydantic.BaseModel):
            return value.model_dump(mode=mode)
        if type(value) in (list, tuple):
            return type(value)(self.dumped(item, mode) for item in value)
        if type(value) is dict:
            return {key: self.dumped(item, mode) for key, item in value.items()}
        return value

    def around(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """``run`` for arguments as they arrive, and with a value that can travel."""
        if inspect.iscoroutinefunction(run):

            @functools.wraps(run)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                args, kwargs = self.loaded(args, kwargs)
                return self.dumped(await run(*args, **kwargs))

            return run_async

        @functools.wraps(run)
        def run_here(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = self.loaded(args, kwargs)
            return self.dumped(run(*args, **kwargs))

        return run_here

    def _has_model(self, hint: Any) -> bool:
        if isinstance(hint, type) and not typing.get_args(hint):
            return issubclass(hint, self._pydantic.BaseModel)
        return any(self._has_model(part) for part in typing.get_args(hint))
