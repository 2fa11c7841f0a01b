"""Topic patterns as a trie of words: what a publish costs follows from its key, not from the number of bindings.

The walk keeps the set of nodes that are reached so far, as Thompson's simulation of a non-deterministic automaton does (Programming
Techniques: Regular expression search algorithm, CACM 1968): patterns like ``#.a.#.a.#`` cost the key's length times the nodes, where
backtracking would cost a power of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

ONE_WORD = "*"
ANY_WORDS = "#"


def words(key: str) -> list[str]:
    """A routing key or pattern as its words; the empty one has none, as in RabbitMQ, and ``a.`` has two."""
    return key.split(".") if key else []


class _Node(Generic[T]):
    __slots__ = ("any_words", "children", "hash_node", "values")

    def __init__(self, hash_node: bool = False) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.values: dict[T, None] = {}
        self.hash_node = hash_node
        """Reached by ``#``: it stays reached whatever word comes."""
        self.any_words: _Node[T] | None = None


class TopicTrie(Generic[T]):
    """A multimap from topic patterns to values."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: str, value: T) -> None:
        """Put a value under a pattern; a second time does nothing."""
        node = self._root
        for word in words(pattern):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node(hash_node=word == ANY_WORDS)
                if word == ANY_WORDS:
                    node.any_words = child
            node = child
        node.values[value] = None

    def remove(self, pattern: str, value: T) -> None:
        """Take a value away, and the nodes that served only it; one that is not there does nothing."""
        path: list[tuple[_Node[T], str]] = []
        node = self._root
        for word in words(pattern):
            child = node.children.get(word)
            if child is None:
                return
            path.append((node, word))
            node = child
        node.values.pop(value, None)
        while path and not node.values and not node.children:
            node, word = path.pop()
            del node.children[word]
            if word == ANY_WORDS:
                node.any_words = None

    def match(self, key: str) -> Iterator[T]:
        """The values of all patterns that match, each as often as patterns of it match."""
        reached = self._with_no_words([self._root])
        for word in words(key):
            reached = self._with_no_words(self._after(reached, word))
            if not reached:
                return
        for node in reached:
            yield from node.values

    @staticmethod
    def _after(reached: Iterable[_Node[T]], word: str) -> Iterator[_Node[T]]:
        for node in reached:
            if node.hash_node:
                yield node
            if (child := node.children.get(word)) is not None:
                yield child
            if (child := node.children.get(ONE_WORD)) is not None:
                yield child

    @staticmethod
    def _with_no_words(nodes: Iterable[_Node[T]]) -> dict[_Node[T], None]:
        """The nodes, and those that ``#`` reaches from them without a word."""
        reached = dict.fromkeys(nodes)
        for node in list(reached):
            child = node.any_words
            while child is not None and child not in reached:
                reached[child] = None
                child = child.any_words
        return reached
