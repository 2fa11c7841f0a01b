"""How a headers exchange compares: RabbitMQ's rules, as AMQP 0-9-1 leaves them open.

``x-match`` is ``all`` (when absent), ``any``, ``all-with-x`` or ``any-with-x``. The first two pass over arguments that begin with
``x-``; the others compare them too, all but ``x-match`` itself. An argument without a value (None) asks for the header's presence. Values
are equal when their types are, but 1 is 1.0, as two numbers that AMQP writes differently: True is not 1, nor is "1". ``all`` of nothing
matches, ``any`` of nothing does not.
"""

from __future__ import annotations

from mesh.wire.topology import Headers, HeaderValue

X_MATCH = "x-match"
X_MATCHES = ("all", "any", "all-with-x", "any-with-x")
ALL = "all"


class HeaderMatch:
    """The arguments of one binding, made ready to compare."""

    __slots__ = ("_every", "_wanted")

    def __init__(self, arguments: Headers) -> None:
        how = arguments.get(X_MATCH, ALL)
        with_x = how in ("all-with-x", "any-with-x")
        self._every = how in ("all", "all-with-x")
        self._wanted = [(name, value) for name, value in arguments.items() if name != X_MATCH and (with_x or not name.startswith("x-"))]

    def matches(self, headers: Headers) -> bool:
        """Whether a message with these headers goes this way."""
        found = (self._meets(headers, name, value) for name, value in self._wanted)
        return all(found) if self._every else any(found)

    @staticmethod
    def _meets(headers: Headers, name: str, value: HeaderValue) -> bool:
        if name not in headers:
            return False
        return value is None or (_kind(headers[name]) is _kind(value) and headers[name] == value)


def _kind(value: HeaderValue) -> type:
    return float if type(value) is int else type(value)
