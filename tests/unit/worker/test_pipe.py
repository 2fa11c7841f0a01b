"""Frames between parent and slot."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from mesh.worker.pipe import Pipe


@pytest.fixture
def ends() -> Iterator[tuple[Pipe, Pipe]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    pipes = Pipe(ours), Pipe(theirs)
    yield pipes
    for pipe in pipes:
        pipe.close()


def test_frames_arrive_whole_and_in_order(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    for frame in (b"a", b"", b"ccc"):
        ours.send(frame)
    assert theirs.receive() == [b"a", b"", b"ccc"]


def test_a_sender_that_does_not_block_keeps_what_the_other_end_does_not_read(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    frames = [bytes([number]) * 300_000 for number in range(5)]
    for frame in frames:
        ours.send(frame)
    assert ours.unsent_bytes > 0
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: [got.extend(theirs.receive()) for _ in iter(lambda: len(got) < len(frames), False)])
    reader.start()
    while ours.unsent_bytes:
        ours.flush()
    reader.join(10)
    assert got == frames


def test_a_reader_that_does_not_block_has_no_frame_before_all_of_it_has_come() -> None:
    raw, end = socket.socketpair()
    end.setblocking(False)
    pipe = Pipe(end)
    raw.sendall(b"\0\0\0\x03ab")
    assert pipe.receive() == []
    raw.sendall(b"c\0\0")
    assert pipe.receive() == [b"abc"]
    raw.close()
    with pytest.raises(EOFError):
        pipe.receive()
    pipe.close()


def test_the_end_of_the_other_end_is_an_error(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(EOFError):
        ours.receive()
    with pytest.raises(BrokenPipeError):
        ours.send(b"x" * 10)
