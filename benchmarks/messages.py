"""Plain messages on one machine: a node, one producer, one or four consumers, fsync on; beside RabbitMQ by pika in the same run.

The same programs for both, message by message (every publish confirmed before the next) and pipelined. The clock runs from the first
publish until the last acknowledgement.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks.harness import Figure, Plan
from benchmarks.rivals import servers
from benchmarks.stage import one_machine, start_node
from tests.machines import Machine, Process

HERE = Path(__file__).resolve().parent
PIKA = HERE.parent / ".venv-rivals" / "bin" / "python"
PROGRAM = HERE / "messenger.py"
RIVAL = HERE / "rivals" / "pika_rabbit.py"
TIMEOUT_S = 180.0
START_S = 3.0
"""In so many seconds four consumers are up."""
SIZES = (100, 10_000)
ONE_BY_ONE, PIPELINED = "one", "many"
DURABLE, TRANSIENT = "durable", "transient"
SHARES = {(ONE_BY_ONE, 100): 0.05, (ONE_BY_ONE, 10_000): 0.05, (PIPELINED, 100): 1.0, (PIPELINED, 10_000): 0.25}
"""Of the plan's number of tasks."""
NAMES = {ONE_BY_ONE: "each confirmed", PIPELINED: "pipelined"}
Run = Callable[[str, int, int, str, str], float]
"""(queue, messages, bytes, how, durable or transient): messages a second, from the first publish to the last acknowledgement."""


def why_unavailable() -> str:
    """What is missing for the comparison, empty when all is there."""
    absent = [name for name in servers.missing() if name != "redis-server"] + ([] if PIKA.exists() else ["pika in .venv-rivals"])
    return f"not installed: {', '.join(absent)}; `make bench-rivals` does that" if absent else ""


def measure(plan: Plan) -> Iterator[Figure]:
    """Messages per second, and how many times as many as RabbitMQ's where that is installed: taken in turn, as a machine has its moods."""
    with ExitStack() as stack:
        machine = stack.enter_context(one_machine())
        machine.put(PROGRAM)
        start_node(machine)
        runs: dict[str, Run] = {"mesh": lambda *arguments: ours(machine, *arguments)}
        if not why_unavailable():
            environment = os.environ | {"AMQP_URL": stack.enter_context(servers.rabbitmq())}
            runs["RabbitMQ"] = lambda *arguments: theirs(environment, *arguments)
        for how, size in SHARES:
            yield from compare(runs, plan, how, size, DURABLE)
        for how in (ONE_BY_ONE, PIPELINED):
            yield from compare(runs, plan, how, SIZES[0], TRANSIENT)
        yield from alone(machine, plan)


def compare(runs: dict[str, Run], plan: Plan, how: str, size: int, kept: str) -> Iterator[Figure]:
    """Publish, confirm, consume, acknowledge: one producer, one consumer."""
    count = max(100, int(plan.tasks * SHARES[how, size]))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(plan.repeats):
        for name, run in runs.items():
            samples[name].append(run(f"{kept}-{how}-{size}-{repeat}", count, size, how, kept))
    what = f"{size:,} bytes, {NAMES[how]}" + (", transient" if kept == TRANSIENT else "")
    for name, rates in samples.items():
        yield Figure(f"messages, {name}, {what}", "messages/s", tuple(rates), note=f"{count:,} published, consumed, acknowledged")
    if "RabbitMQ" in samples:
        ratio = median(samples["mesh"]) / median(samples["RabbitMQ"])
        yield Figure(f"mesh / RabbitMQ, {what}", "times", (ratio,), 1, note=f"both {kept}, both in Python, same prefetch")


def alone(machine: Machine, plan: Plan) -> Iterator[Figure]:
    """What has no counterpart in the comparison."""
    publish: list[float] = []
    consume: dict[int, list[float]] = {1: [], 4: []}
    for repeat in range(plan.repeats):
        for consumers, rates in consume.items():
            queue = f"full-{consumers}-{repeat}"
            produced = produce(machine, queue, plan.tasks, 100, PIPELINED, DURABLE, consumers)
            publish.append(plan.tasks / (produced["ended"] - produced["began"]))
            at = time.monotonic() + START_S
            ends = finish([consumer(machine, queue, at) for _ in range(consumers)])
            rates.append(plan.tasks / (max(end["ended"] for end in ends) - min(end["began"] for end in ends)))
    yield Figure("messages, publish with confirm, pipelined", "messages/s", tuple(publish), note=f"{plan.tasks:,} of 100 bytes")
    for consumers, rates in consume.items():
        yield Figure(f"messages, consume and acknowledge, {consumers} consumers", "messages/s", tuple(rates))
    fanout = [rate(machine, "fanout", plan.tasks // 4, 10) for _ in range(plan.repeats)]
    yield Figure("messages, fanout to 10 queues", "messages/s", tuple(fanout), note="published; ten times as many are kept")
    pairs = [[rate(machine, "topic", plan.tasks // 2, bindings) for bindings in (10, 10_000)] for _ in range(plan.repeats)]
    few, many = zip(*pairs, strict=True)
    yield Figure("messages, topic exchange, 10 bindings", "messages/s", few)
    yield Figure("messages, topic exchange, 10,000 bindings", "messages/s", many)
    ratio = median(few) / median(many)
    yield Figure("a publish through 10,000 bindings / through 10", "times", (ratio,), 2, at_most=True)


def ours(machine: Machine, queue: str, count: int, size: int, how: str, kept: str) -> float:
    """One run of mesh."""
    waiting = consumer(machine, queue)
    produced = produce(machine, queue, count, size, how, kept)
    return count / (finish([waiting])[0]["ended"] - produced["began"])


def consumer(machine: Machine, queue: str, at: float = 0.0) -> Process:
    """A consumer that is attached, and begins at that instant."""
    process = machine.python_spawn(PROGRAM.name, "consume", queue, str(at))
    process.wait_for("ready", TIMEOUT_S)
    return process


def produce(machine: Machine, queue: str, count: int, size: int, how: str, kept: str, consumers: int = 1) -> dict[str, float]:
    """Publish all; returns when that began and ended."""
    arguments = [queue, str(count), str(size), str(consumers), how, kept]
    return last_line(machine.python(PROGRAM.name, "produce", *arguments, timeout_s=TIMEOUT_S))


def finish(consumers: list[Process]) -> list[dict[str, float]]:
    """What consumers say at their end."""
    for process in consumers:
        process.wait(TIMEOUT_S)
    return [last_line(process.output()) for process in consumers]


def rate(machine: Machine, mode: str, count: int, size: int) -> float:
    """What a program measures by itself."""
    return last_line(machine.python(PROGRAM.name, mode, str(count), str(size), timeout_s=TIMEOUT_S))["rate"]


def theirs(environment: dict[str, str], queue: str, count: int, size: int, how: str, kept: str) -> float:
    """One run of RabbitMQ by pika."""
    command = [str(PIKA), str(RIVAL)]
    waiting = subprocess.Popen([*command, "consume", queue], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert waiting.stdout is not None
        waiting.stdout.readline()  # it is ready
        arguments = ["produce", queue, str(count), str(size), "1", how, kept]
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        end = last_line(waiting.communicate(timeout=TIMEOUT_S)[0])
    finally:
        waiting.kill()
        waiting.wait()
    return count / (end["ended"] - last_line(done.stdout)["began"])


def last_line(output: str) -> dict[str, float]:
    """The figures at the end of a program's output."""
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures
