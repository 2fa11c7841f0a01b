"""Runs on the server and asks for work that the laptop does."""

from tasks import add

result = add.apply_async((2, 2), queue="laptop_task")
print("2 + 2 =", result.get(timeout=30), "worked out on", result.node)
