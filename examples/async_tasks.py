"""Coroutines on both sides: ``async def`` tasks, and results that are awaited. Start it with ``python examples/async_tasks.py``.

Workers of a real mesh run such tasks side by side with ``mesh worker -A APP --pool async -c 100``.
"""

import asyncio
import time

from mesh import Mesh

app = Mesh("async_tasks", embedded=True)


@app.task
async def fetch(number: int) -> int:
    await asyncio.sleep(0.1)  # stands for a slow answer of some server
    return number * number


async def main() -> None:
    began = time.monotonic()
    squares = await asyncio.gather(*[fetch.delay(number) for number in range(4)])
    print("squares", squares)
    print("side by side" if time.monotonic() - began < 0.4 else "one after another")


if __name__ == "__main__":
    with app:
        asyncio.run(main())
