"""A worker in the main thread of a process of its own, with a fake node: ``python -m tests.unit.worker.program POOL TASK ARGUMENT``."""

from __future__ import annotations

import logging
import sys

from mesh.config import Settings
from mesh.wire.messages import Deliver
from mesh.worker.parent import Worker
from mesh.worker.spec import WorkerInfo, WorkerSpec
from tests.unit.worker.fakes import SAMPLE, FakeLink, delivery


def main(pool: str, task: str, argument: str) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    link = FakeLink()

    def ready(info: WorkerInfo) -> None:
        link.say(Deliver(worker=info.worker, deliveries=[delivery("one", task, argument)]))

    code = Worker(link, WorkerSpec(SAMPLE, concurrency=1, pool=pool), Settings(), on_ready=ready).run()
    for outcome in link.outcomes:
        print(outcome.id, outcome.kind)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
