"""Sets of sequences as inclusive ranges, [first, last, first, last, ...], ascending: a long queue is one range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def to_ranges(ascending: Iterable[int]) -> list[int]:
    """[1, 2, 3, 7] as [1, 3, 7, 7]."""
    ranges: list[int] = []
    for number in ascending:
        if ranges and ranges[-1] == number - 1:
            ranges[-1] = number
        else:
            ranges += (number, number)
    return ranges


def expand(ranges: list[int]) -> Iterator[int]:
    """The numbers of the ranges."""
    for first, last in zip(ranges[::2], ranges[1::2], strict=True):
        yield from range(first, last + 1)


def union(a: list[int], b: list[int]) -> list[int]:
    """What is in one or the other."""
    merged: list[int] = []
    for first, last in sorted([*zip(a[::2], a[1::2], strict=True), *zip(b[::2], b[1::2], strict=True)]):
        if merged and merged[-1] >= first - 1:
            merged[-1] = max(merged[-1], last)
        else:
            merged += (first, last)
    return merged


def intersection(a: list[int], b: list[int]) -> list[int]:
    """What is in both."""
    found: list[int] = []
    i = j = 0
    while i < len(a) and j < len(b):
        first, last = max(a[i], b[j]), min(a[i + 1], b[j + 1])
        if first <= last:
            found += (first, last)
        if a[i + 1] < b[j + 1]:
            i += 2
        else:
            j += 2
    return found


def subtract(a: list[int], b: list[int]) -> list[int]:
    """What is in ``a`` and not in ``b``."""
    left: list[int] = []
    j = 0
    for first, last in zip(a[::2], a[1::2], strict=True):
        while j < len(b) and b[j + 1] < first:
            j += 2
        at = j
        while at < len(b) and b[at] <= last:
            if b[at] > first:
                left += (first, b[at] - 1)
            first = b[at + 1] + 1
            at += 2
        if first <= last:
            left += (first, last)
    return left
