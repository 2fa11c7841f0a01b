"""A process that commits until it is killed, and says after each commit what it holds: ``python -m tests.unit.storage.committer FILE``."""

from __future__ import annotations

import sys
from pathlib import Path
from queue import SimpleQueue

from mesh.core.effects import Batch
from mesh.storage.sqlite import SqliteStore
from mesh.storage.writer import Writer
from mesh.wire.messages import HeadState

JOURNAL = b"j" * 16
ROWS = 50


def batch(number: int) -> Batch:
    """The batch of that number writes ROWS entries and settles the first half of those before it."""
    first = number * ROWS
    return Batch(
        number,
        entries=[(JOURNAL, first + i, blob(first + i)) for i in range(ROWS)],
        settled=[(JOURNAL, first - ROWS + i) for i in range(ROWS // 2)] if number > 1 else [],
        heads={JOURNAL: HeadState(JOURNAL, "node", 0, first + ROWS - 1, number)},
        vote=(number, "node"),
    )


def blob(sequence: int) -> bytes:
    return sequence.to_bytes(8, "big") * 20


def main() -> None:
    done: SimpleQueue[int] = SimpleQueue()

    def failed(error: BaseException) -> None:
        print("failed", error, flush=True)

    writer = Writer(SqliteStore(Path(sys.argv[1])), done.put, failed)
    number = 1
    while True:
        writer.submit(batch(number))
        number = done.get() + 1
        print(number - 1, flush=True)


if __name__ == "__main__":
    main()
