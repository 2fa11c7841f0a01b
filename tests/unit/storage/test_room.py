"""R21: how a disk that is nearly full is noticed, and the reserve that is given up when it is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.storage.room import CLEAR, RESERVE, RESERVE_BYTES_MAX, Room

GIB, MIB = 1 << 30, 1 << 20


class FakeDisk:
    def __init__(self, total: int, free: int) -> None:
        self.total, self.free = total, free

    def __call__(self, path: Path) -> tuple[int, int, int]:
        return self.total, self.total - self.free, self.free


def room_on(disk: FakeDisk, folder: Path, *, reserve_bytes: int = 512 * MIB, fraction: float = 0.05) -> Room:
    return Room(folder, reserve_bytes, fraction, disk)


@pytest.mark.parametrize(
    ("total", "free", "low"),
    [
        (1000 * GIB, 40 * GIB, False),  # 4 %, and yet much room
        (1000 * GIB, 513 * MIB, False),
        (1000 * GIB, 511 * MIB, True),
        (4 * GIB, 206 * MIB, False),
        (4 * GIB, 204 * MIB, True),  # below 5 %
        (64 * MIB, 4 * MIB, False),
        (64 * MIB, 3 * MIB, True),
        (64 * MIB, 0, True),
    ],
)
def test_the_disk_is_low_below_512_mib_or_5_percent_whichever_is_less(tmp_path: Path, total: int, free: int, low: bool):
    assert bool(room_on(FakeDisk(total, free), tmp_path).look()) is low


def test_both_limits_are_settings(tmp_path: Path):
    disk = FakeDisk(1000 * GIB, 40 * GIB)
    assert room_on(disk, tmp_path, reserve_bytes=50 * GIB, fraction=1.0).look()
    assert not room_on(disk, tmp_path, reserve_bytes=0).look()
    assert not room_on(disk, tmp_path, fraction=0).look()


def test_the_reason_says_how_much_is_free_where_and_which_settings_decide(tmp_path: Path):
    text = room_on(FakeDisk(8 * GIB, 312 * MIB), tmp_path).look()
    assert text.startswith(f"312.0 MiB of 8.0 GiB are free in {tmp_path}")
    assert "below 409.6 MiB" in text
    assert "disk_reserve_bytes" in text


def test_it_clears_by_itself_a_little_above_the_limit(tmp_path: Path):
    disk = FakeDisk(8 * GIB, 0)
    room = room_on(disk, tmp_path)
    assert room.look()
    least = int(0.05 * disk.total)
    disk.free = least + MIB
    assert room.look()
    disk.free = int(CLEAR * least) + MIB
    assert not room.look()
    disk.free = least + MIB
    assert not room.look()


def test_a_disk_that_does_not_answer_is_as_it_was(tmp_path: Path):
    def silent(path: Path) -> tuple[int, int, int]:
        raise OSError("gone")

    disk = FakeDisk(8 * GIB, 0)
    room = room_on(disk, tmp_path)
    before = room.look()
    room._usage = silent
    assert room.look() == before


def test_the_reserve_is_made_only_when_the_disk_gets_full_and_is_given_up_once(tmp_path: Path):
    disk = FakeDisk(1000 * GIB, 40 * GIB)
    room = room_on(disk, tmp_path)
    room.look()
    assert not (tmp_path / RESERVE).exists()
    disk.free = 2 * GIB - MIB
    room.look()
    assert (tmp_path / RESERVE).stat().st_size == RESERVE_BYTES_MAX
    assert (tmp_path / RESERVE).stat().st_blocks * 512 >= RESERVE_BYTES_MAX  # real room, not a hole
    assert room.release() == RESERVE_BYTES_MAX
    assert room.release() == 0
    room.look()
    assert (tmp_path / RESERVE).exists()  # made again while there is room


def test_on_a_disk_that_is_full_already_no_reserve_is_made(tmp_path: Path):
    room = room_on(FakeDisk(64 * MIB, MIB), tmp_path)
    assert room.look()
    assert not (tmp_path / RESERVE).exists()
